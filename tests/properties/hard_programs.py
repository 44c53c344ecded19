"""Programs that random ones hardly ever are: long backlogs, many distinct kernels, ties, ports that rest and serve.

Each is made to reach a part of the engines that small random programs leave alone: where memory of the past is
pruned or grows, where equal times are told apart, where a remembered state is restored.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from hiersim.model.operators import csr
from hiersim.model.program import Access, Program, Resource

RESOURCES: Final = (
    Resource(name="l2", tier=1),
    Resource(name="hbm.read", tier=2),
    Resource(name="hbm.write", tier=2),
    Resource(name="matrix", tier=-1),
    Resource(name="vector", tier=-1),
)
L2, READ, WRITE, MATRIX, VECTOR = range(5)
Stage = tuple[int, int, int]
"""Resource, ticks, latency."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nest:
    """Loops of (repeat, ((count, tile type), …)) over chains of stages; buffer release and completion by position."""

    tiles: tuple[tuple[Stage, ...], ...]
    loops: tuple[tuple[int, tuple[tuple[int, int], ...]], ...]
    depth: int = 2
    release: int = -1
    complete: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """One kernel of a program: its nest, what it needs, and the host's part."""

    nest: int
    needs: tuple[int, ...] = ()
    host: int = 1
    sync: int = 0
    latency: int = 0
    start: int = 0


def build(nests: Sequence[Nest], kernels: Sequence[Kernel], queue: int = 1024, fair: Sequence[int] = ()) -> Program:
    """The `Program` of some kernels; the resources in `fair` are fair."""
    tiles = [chain for nest in nests for chain in nest.tiles]
    first = np.cumsum([0, *(len(nest.tiles) for nest in nests)])
    loops = [(repeat, bodies, int(base)) for nest, base in zip(nests, first, strict=False)
             for repeat, bodies in nest.loops]  # fmt: skip
    owner = [nest for nest in nests for _ in nest.tiles]
    stages = np.array([_row(stage) for chain in tiles for stage in chain], np.int64).T
    needs_ptr, needs = csr([list(kernel.needs) for kernel in kernels])
    names = ("resource", "access", "ticks", "latency", "bytes", "useful", "padding", "tail")

    def column(values: Sequence[int]) -> np.ndarray:
        return np.array(values, np.int64)

    return Program(
        tiers=("smem", "l2", "hbm"),
        resources=tuple(dataclasses.replace(item, fair=index in fair) for index, item in enumerate(RESOURCES)),
        queue=queue,
        kernel_names=tuple(f"kernel{index}" for index in range(len(kernels))),
        host_ticks=column([kernel.host for kernel in kernels]),
        host_sync=column([kernel.sync for kernel in kernels]),
        launch_latency=column([kernel.latency for kernel in kernels]),
        start_ticks=column([kernel.start for kernel in kernels]),
        needs_ptr=needs_ptr,
        needs=needs,
        nest=column([kernel.nest for kernel in kernels]),
        depth=column([nest.depth for nest in nests]),
        buffer_tier=column([index % 2 for index in range(len(nests))]),
        loop_ptr=np.cumsum(column([0, *(len(nest.loops) for nest in nests)])),
        loop_repeat=column([repeat for repeat, _, _ in loops]),
        body_ptr=np.cumsum(column([0, *(len(bodies) for _, bodies, _ in loops)])),
        body_count=column([count for _, bodies, _ in loops for count, _ in bodies]),
        body_tile=column([base + tile for _, bodies, base in loops for _, tile in bodies]),
        stage_ptr=np.cumsum(column([0, *(len(chain) for chain in tiles)])),
        release_stage=column([nest.release % len(chain) for nest, chain in zip(owner, tiles, strict=True)]),
        complete_stage=column([nest.complete % len(chain) for nest, chain in zip(owner, tiles, strict=True)]),
        **{f"stage_{name}": row.copy() for name, row in zip(names, stages, strict=True)},
        free_bytes=np.zeros((2, 3), np.int64),
        peak_bytes=np.zeros(3, np.int64),
        flops=(0, 0),
        peak_ticks=(0, 0),
        compulsory_bytes=0,
        warnings=(),
    )


