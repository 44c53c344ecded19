"""Bytes in use over time, and who still fits under the ceiling: one segment tree per tier.

Ordinary Python with types for Cython: compiled where there is a C compiler, interpreted elsewhere, with the same
results.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cython
import numpy as np

from hiersim.lowering.columns import column, loaded
from hiersim.model.operators import IntArray

NOWHERE = -1
"""Index of a tensor that fits no tier."""


def _owned(values: Any) -> Any:
    """A column to read; columns of traces are read-only, and typed views may write."""
    return loaded(np.array(values, np.int64))


@cython.cclass
class Skyline:
    """Height at each of `length` moments; raised over intervals, asked for its highest point in an interval."""

    width: cython.longlong
    top: cython.longlong[::1]  # highest point below a node, without what its ancestors were raised
    lift: cython.longlong[::1]  # what a node as a whole was raised

    def __init__(self, length: int) -> None:
        self.width = 1
        while self.width < length:
            self.width *= 2
        self.top, self.lift = column(2 * self.width), column(2 * self.width)

    def raise_by(self, first: int, last: int, amount: int) -> None:
        """`amount` more in [first, last]."""
        self.lift_under(1, 0, self.width - 1, first, last, amount)

    def highest(self, first: int, last: int) -> int:
        """The highest point in [first, last]."""
        return int(self.most(1, 0, self.width - 1, first, last))

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def lift_under(
        self, node: cython.longlong, low: cython.longlong, high: cython.longlong, first: cython.longlong,
        last: cython.longlong, amount: cython.longlong,
    ) -> cython.longlong:  # fmt: skip
        """`raise_by` in the part [low, high] that hangs under `node`."""
        if last < low or high < first:
            return 0
        if first <= low and high <= last:
            self.top[node] += amount
            self.lift[node] += amount
            return 0
        middle: cython.longlong = (low + high) // 2
        self.lift_under(2 * node, low, middle, first, last, amount)
        self.lift_under(2 * node + 1, middle + 1, high, first, last, amount)
        self.top[node] = max(self.top[2 * node], self.top[2 * node + 1]) + self.lift[node]
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def most(
        self, node: cython.longlong, low: cython.longlong, high: cython.longlong, first: cython.longlong,
        last: cython.longlong,
    ) -> cython.longlong:  # fmt: skip
        """`highest` in the part [low, high] that hangs under `node`; 0 where they do not meet."""
        if last < low or high < first:
            return 0
        if first <= low and high <= last:
            return self.top[node]
        middle: cython.longlong = (low + high) // 2
        left: cython.longlong = self.most(2 * node, low, middle, first, last)
        right: cython.longlong = self.most(2 * node + 1, middle + 1, high, first, last)
        return max(left, right) + self.lift[node]


def settle(
    order: IntArray, first: IntArray, last: IntArray, size: IntArray, only: IntArray, ceilings: Sequence[int]
) -> IntArray:
    """The nearest tier in which each tensor fits during its whole life, when they come one after the other.

    Parameters
    ----------
    order : (N,) array of int
        Tensors as they come; those left out get no home.
    first, last : (S,) array of int
        Life of each tensor, both moments included.
    size : (S,) array of int
        Bytes.
    only : (S,) array of int
        The one tier that it may live in, -1: any.
    ceilings : sequence of int
        Capacity of each tier, nearest first.

    Returns
    -------
    (S,) array of int
        Index of the tier, `NOWHERE` where none has room.
    """
    home = np.full(len(size), NOWHERE, np.int64)
    moments = int(last.max(initial=0)) + 1
    tiers = [Skyline(moments) for _ in ceilings]
    chosen = column(len(size))
    _settle(
        _owned(order), _owned(first), _owned(last), _owned(size), _owned(only), _owned(ceilings), tiers, chosen
    )  # fmt: skip
    home[order] = np.asarray(chosen, np.int64)[order]
    return home


@cython.cfunc
def _settle(
    order: cython.longlong[::1],
    first: cython.longlong[::1],
    last: cython.longlong[::1],
    size: cython.longlong[::1],
    only: cython.longlong[::1],
    ceilings: cython.longlong[::1],
    tiers: list[Skyline],
    chosen: cython.longlong[::1],
) -> cython.longlong:
    place: cython.longlong
    tier: cython.longlong
    for place in range(len(order)):
        item: cython.longlong = order[place]
        chosen[item] = NOWHERE
        for tier in range(len(ceilings)):
            if only[item] >= 0 and only[item] != tier:
                continue
            skyline: Skyline = tiers[tier]
            top: cython.longlong = skyline.most(1, 0, skyline.width - 1, first[item], last[item])
            if size[item] <= ceilings[tier] - top:
                skyline.lift_under(1, 0, skyline.width - 1, first[item], last[item], size[item])
                chosen[item] = tier
                break
    return 0
