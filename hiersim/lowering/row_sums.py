"""Reductions to numbers as PyTorch's `reduce_kernel` shares them out: what no design changes.

A block has at most 512 threads, fewer where a thread keeps several results. Its width lies along the dimension that is
contiguous in memory: along the numbers of a result, or, where another dimension is reduced, along results, of which a
thread then keeps four. Its height takes results, or, where a thread would add up many numbers, a share of the numbers.
What is then still 256 numbers or more for a thread is split over blocks, as many as are resident, with at least 16
numbers a thread (`split`); the last block of a result to end adds up what they left in memory, one wait for each turn.

PyTorch 2, aten/src/ATen/native/cuda/Reduce.cuh: `setReduceConfig`, `global_reduce`.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from hiersim.model.operators import IntArray

WARP: Final = 32
MOST_THREADS: Final = 512
FEW: Final = 16
"""Numbers of a thread below which nothing is divided further."""
MANY: Final = 256
"""Numbers of a thread from which on they are split over blocks."""
UNROLLED: Final = 4
"""Loads that a thread has under way at once."""
KEPT: Final = 4
"""Results that a thread keeps at most where another dimension than the last is reduced."""


class Sums(NamedTuple):
    """How the numbers of a reduction are shared out, before they are split over blocks."""

    teams: int
    threads: int
    """Of a team: a block, or what of it works for results of its own."""
    steps: int
    """Loads of a thread, one after the other."""
    step: int
    """Elements next to each other that a team loads at once."""
    numbers: int
    """That a thread adds up for each of its results; 0 where they are never split over blocks."""
    joined: int
    """Threads of a team that add up what blocks left of one result."""


def sums_of(results: int, numbers: int, behind: int, loaded: int) -> Sums:
    """Who adds up `numbers` numbers for each of `results` results.

    `behind` elements lie from one number of a result to the next, 0 where they lie side by side; a thread then
    reads `loaded` of them with one load or a few at once.
    """
    kept = next(count for count in (KEPT, 2, 1) if behind % count == 0) if behind else 1
    most = MOST_THREADS // kept
    along, across = (results // kept, numbers) if behind else (numbers, results)
    widest, highest = _power(along, most), _power(across, most)
    width = min(widest, WARP)
    height = min(highest, most // width)
    width = min(widest, most // height)
    each = numbers if behind else -(-numbers // width)
    whole = each >= FEW * height or each >= MANY
    if whole:
        each = -(-each // height)
    threads = width * height if whole else width
    apart = width * kept if behind else 1
    return Sums(
        teams=-(-results // apart),
        threads=threads,
        steps=-(-each // (UNROLLED if behind else loaded)),
        step=apart if behind else threads * loaded,
        numbers=each if whole and each >= MANY else 0,
        joined=height if behind else threads,
    )


def _power(count: int, most: int) -> int:
    """The largest power of two that is not above either."""
    return 1 << (max(1, min(count, most)).bit_length() - 1)


def behind_each_other(before: IntArray, after: IntArray) -> int:
    """Elements from one number of a result to the next, 0 where they lie side by side or nobody knows.

    `before` and `after` are the shapes of what is reduced and of the result, with or without the dimensions that are
    reduced. Where both a last and an earlier dimension could have been (a square), it was the last.
    """
    sides, left = before.tolist(), after.tolist()
    if len(sides) == len(left):
        if any(one != other and other != 1 for one, other in zip(sides, left, strict=True)):
            return 0
        reduced = [place for place, (one, other) in enumerate(zip(sides, left, strict=True)) if one != other]
    else:
        reduced = []
        for place, side in enumerate(sides):
            if left and left[0] == side:
                left = left[1:]
            else:
                reduced.append(place)
        if left:
            return 0
    stride = 1
    for side in sides[reduced[-1] + 1 :] if reduced else ():
        stride *= side
    return stride if stride > 1 else 0