def _row(stage: Stage) -> tuple[int, ...]:
    """Stage columns; compute is split into useful, padding and tail ticks."""
    resource, ticks, latency = stage
    if RESOURCES[resource].tier >= 0:
        return resource, Access.WRITE if resource == WRITE else Access.READ, ticks, latency, ticks, 0, 0, 0
    return resource, Access.COMPUTE, ticks, latency, 0, ticks - ticks // 2, ticks // 2 - ticks // 3, ticks // 3


def uniform(chain: tuple[Stage, ...], tiles: int, depth: int = 2, release: int = -1, complete: int = -1) -> Nest:
    """Equal tiles, in one run."""
    return Nest(tiles=(chain,), loops=((1, ((tiles, 0),)),), depth=depth, release=release, complete=complete)


def in_stream(kernels: Sequence[Kernel]) -> list[Kernel]:
    """Kernels that each need the one before."""
    return [
        Kernel(nest=one.nest, needs=(index - 1,) if index else (), host=one.host, sync=one.sync,
               latency=one.latency, start=one.start)
        for index, one in enumerate(kernels)
    ]  # fmt: skip


def almost_balanced(
    tiles: int, ticks: tuple[int, ...] = (2105351, 2346112, 356231, 111532, 350111), stores: int = 0
) -> Program:
    """Far and near port differ by 0.1 % of their work for a tile: queues that change evenly over thousands of tiles.

    Many short stores at the end of a tile are more events than are traced.
    """
    places, waits = (READ, L2, VECTOR, L2, READ), (500000, 142000, 0, 142000, 500000)
    chain = (*zip(places, ticks, waits, strict=True), *[(WRITE, 1, 1)] * stores)
    return build((uniform(chain, tiles, depth=4, release=3, complete=3),), [Kernel(nest=0)])


def order_of_events() -> Program:
    """A queue drifts; stores of tiles that are gone at the boundary change places, which only events tell."""
    chain = ((READ, 78, 0), (WRITE, 20, 39), (WRITE, 20, 39), (L2, 45, 0), (VECTOR, 66, 0))
    return build((uniform(chain, 100, depth=3, release=2),), [Kernel(nest=0)])


def every_other_tile() -> Program:
    """A queue that drifts by two tiles, for as long as the loop lasts."""
    chain = ((READ, 4, 0), (MATRIX, 5, 0), (L2, 8, 1), (READ, 5, 0))
    loops = ((1, ((8, 0),)), (1, ((140, 0),)))
    return build((Nest(tiles=(chain,), loops=loops, depth=6, release=0),), [Kernel(nest=0)])


def a_wait_that_ends() -> Program:
    """A stage that lies before the last computation waits a little less with every tile, until it does not wait."""
    before = ((VECTOR, 8, 0), (L2, 7, 9), (READ, 6, 8), (READ, 5, 8), (VECTOR, 15, 0), (WRITE, 14, 1))
    chain = ((VECTOR, 965, 48), (WRITE, 965, 423), (WRITE, 965, 423), (VECTOR, 967, 48))
    loops = ((1, ((10, 0),)), (1, ((108, 1),)))
    return build((Nest(tiles=(before, chain), loops=loops, depth=3, release=2),), [Kernel(nest=0)])


def ports_that_rest() -> Program:
    """Ports that rest within a tile, for so many tiles that their past is cut just before a jump."""
    chain = ((L2, 62, 0), (READ, 23, 0), (L2, 40, 0), (VECTOR, 44, 0), (L2, 37, 25), (READ, 21, 0))
    return build((Nest(tiles=(chain,), loops=((12, ((13, 0), (30, 0))),), depth=3, release=3),), [Kernel(nest=0)])


def least_runs() -> Program:
    """A loop that is skipped but for its last turns, with runs that are just long enough to be skipped as well."""
    chain, between = ((MATRIX, 31, 19), (MATRIX, 21, 0)), ((READ, 10, 0), (L2, 24, 0))
    nest = Nest(tiles=(chain, between), loops=((23, ((24, 0), (3, 1))),), depth=5, release=1)
    return build((nest,), [Kernel(nest=0)])


def seen_before_behind_late_work() -> Program:
    """Kernels end while their tiles wait for a port; the last does what one before it did, and then those go on."""
    long, short = ((L2, 1, 0),) * 5, ((L2, 1, 0),) * 2
    nest = Nest(tiles=(long, short), loops=((1, ((2, 0), (6, 1))),), depth=1, release=0, complete=0)
    kernels = [Kernel(nest=0, host=0), Kernel(nest=0, host=0), Kernel(nest=0, host=0, start=2)]
    return build((nest,), in_stream(kernels), queue=1)


