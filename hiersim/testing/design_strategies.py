"""Random small `Design`s: two to five tiers, caches or none, shared or duplex ports, fair ones and unlimited rates."""

from __future__ import annotations

import dataclasses

from hypothesis import strategies as st

from hiersim.model.compute import Compute, Dataflow, MatrixUnit, Systolic, VectorUnit
from hiersim.model.design import (
    Arbitration,
    Design,
    Host,
    Link,
    Management,
    Order,
    Placement,
    Replacement,
    Scope,
    Start,
    Tier,
)
from hiersim.model.operators import DType
from hiersim.units import (
    UNLIMITED,
    Bytes,
    BytesPerSecond,
    Count,
    FlopsPerSecond,
    Hertz,
    Share,
    Ticks,
)

_SHARES = st.sampled_from((1.0, 0.9, 0.5)).map(Share)
_TILES = st.sampled_from(((1, 1, 1), (8, 8, 8), (16, 8, 16)))
_TIMES = st.sampled_from((0, 0, 1_000, 50_000, 2_000_000)).map(Ticks)


def _rates(unlimited: bool) -> st.SearchStrategy[int]:
    """Rates whose tick counts stay small enough to read; a quarter of them unlimited where allowed."""
    finite = st.sampled_from((10**9, 3 * 10**9, 20 * 10**9, 10**12))
    return st.one_of(finite, finite, finite, st.just(UNLIMITED)) if unlimited else finite


@st.composite
def designs(
    draw: st.DrawFn,
    *,
    unlimited: bool = True,
    home_capacity: int = 10**9,
    replacement: bool = False,
    planned: bool = False,
) -> Design:
    """A machine with 1-2 tiers in the cores and 1-3 shared ones.

    Parameters
    ----------
    unlimited : bool
        Whether rates may be unlimited.
    home_capacity : int
        Bytes of the last tier, at least 100 kB.
    replacement : bool
        Whether caches may replace by other rules than LRU and start warm.
    planned : bool
        Whether shared tiers before the last may be scratchpads and pools instead of caches.
    """
    rates = _rates(unlimited)
    core = [_core_tier(draw, f"core{index}") for index in range(draw(st.integers(1, 2)))]
    kinds = tuple(Management) if planned else (Management.CACHE,)
    drawn = [_shared_tier(draw, "cache", rates, kinds=kinds) for _ in range(draw(st.integers(0, 2)))]
    ordered = sorted(drawn, key=lambda tier: tier.capacity)
    caches = [dataclasses.replace(tier, name=f"l{index + 2}") for index, tier in enumerate(ordered)]
    if replacement:
        caches = [
            dataclasses.replace(
                tier,
                management=Management.CACHE,
                replacement=draw(st.sampled_from(Replacement)),
                start=draw(st.sampled_from(Start)),
            )
            for tier in caches
        ]
    home = _shared_tier(draw, "hbm", rates, capacity=home_capacity)
    design = Design(
        name="random",
        title="a random design",
        compute=_compute(draw, rates),
        memory=(*core, *caches, home),
        host=_host(draw),
    )
    return design.checked()


def bytewise(design: Design) -> Design:
    """`design` with sectors of one byte: some laws of bytes hold for gathers and scatters but for whole sectors."""
    memory = tuple(dataclasses.replace(tier, granularity=Bytes(1)) for tier in design.memory)
    return dataclasses.replace(design, memory=memory)


@st.composite
def hosted_designs(draw: st.DrawFn, *, device: int, unlimited: bool = True) -> Design:
    """One of `designs` with 1-3 tiers behind the device, with and without links; the last one is never full.

    Parameters
    ----------
    device : int
        Bytes of the last tier that kernels address: what does not fit is spilled.
    unlimited : bool
        Whether rates may be unlimited.
    """
    design = draw(designs(unlimited=unlimited, home_capacity=10**9, planned=draw(st.booleans())))
    home = dataclasses.replace(design.home, capacity=Bytes(device))
    near = [tier for tier in design.shared_tiers[:-1] if tier.capacity <= device]
    host, links = [], []
    for index in range(draw(st.integers(1, 3))):
        tier = _shared_tier(draw, f"host{index}", _rates(unlimited), capacity=draw(st.sampled_from((200, 5000, 10**9))))
        host.append(dataclasses.replace(tier, scope=Scope.HOST))
        if draw(st.booleans()):
            port = _shared_tier(draw, "", _rates(unlimited))
            fields = {item.name: getattr(port, item.name) for item in dataclasses.fields(Link) if item.name != "to"}
            links.append(Link(**{**fields, "name": f"link{index}", "to": tier.name}))
    host[-1] = dataclasses.replace(host[-1], capacity=Bytes(10**9))
    placement = Placement(
        order=draw(st.sampled_from(Order)),
        prefetch=Count(draw(st.integers(1, 4))),
        chunk=Bytes(draw(st.sampled_from((16, 256, 4096)))),
    )
    return dataclasses.replace(
        design, memory=(*design.core_tiers, *near, home, *host), links=tuple(links), placement=placement
    ).checked()


