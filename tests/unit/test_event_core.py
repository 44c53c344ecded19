"""The compiled engine where random programs rarely go: backlogs, columns that must grow, its interpreted form."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy import array

from hiersim.engines import compiled, reference
from hiersim.engines.core.stream import Stream
from hiersim.model.program import Program, Resource
from hiersim.testing.contracts import differences


def stores(order: list[int], tiles: tuple[int, int, int] = (100, 5, 300)) -> Program:
    """A stream of three kinds of kernels: one leaves a long backlog of slow stores, one a short one, one none."""
    count = len(order)
    zeros, ones = np.zeros(count, np.int64), np.ones(count, np.int64)
    return Program(
        tiers=("smem", "l2", "hbm"),
        resources=(
            Resource(name="l2", tier=1), Resource(name="hbm.write", tier=2), Resource(name="vector", tier=-1),
        ),
        queue=3,
        kernel_names=tuple(str(index) for index in range(count)),
        host_ticks=ones, host_sync=zeros, launch_latency=zeros, start_ticks=ones,
        needs_ptr=np.maximum(np.arange(count + 1) - 1, 0), needs=np.arange(count - 1),
        nest=array(order), depth=array([2, 2, 2]), buffer_tier=array([0, 0, 0]),
        loop_ptr=array([0, 1, 2, 3]), loop_repeat=array([1, 1, 1]),
        body_ptr=array([0, 1, 2, 3]), body_count=array(tiles), body_tile=array([0, 1, 2]),
        stage_ptr=array([0, 3, 5, 7]), release_stage=array([1, 1, 1]), complete_stage=array([1, 1, 1]),
        stage_resource=array([2, 0, 1, 2, 0, 0, 2]), stage_access=array([1, 2, 2, 1, 2, 0, 1]),
        stage_ticks=array([1, 1, 9, 2, 1, 1, 2]), stage_latency=array([0, 2, 3, 0, 1, 2, 0]),
        stage_bytes=array([0, 4, 4, 0, 4, 4, 0]), stage_useful=array([1, 0, 0, 1, 0, 0, 2]),
        stage_padding=array([0] * 7), stage_tail=array([0, 0, 0, 1, 0, 0, 0]),
        free_bytes=np.zeros((2, 3), np.int64), peak_bytes=np.zeros(3, np.int64),
        flops=(0, 0), peak_ticks=(0, 0), compulsory_bytes=0, warnings=(),
    )  # fmt: skip


ORDERS = (
    [1, 1, 0, 1, 1, 1, 2, 2, 1, 1, 2, 2, 2, 1, 1] + [2] * 8,
    [1, 2] * 5 + [0] + [1, 2] * 9,
    [0, 0, 1, 1, 2] * 4 + [1] * 40,
)


@pytest.mark.parametrize("order", ORDERS)
def test_states_that_are_too_large_to_keep_do_not_mix_up_the_others(order: list[int]) -> None:
    program = stores(order)
    wanted = reference.simulate(program)
    assert not differences(compiled.simulate(program), wanted)
    assert not differences(compiled.simulate(program, fast_forward=False), wanted)


def test_kernels_that_find_the_machine_as_before_are_not_played_again() -> None:
    compiled.simulate(stores([1, 2] * 200))
    counts = compiled.last_counts()
    assert counts["kernels_played"] <= 8
    assert counts["kernels_played"] + counts["kernels_remembered"] == 400


def test_a_long_loop_costs_what_a_short_one_costs() -> None:
    played = []
    for tiles in (100, 10**6):
        compiled.simulate(stores([2], (1, 1, tiles)))
        played.append(compiled.last_counts()["stages"])
    assert played[1] <= played[0] + 4
    assert compiled.last_counts()["stages_skipped"] > 10**6


def test_many_distinct_kernels_fill_and_grow_every_column() -> None:
    program = stores([0] * 3 + [index % 3 for index in range(300)], (3, 1, 2))
    host = np.arange(303) % 97  # every kernel finds the machine after another wait
    program = Program(**{name: getattr(program, name) for name in program.__dataclass_fields__} | {"host_ticks": host})
    wanted = reference.simulate(program)
    assert not differences(compiled.simulate(program), wanted)


def test_the_engine_tells_whether_it_is_compiled() -> None:
    assert isinstance(compiled.compiled(), bool)


def test_what_ports_did_is_kept_while_nothing_has_computed_yet() -> None:
    """Empty kernels between copies: the gap to the end looks back further than to the last kernel."""
    count = 16
    zeros = np.zeros(count, np.int64)
    program = Program(
        tiers=("smem", "l2", "hbm"), resources=(Resource(name="l2", tier=1),), queue=1,
        kernel_names=tuple(str(index) for index in range(count)),
        host_ticks=zeros, host_sync=zeros, launch_latency=zeros, start_ticks=zeros,
        needs_ptr=np.maximum(np.arange(count + 1) - 1, 0), needs=np.arange(count - 1),
        nest=array([0, 1, 0, 0] * 4), depth=array([1, 1]), buffer_tier=array([0, 0]),
        loop_ptr=array([0, 0, 1]), loop_repeat=array([1]), body_ptr=array([0, 1]), body_count=array([1]),
        body_tile=array([0]), stage_ptr=array([0, 2]), release_stage=array([0]), complete_stage=array([0]),
        stage_resource=array([0, 0]), stage_access=array([0, 0]), stage_ticks=array([1, 1]),
        stage_latency=array([0, 0]), stage_bytes=array([0, 0]), stage_useful=array([0, 0]),
        stage_padding=array([0, 0]), stage_tail=array([0, 0]), free_bytes=np.zeros((2, 3), np.int64),
        peak_bytes=np.zeros(3, np.int64), flops=(0, 0), peak_ticks=(0, 0), compulsory_bytes=0, warnings=(),
    )  # fmt: skip
    assert not differences(compiled.simulate(program), reference.simulate(program))


def test_runs_do_not_share_the_memory_that_is_kept_for_later_ones() -> None:
    """Machines that exist at once, large columns and small, run in another order than they were made."""
    programs = [stores(order * repeat) for order in ORDERS for repeat in (1, 30)]
    wanted = [compiled.simulate(program) for program in programs]
    machines = [Stream(program, False, True) for program in programs]
    for machine in reversed(machines):
        machine.run()
    for machine, timeline in zip(machines, wanted, strict=True):
        assert machine.times()["end"].tolist() == timeline.end.tolist()
        ledger = machine.ledger()
        assert (ledger["ledger_rows"] == timeline.ledger_rows).all()
        assert (ledger["ledger_row"] == timeline.ledger_row).all()


def test_threads_do_not_mix_up_runs() -> None:
    programs = [stores(order * repeat) for order in ORDERS for repeat in (1, 7, 30)]
    wanted = [compiled.simulate(program, fast_forward=False) for program in programs]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(compiled.simulate, programs * 8))
    for index, timeline in enumerate(found):
        assert not differences(timeline, wanted[index % len(programs)])


def test_a_long_run_listens_to_signals() -> None:
    """Compiled code looks at them itself: else one handler would run, at the end."""
    heard = []
    before = signal.signal(signal.SIGALRM, lambda *_: heard.append(None))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
        compiled.simulate(stores([2], (1, 1, 8_000_000 if compiled.compiled() else 50_000)), fast_forward=False)
        signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert len(heard) > 3