def many_distinct_waits() -> Program:
    """A host that takes ever longer: hundreds of transitions, keys and rows, each of them new, then all again."""
    small = uniform(((READ, 3, 2), (MATRIX, 4, 0), (WRITE, 5, 9)), 2, complete=1, release=1)
    other = uniform(((READ, 2, 7), (VECTOR, 3, 0)), 3)
    once = [Kernel(nest=index % 2, host=1 + 11 * (index % 331) % 97 + index, start=index % 3) for index in range(330)]
    return build((small, other), in_stream([*once, *once]))


def idle_starts() -> Program:
    """Kernels that find the machine idle, nearly idle or busy, behind other ones each time: ever later launches."""
    nests = (
        uniform(((READ, 3, 2), (MATRIX, 4, 0), (WRITE, 5, 9)), 3, complete=1, release=1),
        uniform(((READ, 2, 7), (VECTOR, 3, 0)), 2),
        uniform(((READ, 2, 1), (VECTOR, 1, 0), (MATRIX, 3, 2), (L2, 2, 4)), 2, complete=2, release=2),
        uniform(((READ, 2, 1), (WRITE, 3, 4)), 2),
        uniform(((MATRIX, 2, 0), (WRITE, 1, 20)), 2, complete=0, release=0),
        Nest(tiles=(((VECTOR, 1, 0),),), loops=()),
    )
    order = (0, 1, 2, 3, 4, 0, 2, 1, 5, 4, 3, 1, 0, 0, 4, 4, 5, 0, 3, 3, 2, 4, 1)
    kernels = [Kernel(nest=nest, host=1 + turn, start=turn % 2) for turn in range(28) for nest in order]
    return build(nests, in_stream([*kernels, *kernels[:200:3]]))


def waits_seen_again() -> Program:
    """What some kernels do is seen again before that of a hundred others is seen for the first time."""
    small = uniform(((READ, 3, 2), (MATRIX, 4, 0)), 2)
    known = [Kernel(nest=0, host=50 + index % 5) for index in range(60)]
    return build((small,), in_stream([*known, *(Kernel(nest=0, host=60 + index) for index in range(100)), *known]))


def backlog_of_two_kernels() -> Program:
    """Two kernels feed a slow port in turn; a third waits behind more services than a port remembers at first."""
    one = uniform(((L2, 2, 1), (WRITE, 40, 3)), 60, depth=60)
    two = uniform(((READ, 2, 2), (WRITE, 41, 3)), 60, depth=60)
    late = uniform(((WRITE, 3, 50), (MATRIX, 7, 0)), 5, depth=2)
    kernels = (Kernel(nest=0, host=0), Kernel(nest=1, host=1), Kernel(nest=2, host=200), Kernel(nest=2, needs=(2,)))
    return build((one, two, late), kernels)


def long_flight_past_busy_port(stream: bool = False) -> Program:
    """Tiles queue at a port and are then in flight for longer than its next hundred services with rests between."""
    slow = uniform(((READ, 2, 0), (L2, 3, 1500), (MATRIX, 5, 0), (VECTOR, 2, 0)), 7, depth=3)
    short = uniform(((READ, 2, 3), (VECTOR, 1, 1)), 400, depth=1)
    pair = uniform(((READ, 3, 1), (WRITE, 2, 0)), 300, depth=2)
    kernels = [Kernel(nest=0, host=0), Kernel(nest=1, host=0), Kernel(nest=2, host=0), Kernel(nest=0, needs=(1,))]
    return build((slow, short, pair), in_stream(kernels) if stream else kernels)


def late_work_of_many_units() -> Program:
    """More pieces of work than are remembered at first, between two services of the other unit."""
    seldom = uniform(((READ, 2, 900), (MATRIX, 5, 0)), 4, depth=2)
    often = uniform(((L2, 3, 2), (VECTOR, 2, 0)), 500, depth=1)
    return build((seldom, often), [Kernel(nest=0, host=0), Kernel(nest=1, host=0)])