def _compute(draw: st.DrawFn, rates: st.SearchStrategy[int]) -> Compute:
    matrix = None
    if draw(st.booleans()):
        systolic = draw(st.none() | _systolic())
        matrix = MatrixUnit(
            peak={DType.FP32: FlopsPerSecond(draw(rates)), DType.BF16: FlopsPerSecond(draw(rates))},
            tile=draw(_TILES) if systolic is None else _tile_on(systolic, draw(st.sampled_from((1, 4)))),
            efficiency=draw(_SHARES),
            stand_in={DType.FP16: DType.BF16},
            asynchronous=draw(st.booleans()),
            systolic=systolic,
        )
    return Compute(
        cores=Count(draw(st.integers(1, 4))),
        clock=Hertz(10**9),
        vector=VectorUnit(
            peak={DType.FP32: FlopsPerSecond(draw(rates))},
            special=FlopsPerSecond(draw(rates)),
            efficiency=draw(_SHARES),
            batched_side=draw(st.none() | st.sampled_from((16, 64)).map(Count)),
        ),
        matrix=matrix,
        load_bandwidth=BytesPerSecond(draw(rates)),
        buffer_depth=Count(draw(st.integers(1, 4))),
        threads=draw(st.none() | st.sampled_from((32, 256, 2048)).map(Count)),
        start_up=draw(_TIMES),
        exchange=draw(_TIMES),
        window_set_up=draw(_TIMES),
    )


def _systolic() -> st.SearchStrategy[Systolic]:
    sides = st.sampled_from((1, 4, 8, 16)).map(Count)
    return st.builds(
        Systolic,
        rows=sides,
        columns=sides,
        dataflow=st.sampled_from(Dataflow),
        arrays=st.integers(1, 3).map(Count),
        overlap=st.booleans(),
    )


def _tile_on(unit: Systolic, streamed: int) -> tuple[int, int, int]:
    """The native tile of a systolic unit, `streamed` long where it streams."""
    rows, columns = int(unit.rows), int(unit.columns)
    return {
        Dataflow.WEIGHT_STATIONARY: (streamed, columns, rows),
        Dataflow.OUTPUT_STATIONARY: (rows, columns, streamed),
        Dataflow.INPUT_STATIONARY: (columns, streamed, rows),
    }[unit.dataflow]


def _core_tier(draw: st.DrawFn, name: str) -> Tier:
    return Tier(
        name=name,
        scope=Scope.CORE,
        management=Management.SCRATCHPAD,
        capacity=Bytes(draw(st.sampled_from((512, 4096, 65_536)))),
    )


def _shared_tier(
    draw: st.DrawFn,
    name: str,
    rates: st.SearchStrategy[int],
    capacity: int = 0,
    kinds: tuple[Management, ...] = (Management.CACHE,),
) -> Tier:
    """A tier of one of these kinds; with a capacity given, the last one."""
    duplex = draw(st.booleans())
    return Tier(
        name=name,
        scope=Scope.SHARED,
        management=Management.SCRATCHPAD if capacity else draw(st.sampled_from(kinds)),
        capacity=Bytes(capacity or draw(st.sampled_from((1, 1000, 8192, 100_000)))),
        bandwidth=None if duplex else BytesPerSecond(draw(rates)),
        read_bandwidth=BytesPerSecond(draw(rates)) if duplex else None,
        write_bandwidth=BytesPerSecond(draw(rates)) if duplex else None,
        efficiency=draw(_SHARES),
        latency=draw(_TIMES),
        granularity=Bytes(draw(st.sampled_from((1, 32)))),
        arbitration=draw(st.sampled_from(Arbitration)),
    )


def _host(draw: st.DrawFn) -> Host:
    return Host(
        launch_eager=draw(_TIMES),
        launch_compiled=draw(_TIMES),
        launch_view=draw(_TIMES),
        library_call=draw(_TIMES),
        latency=draw(_TIMES),
        start=draw(_TIMES),
        queue=Count(draw(st.integers(1, 4))),
    )
