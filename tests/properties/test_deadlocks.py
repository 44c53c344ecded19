"""Programs that stand still say which kernels and launches wait for each other."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given

from hiersim.engines.deadlock import Wait, deadlock, find_cycle
from hiersim.engines.reference import Machine, simulate
from hiersim.errors import SimulationError
from hiersim.model.operators import csr
from hiersim.model.program import Program, Resource
from hiersim.testing.strategies import programs


def program_of(
    needs: list[list[int]], *, queue: int = 9, syncs: tuple[int, ...] = (), names: tuple[str, ...] = ()
) -> Program:
    """Kernels 'a', 'b', … of one tile each on one unit."""
    count = len(needs)
    ptr, values = csr(needs)
    one, zeros = np.ones(1, np.int64), np.zeros(count, np.int64)
    return Program(
        tiers=("smem", "hbm"),
        resources=(Resource(name="vector", tier=-1),),
        queue=queue,
        kernel_names=names or tuple("abcdefghijklmnopqrstuvwxyz"[:count]),
        host_ticks=zeros,
        host_sync=np.isin(np.arange(count), syncs).astype(np.int64),
        launch_latency=zeros,
        start_ticks=zeros,
        needs_ptr=ptr,
        needs=values,
        nest=zeros,
        depth=one,
        buffer_tier=0 * one,
        loop_ptr=np.array([0, 1]),
        loop_repeat=one,
        body_ptr=np.array([0, 1]),
        body_count=one,
        body_tile=0 * one,
        stage_ptr=np.array([0, 1]),
        release_stage=0 * one,
        complete_stage=0 * one,
        stage_resource=0 * one,
        stage_access=one,
        stage_ticks=one,
        stage_latency=0 * one,
        stage_bytes=0 * one,
        stage_useful=one,
        stage_padding=0 * one,
        stage_tail=0 * one,
        free_bytes=np.zeros((2, 2), np.int64),
        peak_bytes=np.zeros(2, np.int64),
        flops=(0, 0),
        peak_ticks=(0, 0),
        compulsory_bytes=0,
        warnings=(),
    )


A_LATER_ONE = "'a' needs 'b', 'b' waits for its launch, the launch of 'b' waits for 'a' to start"
CASES = {
    "a kernel that needs itself": (program_of([[0]]), "'a' needs 'a'"),
    "two that need each other": (program_of([[1], [0]]), "'a' needs 'b', 'b' needs 'a'"),
    "three in a ring, after one that runs": (
        program_of([[], [3], [1], [2]]),
        "'b' needs 'd', 'd' needs 'c', 'c' needs 'b'",
    ),
    "only the ring, not the way into it": (program_of([[1], [2], [1]]), "'b' needs 'c', 'c' needs 'b'"),
    "a later kernel behind a short queue": (program_of([[1], []], queue=1), A_LATER_ONE),
    "a much later kernel behind a short queue": (
        program_of([[3], [], [], []], queue=1),
        "'a' needs 'd', 'd' waits for its launch, the launch of 'd' waits for that of 'b', "
        "the launch of 'b' waits for 'a' to start",
    ),
    "a later kernel behind a sync": (
        program_of([[1], []], syncs=(1,)),
        "'a' needs 'b', 'b' waits for its launch, the launch of 'b' waits for 'a' to end",
    ),
    "names that are not unique": (
        program_of([[1], [0]], names=("mm", "mm")),
        "'mm' (kernel 0) needs 'mm' (kernel 1), 'mm' (kernel 1) needs 'mm' (kernel 0)",
    ),
    "a long ring": (
        program_of([[(index + 1) % 26] for index in range(26)], queue=99),
        "'a' needs 'b', 'b' needs 'c', 'c' needs 'd', 'd' needs 'e', 'e' needs 'f', … 20 more …, 'z' needs 'a'",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_deadlock_names_its_cycle_in_one_line(name: str) -> None:
    program, words = CASES[name]
    with pytest.raises(SimulationError) as caught:
        simulate(program)
    assert str(caught.value) == f"deadlock: {words}"


@pytest.mark.parametrize("queue", [2, 3])
def test_a_later_kernel_may_be_needed_when_it_can_be_launched(queue: int) -> None:
    timeline = simulate(program_of([[1], []], queue=queue))
    assert timeline.end.tolist() == [2, 1]


def waits_truly(program: Program, started: list[bool], ended: list[bool], wait: Wait) -> bool:
    """Whether the semantics of docs/semantics.md let `wait.waiter` wait for `wait.cause`."""
    kernel, cause = wait.waiter.kernel, wait.cause.kernel
    if wait.waiter.launch:
        if wait.cause.launch:
            return cause < kernel
        queued = wait.started and cause == kernel - program.queue and not started[cause]
        synced = not wait.started and bool(program.host_sync[kernel]) and cause < kernel and not ended[cause]
        return queued or synced
    if wait.cause.launch:
        return cause == kernel and not started[kernel]
    needs = program.needs[program.needs_ptr[kernel] : program.needs_ptr[kernel + 1]].tolist()
    return cause in needs and not ended[cause] and not started[kernel]


@given(programs(max_kernels=6, max_tiles=16, any_needs=True))
def test_programs_with_any_needs_run_or_name_a_real_cycle(program: Program) -> None:
    machine = Machine(program)
    try:
        machine.run()
    except SimulationError as error:
        started, ended = ([event.triggered for event in events] for events in (machine.started, machine.ended))
        cycle = find_cycle(program, started, ended)
        assert str(error) == str(deadlock(program, started, ended))
        assert len({wait.waiter for wait in cycle}) == len(cycle)
        for wait, following in zip(cycle, [*cycle[1:], cycle[0]], strict=True):
            assert wait.cause == following.waiter
            assert waits_truly(program, started, ended, wait), wait
    else:
        assert all(event.triggered for event in machine.ended)


@given(programs(any_needs=True))
def test_programs_that_need_earlier_kernels_only_run_to_their_end(program: Program) -> None:
    """The first kernel that has not ended can always go on, whatever the queue and the syncs."""
    needs = [
        [need for need in program.needs[low:high].tolist() if need < kernel]
        for kernel, (low, high) in enumerate(zip(program.needs_ptr[:-1], program.needs_ptr[1:], strict=True))
    ]
    ptr, values = csr(needs)
    timeline = simulate(dataclasses.replace(program, needs_ptr=ptr, needs=values))
    assert bool(np.all(timeline.end >= timeline.start))