def equal_ends() -> Program:
    """Tiles that arrive at the same tick through different ports, the later ones first in order of resources."""
    both = Nest(
        tiles=(((WRITE, 6, 4),), ((L2, 4, 6),), ((READ, 3, 7),), ((MATRIX, 2, 8),)),
        loops=((3, ((1, 0), (1, 1), (1, 2), (1, 3))), (1, ((1, 3), (1, 2), (1, 1))), (1, ((1, 0), (1, 1)))),
        depth=9,
    )
    other = Nest(
        tiles=(((VECTOR, 2, 1), (WRITE, 6, 4)), ((VECTOR, 1, 2), (L2, 5, 5)), ((VECTOR, 3, 9), (READ, 3, 1))),
        loops=((1, ((1, 0), (1, 1), (1, 2))), (1, ((2, 2), (2, 0)))), depth=9, complete=1, release=0,
    )  # fmt: skip
    kernels = [Kernel(nest=index % 2, host=index % 3) for index in range(9)]
    return build((both, other), in_stream(kernels))


ENDS: Final = (((WRITE, 6, 14),), ((L2, 4, 16),), ((READ, 3, 17),), ((VECTOR, 2, 18),))
"""Tiles that take 20 ticks each, on four resources."""


def equal_ends_of_kernels(order: Sequence[int], followed: bool) -> Program:
    """Kernels of one tile each arrive at the same tick; one that computes may need them all."""
    nests = [uniform(ENDS[index], 1) for index in order]
    kernels = [Kernel(nest=index, host=0) for index in range(len(order))]
    last = uniform(((MATRIX, 3, 0),), 2)
    more = [Kernel(nest=len(order), needs=tuple(range(len(order))), host=0)] if followed else []
    return build((*nests, last), [*kernels, *more])


def equal_ends_of_tiles(order: Sequence[int], followed: bool) -> Program:
    """Tiles of one kernel arrive at the same tick; the drain of the kernel is named after the first of them."""
    nest = Nest(tiles=ENDS, loops=((1, tuple((1, index) for index in order)),), depth=4)
    last = uniform(((MATRIX, 3, 0),), 2)
    more = [Kernel(nest=1, start=2)] if followed else []
    return build((nest, last), in_stream([Kernel(nest=0), *more]))


def nothing_but_launches() -> Program:
    """Kernels without a tile."""
    empty = Nest(tiles=(((MATRIX, 1, 0),),), loops=())
    return build((empty,), [Kernel(nest=0, host=3, latency=2, start=1) for _ in range(3)])


def work_ends_it() -> Program:
    """One unit works until the end, the other rested long ago, and a kernel without tiles comes last."""
    first = uniform(((READ, 2, 1), (VECTOR, 3, 0)), 3)
    second = uniform(((READ, 5, 1), (MATRIX, 9, 0)), 12)
    empty = Nest(tiles=(((MATRIX, 1, 0),),), loops=())
    return build((first, second, empty), in_stream([Kernel(nest=0), Kernel(nest=1), Kernel(nest=2, host=400)]))


def write_backs_behind_layers(depth: int) -> Program:
    """Layers whose write-back piles up behind the next ones; host waits now and then, so that states are restored."""
    store = uniform(
        ((READ, 3, 20), (L2, 2, 4), (MATRIX, 5, 1), (L2, 2, 4), (WRITE, 9, 30)), 14, depth=depth, release=2, complete=3
    )
    norm = Nest(
        tiles=(((L2, 4, 5), (VECTOR, 3, 0), (L2, 2, 1)), ((READ, 6, 2), (VECTOR, 2, 1))),
        loops=((8, ((1, 0), (2, 1))), (1, ((9, 0),))), depth=depth,
    )  # fmt: skip
    layer = [Kernel(nest=0), Kernel(nest=1, start=2), Kernel(nest=0, start=1)]
    odd = [Kernel(nest=1, host=500), Kernel(nest=0, sync=1, host=3)]
    return build((store, norm), in_stream([*layer * 9, *odd, *layer * 4, odd[0], *layer * 6]))


def loads_that_wait_for_stores(depth: int) -> Program:
    """One port for loads and stores, in long loops of two tile types: what the port did sets the pace of flights."""
    nest = Nest(
        tiles=(
            ((READ, 2, 0), (L2, 3, 17), (MATRIX, 2, 0), (READ, 4, 3)),
            ((L2, 7, 11), (READ, 1, 5), (VECTOR, 6, 2), (L2, 1, 1), (WRITE, 3, 3)),
        ),
        loops=((40, ((2, 0), (1, 1))), (1, ((60, 0),)), (1, ((50, 1),)), (3, ((8, 1), (1, 0)))),
        depth=depth, release=2, complete=2,
    )  # fmt: skip
    return build((nest,), in_stream([Kernel(nest=0), Kernel(nest=0, start=3), Kernel(nest=0, start=3)]))


