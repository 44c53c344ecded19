"""Random programs whose tile loops drift: two resources are almost equally busy, a queue grows or shrinks for long."""

from __future__ import annotations

from hard_programs import L2, MATRIX, READ, VECTOR, Kernel, Nest, build, in_stream, uniform
from hypothesis import strategies as st

from hiersim.model.program import Program

FORMS = (
    (READ, L2, VECTOR, L2, READ), (READ, L2, VECTOR, L2), (L2, VECTOR, L2, READ), (READ, L2, MATRIX),
    (READ, L2, MATRIX, VECTOR, L2, READ), (VECTOR, L2, READ),
)  # fmt: skip
"""Resources of a tile: loads far and near, work, stores near and far; loads and stores share their ports."""


@st.composite
def balanced(draw: st.DrawFn, tiles: int) -> Program:
    """One to three kernels of long runs of tiles that take two ports, or a port and a unit, almost equally long.

    Tiles may complete before they compute; then another kernel names what the last of these did at its end.
    """
    form = draw(st.sampled_from(FORMS))
    scale = draw(st.sampled_from((20, 200, 5000)))
    ticks = [draw(st.integers(1, scale)) for _ in form]
    total = sum(time for place, time in zip(form, ticks, strict=True) if place == READ) or scale
    for place in draw(st.sampled_from(((L2,), (L2, VECTOR), (L2, MATRIX)))):
        rows = [index for index, other in enumerate(form) if other == place]
        for index in rows:
            ticks[index] = max(1, total // len(rows) + draw(st.integers(-3, 3)))
    latency = {place: draw(st.integers(0, scale)) if place in (L2, READ) else 0 for place in set(form)}
    chain = tuple((place, time, latency[place]) for place, time in zip(form, ticks, strict=True))
    shorter = tuple((place, max(1, time - 1), wait) for place, time, wait in chain)
    done = max(index for index, place in enumerate(form) if place != READ)
    loops = ((1, ((draw(st.integers(24, tiles)), 0),)), (1, ((1, 1),)))
    early = draw(st.sampled_from((done, done, done, 0)))  # a kernel may end while its tiles compute
    nest = Nest(tiles=(chain, shorter), loops=loops, depth=draw(st.integers(1, 6)), release=done, complete=early)
    kernels = [Kernel(nest=0, host=draw(st.integers(1, scale))) for _ in range(draw(st.integers(1, 3)))]
    if early != done:
        kernels.append(Kernel(nest=1))
    return build((nest, uniform(((MATRIX, 5, 0),), 1)), in_stream(kernels))


@st.composite
def two_alike(draw: st.DrawFn, tiles: int) -> Program:
    """Tiles of any stages, two of whose resources are almost equally busy, in loops of any length, freed anywhere.

    Stores may be over before the next tile is issued, and tiles may drift two by two.
    """
    chains = tuple(draw(st.lists(chains_with_two_alike(), min_size=1, max_size=2)))
    shortest = min(map(len, chains))
    count, few, kind = st.integers(24, tiles), st.integers(1, 40), st.integers(0, len(chains) - 1)
    run = st.tuples(st.just(1), st.tuples(st.tuples(count, kind)))
    start = st.tuples(st.just(1), st.tuples(st.tuples(few, kind)))
    loop = st.tuples(few, st.tuples(st.tuples(few, kind), st.tuples(few, kind)))
    loops = draw(st.one_of(st.tuples(run), st.tuples(start, run), st.tuples(run, run), st.tuples(loop)))
    place = st.integers(0, shortest - 1)
    release, complete = draw(st.one_of(st.tuples(place, place), st.tuples(place, st.just(-1))))
    depth = draw(st.integers(1, 8))
    nest = Nest(tiles=chains, loops=loops, depth=depth, release=release, complete=complete)
    return build((nest,), [Kernel(nest=0)])


@st.composite
def chains_with_two_alike(draw: st.DrawFn) -> tuple[tuple[int, int, int], ...]:
    """One to seven stages; those of two resources take almost as many ticks in all."""
    scale = draw(st.sampled_from((5, 20, 100, 1000)))
    form = draw(st.one_of(st.sampled_from(FORMS), st.lists(st.integers(0, VECTOR), min_size=1, max_size=7)))
    ticks = [draw(st.integers(1, scale)) for _ in form]
    total = draw(st.integers(2, 2 * scale))
    for place in draw(st.permutations(sorted(set(form))))[:2]:
        rows = [index for index, other in enumerate(form) if other == place]
        for index in rows:
            ticks[index] = max(1, (total + draw(st.integers(-3, 3))) // len(rows))
    latency = [draw(st.one_of(st.just(0), st.integers(0, scale))) for _ in range(VECTOR + 1)]
    return tuple((place, time, latency[place]) for place, time in zip(form, ticks, strict=True))
