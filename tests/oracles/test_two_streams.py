"""Streams that share one port take exactly the closed form, for either arbitration."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from hiersim.engines import compiled, reference
from hiersim.model.operators import IntArray
from hiersim.model.program import Access, Program, Resource
from hiersim.model.timeline import ENGINES, Entry, LedgerPhase, Timeline, ledger_column

Simulate = Callable[..., Timeline]
both_engines = pytest.mark.parametrize(
    "simulate", [reference.simulate, compiled.simulate], ids=["reference", "compiled"]
)


def on_one_port(
    services: Sequence[tuple[int, int]], *, fair: bool, compute: Sequence[int] = (), launches: Sequence[int] = ()
) -> Program:
    """One kernel for each (count, ticks): so many loads of so many ticks, which all ask when the kernel starts.

    Kernel `k` computes for `compute[k]` ticks after each load, where that is given and not 0; its launch arrives
    `launches[k]` ticks after the start of the run.
    """
    count = len(services)
    work = list(compute) or [0] * count
    chains = [[(0, ticks), *([(1, spent)] if spent else [])] for (_, ticks), spent in zip(services, work, strict=True)]
    stages = np.array([stage for chain in chains for stage in chain], np.int64).T
    load = stages[0] == 0
    lengths = np.array([len(chain) for chain in chains])

    def column(values: Sequence[int] | IntArray) -> IntArray:
        return np.array(values, np.int64)

    zeros, each = column([0] * count), np.arange(count + 1)
    return Program(
        tiers=("smem", "hbm"),
        resources=(Resource(name="hbm", tier=1, fair=fair), Resource(name="vector", tier=-1)),
        queue=count,
        kernel_names=tuple(f"stream{index}" for index in range(count)),
        host_ticks=zeros,
        host_sync=zeros,
        launch_latency=column(launches or zeros),
        start_ticks=zeros,
        needs_ptr=column([0] * (count + 1)),
        needs=column([]),
        nest=each[:-1],
        depth=column([number for number, _ in services]),
        buffer_tier=zeros,
        loop_ptr=each,
        loop_repeat=zeros + 1,
        body_ptr=each,
        body_count=column([number for number, _ in services]),
        body_tile=each[:-1],
        stage_ptr=np.concatenate([[0], np.cumsum(lengths)]),
        release_stage=lengths - 1,
        complete_stage=lengths - 1,
        stage_resource=stages[0].copy(),
        stage_access=np.where(load, Access.READ, Access.COMPUTE),
        stage_ticks=stages[1].copy(),
        stage_latency=0 * stages[0],
        stage_bytes=np.where(load, stages[1], 0),
        stage_useful=np.where(load, 0, stages[1]),
        stage_padding=0 * stages[0],
        stage_tail=0 * stages[0],
        free_bytes=np.zeros((2, 2), np.int64),
        peak_bytes=np.zeros(2, np.int64),
        flops=(0, 0),
        peak_ticks=(0, 0),
        compulsory_bytes=0,
        warnings=(),
    )


@both_engines
@pytest.mark.parametrize(("number", "ticks"), [(1, 1), (1, 50), (7, 3), (40, 11), (200, 1)])
def test_two_equal_streams_take_twice_as_long_each_or_one_after_the_other(
    number: int, ticks: int, simulate: Simulate
) -> None:
    """Alone, each takes number · ticks. Fair: both end within one service of twice that."""
    both = [(number, ticks)] * 2
    alone = number * ticks
    assert simulate(on_one_port(both[:1], fair=True)).end.tolist() == [alone]
    assert simulate(on_one_port(both, fair=False)).end.tolist() == [alone, 2 * alone]
    assert simulate(on_one_port(both, fair=True)).end.tolist() == [2 * alone - ticks, 2 * alone]


@both_engines
@pytest.mark.parametrize("streams", [3, 4, 9])
def test_any_number_of_equal_streams_end_one_service_after_the_other(streams: int, simulate: Simulate) -> None:
    number, ticks = 6, 5
    program = on_one_port([(number, ticks)] * streams, fair=True)
    before = streams * (number - 1)
    assert simulate(program).end.tolist() == [(before + index + 1) * ticks for index in range(streams)]
    program = on_one_port([(number, ticks)] * streams, fair=False)
    assert simulate(program).end.tolist() == [(index + 1) * number * ticks for index in range(streams)]


@both_engines
@pytest.mark.parametrize("times", [1, 2, 10])
@pytest.mark.parametrize("ticks", [1, 7])
def test_shares_are_of_time_and_not_of_services(times: int, ticks: int, simulate: Simulate) -> None:
    """One stream's services are `times` as long: it gets as many ticks as the other, not `times` as many.

    In each round of 2 · times · ticks it is served once, before the last of the other's `times` services.
    """
    number = 5
    services = [(number, times * ticks), (number * times, ticks)]
    last = 2 * number * times * ticks
    assert simulate(on_one_port(services, fair=True)).end.tolist() == [last - ticks, last]
    assert simulate(on_one_port(services, fair=False)).end.tolist() == [last // 2, last]
    assert simulate(on_one_port(services[::-1], fair=True)).end.tolist() == [last - times * ticks, last]


@both_engines
def test_who_comes_late_gets_its_share_from_then_on(simulate: Simulate) -> None:
    """The first is in its 11th service when the second comes; it asked earlier and has a 12th, then they take turns."""
    number, ticks = 30, 10
    program = on_one_port([(number, ticks)] * 2, fair=True, launches=[0, 105])
    timeline = simulate(program, keep_log=True)
    log = timeline.log
    assert log is not None
    assert log.grant[log.kernel == 1].tolist() == [120 + 20 * index for index in range(19)] + [
        490 + 10 * index for index in range(11)
    ]
    assert timeline.end.tolist() == [480, 2 * number * ticks]


@both_engines
@pytest.mark.parametrize("fair", [True, False])
def test_waiting_for_the_other_streams_turn_is_contention(fair: bool, simulate: Simulate) -> None:
    """The first stream computes for a tick after each load of `ticks`; the second only loads.

    Between two computations there are fair: one load of the other stream, of which the first tick was worked
    through, and the stream's own load; first come, first served: its own load, less that tick.
    """
    number, ticks = 8, 6
    timeline = simulate(on_one_port([(number, ticks)] * 2, fair=fair, compute=[1, 0]))
    row = timeline.ledger_rows[timeline.ledger_row[0], ENGINES.index("vector")]

    def booked(entry: Entry, phase: LedgerPhase) -> int:
        return int(row[ledger_column(entry, 1, phase, tiers=2)])

    gaps = number - 1
    assert booked(Entry.BANDWIDTH, LedgerPhase.FILL) == ticks
    assert booked(Entry.CONTENTION, LedgerPhase.STEADY) == (gaps * (ticks - 1) if fair else 0)
    assert booked(Entry.BANDWIDTH, LedgerPhase.STEADY) == gaps * (ticks if fair else ticks - 1)