def drain_beside_other_work() -> Program:
    """A kernel that only loads drains while another computes; the next one's gap is told apart from that work."""
    busy = Nest(tiles=(((VECTOR, 7, 3),), ((VECTOR, 11, 0),)), loops=((12, ((1, 0), (1, 1))),), depth=1)
    loads = uniform(((READ, 9, 30), (L2, 5, 8)), 4, depth=3)
    product = uniform(((MATRIX, 6, 0),), 2)
    kernels = (
        Kernel(nest=0, host=0), Kernel(nest=1, host=13), Kernel(nest=2, needs=(1,)), Kernel(nest=1, needs=(2,)),
        Kernel(nest=2, needs=(3,), start=5), Kernel(nest=0, needs=(2,)),
    )  # fmt: skip
    return build((busy, loads, product), kernels)


def last_arrival_of_long_ago(needed: bool) -> Program:
    """The run ends with a write-back that queued long ago, before more services than a port remembers at first."""
    ahead = uniform(((WRITE, 50, 0),), 3, depth=3)
    last = uniform(((L2, 1, 0), (WRITE, 5, 9000)), 1, complete=0)
    others = uniform(((READ, 2, 3),), 300, depth=1)
    work = uniform(((VECTOR, 1, 0),), 1)
    kernels = [Kernel(nest=0, host=0), Kernel(nest=1, host=0), Kernel(nest=2, host=0)]
    return build((ahead, last, others, work), [*kernels, Kernel(nest=3, needs=(2,))] if needed else kernels)


def start_in_a_loop(launch: int) -> Program:
    """A kernel starts in the middle of another's long loop, on the same port or on another."""
    long = uniform(((READ, 5, 4), (MATRIX, 3, 0)), 400, depth=2)
    short = uniform(((READ, 3, 1), (VECTOR, 4, 0)), 30, depth=2)
    product = Nest(tiles=(((L2, 4, 2), (MATRIX, 5, 0)), ((L2, 3, 2), (MATRIX, 2, 0))),
                   loops=((50, ((2, 0), (1, 1))),), depth=3)  # fmt: skip
    kernels = (
        Kernel(nest=0, host=0), Kernel(nest=1, host=launch), Kernel(nest=2, host=launch), Kernel(nest=1, needs=(0,)),
    )  # fmt: skip
    return build((long, short, product), kernels)


def backlogs_at_a_fair_port() -> Program:
    """One kernel after the other comes to wait at one port, for services of different lengths."""
    nests = [
        uniform(((WRITE, ticks, ticks % 3), (VECTOR, 1, 0)), 20, depth=7) for ticks in (40, 17, 23, 11, 21, 17, 40)
    ]
    return build(nests, [Kernel(nest=index, host=50) for index in range(7)], fair=(WRITE,))


def copies(fair: Sequence[int] = (), late: int = 0) -> Program:
    """Two queues of long copies, alone and beside kernels: all their tiles wait from the start of the copy.

    The first waits behind stores that are still under way and the loads of a kernel that starts `late`; a wait of
    which the end is named after its last tile.
    """
    long = Nest(
        tiles=(((READ, 17, 5), (L2, 9, 30), (WRITE, 4, 3)), ((READ, 6, 5), (L2, 3, 30), (WRITE, 2, 3))),
        loops=((1, ((90, 0), (1, 1))),), depth=91,
    )  # fmt: skip
    out = uniform(((L2, 12, 40), (READ, 5, 0)), 60, depth=60)
    twice = uniform(((WRITE, 8, 2), (L2, 11, 0), (WRITE, 3, 70)), 40, depth=41)
    user = uniform(((READ, 6, 4), (MATRIX, 9, 0), (WRITE, 30, 9)), 30, depth=3, complete=1, release=1)
    needs = ((), (0,), (1,), (1,), (1,), (2, 4), (3, 5), (6,))
    kernels = [
        Kernel(nest=nest, needs=needs[index], latency=late if index == 2 else 0)
        for index, nest in enumerate((3, 0, 3, 1, 0, 3, 2, 0))
    ]
    return build((long, out, twice, user), kernels, fair=fair)


def no_lines() -> Program:
    """What is nearly a line of tiles that all wait for one port: they begin at two, or go on after they completed."""
    two = Nest(
        tiles=(((READ, 7, 5), (L2, 9, 3), (WRITE, 4, 3)), ((L2, 11, 2), (READ, 6, 1), (WRITE, 2, 3))),
        loops=((1, ((20, 0), (15, 1))),), depth=40,
    )  # fmt: skip
    early = uniform(((READ, 5, 1), (L2, 8, 20), (WRITE, 13, 9)), 30, depth=30, complete=1)
    user = uniform(((READ, 6, 4), (MATRIX, 9, 0), (WRITE, 30, 9)), 8, depth=3, complete=1, release=1)
    needs = ((), (), (0,), (1,), (0, 2), (3,), (4, 5))
    return build(
        (two, early, user), [Kernel(nest=nest, needs=needs[at]) for at, nest in enumerate((0, 1, 2, 1, 0, 2, 1))]
    )


def shares_at_a_fair_port() -> Program:
    """Layers that end in the same state but for the share that a write-back has had, or restore such a state.

    While the first kernel's second write-back (1000 ticks) waits, those of the next two (200 and 80) pass it,
    both within 80 + 120 ticks of its share when they wait together, one after the other within 200 + 80. Then comes
    a load that is longer than what it lacks in one case, and shorter in the other.
    """
    big = uniform(((VECTOR, 1, 0), (WRITE, 1000, 0)), 2, release=0, complete=0)
    middle, early, late, later = (
        uniform(((VECTOR, 1, latency), (WRITE, ticks, 0)), 1, release=0, complete=0)
        for ticks, latency in ((200, 0), (80, 0), (80, 1070), (80, 9))
    )
    last = Nest(
        tiles=(((VECTOR, 1, 0), (WRITE, 40, 0)), ((VECTOR, 49, 0),)),
        loops=((1, ((1, 0), (1, 1))),),
        release=0,
        complete=0,
    )
    load, other = (uniform(((WRITE, ticks, 0), (VECTOR, 1, 0)), 1) for ticks in (750, 900))

    def layer(third: int, fifth: int) -> list[Kernel]:
        first, *middles = Kernel(nest=0, host=10_000), Kernel(nest=1), Kernel(nest=third)
        return [first, *middles, Kernel(nest=5, host=1250), Kernel(nest=fifth, host=0, start=2)]

    layers = [*layer(2, 6) * 3, *layer(3, 6) * 2, *layer(2, 7), *layer(3, 7), *layer(4, 6), *layer(3, 6), *layer(4, 7)]
    return build((big, middle, early, late, later, last, load, other), in_stream(layers), fair=(WRITE,))


def loops_of_some_length() -> Program:
    """Loops and runs just long enough for fast-forward, and just not."""
    tiles = (((READ, 3, 2), (MATRIX, 4, 0), (L2, 2, 1)), ((L2, 2, 3), (VECTOR, 1, 0)))
    loops: list[tuple[tuple[int, tuple[tuple[int, int], ...]], ...]]
    loops = [((repeat, ((2, 0), (1, 1))),) for repeat in range(2, 8)]
    loops += [((1, ((count, 0),)),) for count in (22, 23, 24, 25, 26, 30, 31, 32, 33, 34, 63, 64, 65, 66)]
    nests = [Nest(tiles=tiles, loops=loop, depth=2 + index % 2) for index, loop in enumerate(loops)]
    return build(nests, in_stream([Kernel(nest=index, start=1) for index in range(len(nests))]))


def starts_out_of_order() -> Program:
    """Many kernels are ready and launched at once, and start in another order; some at the same tick."""
    nests = (uniform(((READ, 3, 2), (MATRIX, 4, 0)), 2), uniform(((L2, 5, 1), (VECTOR, 2, 0)), 3))
    falling = [400 - 23 * index for index in range(14)]
    mixed = [(index * 11 + 5) % 17 * 20 for index in range(24)]
    kernels = [Kernel(nest=index % 2, host=0, start=start) for index, start in enumerate((*falling, *mixed))]
    return build(nests, kernels)


def freed_after_the_end(stream: bool) -> Program:
    """A service that frees a buffer begins when a tile waits for one, and ends when its kernel has long ended."""
    chains = (((L2, 3, 0), (READ, 4, 0)), ((L2, 3, 0), (WRITE, 500, 0)))
    early = Nest(tiles=chains, loops=((1, ((1, 1), (1, 0), (1, 0))),), complete=0)
    alone = uniform(((READ, 30, 5), (VECTOR, 7, 0)), 40, depth=1)
    kernels = [Kernel(nest=0), Kernel(nest=1), Kernel(nest=0), Kernel(nest=1, start=40)]
    return build((early, alone), in_stream(kernels) if stream else kernels)


def so_many_tiles(depth: int) -> Program:
    """A slow store and `depth` buffers: about as many tiles are there as a state may have."""
    slow = uniform(((READ, 2, 0), (WRITE, 9, 4)), 3 * depth, depth=depth)
    return build((slow,), in_stream([Kernel(nest=0), Kernel(nest=0, start=2)]))


def backlog_that_grows() -> Program:
    """All but the number of stores that wait repeats, until they are too many for a state."""
    grows = uniform(((VECTOR, 2, 0), (L2, 2, 1), (WRITE, 6, 3)), 200, release=1, complete=1)
    return build((grows,), in_stream([Kernel(nest=0), Kernel(nest=0, start=2)]))


def late_landing(delay: int) -> Program:
    """A write-back of the kernel before lands in the middle of an iteration, which takes longer for that.

    At its end nothing is left of it but how long ago one of the units has worked.
    """
    first = uniform(((MATRIX, 2, 0), (READ, 1, delay), (L2, 20, 0)), 1, release=0, complete=0)
    tiles = (((VECTOR, 5, 0),), ((L2, 3, 1),), ((MATRIX, 4, 0),))
    loop = Nest(tiles=tiles, loops=((14, ((1, 0), (8, 1), (1, 2))),), depth=1)
    return build((first, loop), in_stream([Kernel(nest=0), Kernel(nest=1), Kernel(nest=0), Kernel(nest=1)]))


def nothing_at_all() -> Program:
    """No kernel."""
    return build((uniform(((MATRIX, 1, 0),), 1),), [])


def work_on_the_way() -> Program:
    """Tiles queue at a unit, then go through a port to another unit: a unit that is busy sets nobody's pace."""
    chain = ((READ, 1, 0), (MATRIX, 6, 0), (L2, 2, 9), (VECTOR, 1, 0))
    return build((uniform(chain, 12, depth=4),), in_stream([Kernel(nest=0), Kernel(nest=0, start=3)]))


def port_of_the_nearest_tier() -> Program:
    """Tiles queue at a port of tier 0, which is a tier like any other, and their flights behind it are hidden."""
    nest = uniform(((L2, 5, 12), (MATRIX, 3, 0), (READ, 2, 1)), 12, depth=4, release=1)
    program = build((nest,), in_stream([Kernel(nest=0), Kernel(nest=0, start=3)]))
    nearest = dataclasses.replace(program.resources[L2], tier=0)
    return dataclasses.replace(program, resources=(nearest, *program.resources[1:]))


def completed_before_computed(chain: tuple[Stage, ...], tiles: int, depth: int = 2, release: int = 1) -> Program:
    """Tiles complete before they compute: after the last skipped period the kernel ends without another computation."""
    early = uniform(chain, tiles, depth=depth, release=release, complete=0)
    return build((early, uniform(((MATRIX, 5, 0),), 1)), in_stream([Kernel(nest=0), Kernel(nest=1)]))


def many_ports() -> Program:
    """255 ports, most of them idle: room for a state grows with them."""
    program = build((uniform(((READ, 3, 2), (MATRIX, 4, 0)), 40),), in_stream([Kernel(nest=0), Kernel(nest=0)]))
    idle = tuple(Resource(name=f"port{index}", tier=2) for index in range(255 - len(RESOURCES)))
    return dataclasses.replace(program, resources=(*program.resources, *idle))


HARD: Final = {
    "work on the way": work_on_the_way(),
    "starts out of order": starts_out_of_order(),
    "a buffer that is free after the end": freed_after_the_end(stream=True),
    "a buffer that is free after the end, in a graph": freed_after_the_end(stream=False),
    **{f"a landing after {delay}": late_landing(delay) for delay in (45, 75, 110)},
    "a backlog that grows": backlog_that_grows(),
    "nothing at all": nothing_at_all(),
    "loops of some length": loops_of_some_length(),
    **{f"{depth} tiles at once": so_many_tiles(depth) for depth in (62, 63, 64, 65)},
    "many distinct waits": many_distinct_waits(),
    "idle starts": idle_starts(),
    "waits seen again": waits_seen_again(),
    "a backlog of two kernels": backlog_of_two_kernels(),
    "a long flight past a busy port": long_flight_past_busy_port(),
    "a long flight, then a busy port": long_flight_past_busy_port(stream=True),
    "late work of many units": late_work_of_many_units(),
    "equal ends": equal_ends(),
    **{
        f"equal ends of {what}, {order}{', then another' if followed else ''}": make(order, followed)
        for what, make in (("kernels", equal_ends_of_kernels), ("tiles", equal_ends_of_tiles))
        for order in ((0, 1), (1, 0), (2, 0, 1), (3, 1, 2))
        for followed in (False, True)
    },
    "a drain beside other work": drain_beside_other_work(),
    "a last arrival of long ago": last_arrival_of_long_ago(False),
    "a last arrival of long ago, and work": last_arrival_of_long_ago(True),
    **{f"a start in a loop after {launch}": start_in_a_loop(launch) for launch in (700, 1203)},
    "nothing but launches": nothing_but_launches(),
    "work ends it": work_ends_it(),
    **{f"write-backs behind layers, {depth} buffers": write_backs_behind_layers(depth) for depth in (1, 3, 70)},
    **{f"loads that wait for stores, {depth} buffers": loads_that_wait_for_stores(depth) for depth in (2, 3, 5, 20)},
    "backlogs at a fair port": backlogs_at_a_fair_port(),
    "shares at a fair port": shares_at_a_fair_port(),
    "copies": copies(),
    "tiles that nearly wait in line": no_lines(),
    "copies at fair ports, beside a kernel that starts late": copies((READ, L2, WRITE), late=300),
    "a port of the nearest tier": port_of_the_nearest_tier(),
    "many ports": many_ports(),
    "completed before computed": completed_before_computed(((L2, 3, 2), (VECTOR, 10, 0)), 43),
    "completed before computed, ports almost equally busy": completed_before_computed(
        ((L2, 346, 2), (VECTOR, 697, 0), (L2, 347, 2), (READ, 698, 179)), 43
    ),
    "completed before computed, ports almost equally busy, four buffers": completed_before_computed(
        ((L2, 375, 0), (VECTOR, 642, 0), (L2, 264, 2), (READ, 641, 0)), 60, depth=4, release=3
    ),
    "ports almost equally busy": almost_balanced(240),
    "ports almost equally busy, and an order that only events tell": order_of_events(),
    "ports almost equally busy, every other tile alike": every_other_tile(),
    "ports almost equally busy, and a wait that ends": a_wait_that_ends(),
    "ports that rest, in loops": ports_that_rest(),
    "runs of the least length that is looked at, in a loop": least_runs(),
    "a kernel seen before, behind late work": seen_before_behind_late_work(),
    "ports almost equally busy, and too many events": almost_balanced(60, stores=56),
    "ports almost equally busy, and work": almost_balanced(200, (2103351, 2586112, 712231, 222532, 701111)),
}

PLAYED: Final = {
    "many distinct waits": (200, 7),
    "idle starts": (598, 116),
    "a long flight, then a busy port": (78, 9),
    "late work of many units": (536, 2),
    "a drain beside other work": (64, 2),
    "a start in a loop after 1203": (1040, 2),
    "write-backs behind layers, 1 buffers": (335, 10),
    "write-backs behind layers, 3 buffers": (377, 6),
    "write-backs behind layers, 70 buffers": (535, 8),
    "loads that wait for stores, 2 buffers": (1364, 129),
    "loads that wait for stores, 3 buffers": (697, 15),
    "loads that wait for stores, 5 buffers": (1664, 19),
    "shares at a fair port": (34, 13),
    "ports almost equally busy": (120, 8),
    "ports almost equally busy, and work": (180, 11),
    "ports almost equally busy, and an order that only events tell": (350, 13),
    "ports almost equally busy, every other tile alike": (376, 13),
    "ports almost equally busy, and a wait that ends": (180, 8),
    "ports that rest, in loops": (1296, 22),
    "runs of the least length that is looked at, in a loop": (484, 29),
}
"""Stages played and states written down with fast-forward, as counted on 23 to 28 November 2026."""
