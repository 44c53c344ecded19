"""Stored results, and groups of them, in columns: what each touches, and which pairs of them suit each other.

A round looks at all pairs at once; its rules are those of `Scheduler`, pair by pair.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from hiersim.fusion.inductor.buffers import Buffers
from hiersim.fusion.inductor.rules import LIBRARY, InductorRules, Part
from hiersim.fusion.patterns import distinct
from hiersim.fusion.traits import Traits
from hiersim.model.operators import BoolArray, IntArray, gather


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Singles:
    """B stored results in launch order, or groups of them in the order of their first."""

    head: IntArray
    """(B,) the operator whose result it is; of a group any one."""
    name: IntArray
    """(B,) its number; of a group that of one of its results."""
    buffers: IntArray
    """(B,) stored results in it."""
    first: IntArray
    last: IntArray
    """(B,) least and largest number of a stored result in it."""
    library: BoolArray
    stretch: IntArray
    """(B,) between which host syncs."""
    phase: IntArray
    points: IntArray
    """(B,) points of the parallel loops (`numel`)."""
    inner: IntArray
    """(B,) points of the reduction loops (`rnumel`); 1 where nothing is reduced."""
    split: BoolArray
    """Whether it is a reduction that is split over blocks: a second kernel adds up what these found."""
    ptr: IntArray
    key: IntArray
    """CSR (B + 1,): keys that each touches, in rising order."""
    loads: BoolArray
    """Whether it reads that key."""
    makes: BoolArray
    """Whether the key is its own result, as others read it."""
    size: IntArray
    """Bytes behind each key."""
    whole: BoolArray
    """Per key: whether it is all that one operator wrote, in the order in which it was written."""
    inside: BoolArray
    """Whether it reads what it makes."""

    def __len__(self) -> int:
        return len(self.head)


def singles(
    buffers: Buffers, facts: Traits, head: IntArray, stretch: IntArray, phase: IntArray, rules: InductorRules
) -> Singles:  # fmt: skip
    """The stored results of `head`, in launch order; `stretch` and `phase` are by operator."""
    known, part = buffers.loads, np.array(buffers.part, np.int64)[head]
    points, inner = facts.results[head], np.ones(len(head), np.int64)
    reduces, scatters = part == Part.REDUCTION, part == Part.SCATTER
    points = np.where(reduces, np.maximum(facts.rows[head], 1), np.where(scatters, facts.operands[head], points))
    inner = np.where(reduces, np.maximum(facts.points[head] // np.maximum(points, 1), 1), inner)
    rows, keys = head.tolist(), len(known.size)
    loads = _codes([buffers.reads[row] for row in rows], keys)
    made = np.array(known.made_ptr, np.int64)
    makes = _codes([known.made[made[row] : made[row + 1]] for row in rows], keys)
    number = np.arange(len(head))
    return Singles(
        head=head,
        name=number,
        buffers=np.ones(len(head), np.int64),
        first=number,
        last=number,
        library=np.isin(part, [int(item) for item in LIBRARY]),
        stretch=stretch[head],
        phase=phase[head],
        points=points,
        inner=inner,
        split=_splits(points, inner, facts.normalises[head] == 1, rules),
        size=np.array(known.size, np.int64),
        whole=np.array(known.whole, np.int64) == 1,
        **_touched(loads, makes, len(head), keys),
    )


class _Touched(TypedDict):
    """Columns of `Singles`."""

    ptr: IntArray
    key: IntArray
    loads: BoolArray
    makes: BoolArray
    inside: BoolArray


def _touched(loads: IntArray, makes: IntArray, count: int, keys: int) -> _Touched:
    """What `count` results touch, from what they load and make as distinct codes: number times `keys`, plus key."""
    codes = distinct(np.concatenate([loads, makes]))
    read, made = _among(codes, loads), _among(codes, makes)
    inside = np.zeros(count, np.bool_)
    inside[codes[read & made] // max(keys, 1)] = True
    return _Touched(
        ptr=np.searchsorted(codes, np.arange(count + 1) * max(keys, 1)).astype(np.int64),
        key=codes % max(keys, 1),
        loads=read,
        makes=made,
        inside=inside,
    )


def grouped(of: Singles, name: IntArray, shape: Callable[[int], tuple[int, int, bool]]) -> Singles:
    """Stored results of equal `name` as one; `shape` tells a group's points, inner points and split by its name."""
    names, begin, label = np.unique(name, return_index=True, return_inverse=True)
    by_first = np.argsort(begin)
    rank = np.empty(len(names), np.int64)
    rank[by_first] = np.arange(len(names))
    label, names, begin = rank[label], names[by_first], begin[by_first]
    buffers = np.bincount(label, minlength=len(names))
    last = np.zeros(len(names), np.int64)
    np.maximum.at(last, label, np.arange(len(of)))
    points, inner, split = of.points[begin], of.inner[begin], of.split[begin]
    for place in np.flatnonzero(buffers > 1).tolist():
        points[place], inner[place], split[place] = shape(int(names[place]))
    keys = len(of.size)
    codes = np.repeat(label, np.diff(of.ptr)) * max(keys, 1) + of.key
    return dataclasses.replace(
        of, head=of.head[begin], name=names, buffers=buffers, first=begin, last=last, library=of.library[begin],
        stretch=of.stretch[begin], phase=of.phase[begin], points=points, inner=inner, split=split,
        **_touched(distinct(codes[of.loads]), distinct(codes[of.makes]), len(names), keys),
    )  # fmt: skip


def _splits(points: IntArray, inner: IntArray, normalises: BoolArray, rules: InductorRules) -> BoolArray:
    """Which reductions are split over blocks, so that nothing goes over the same elements in their kernel afterwards.

    What a norm or a softmax does with its sums is no part of the reduction: it is an expression in whatever uses it.
    """
    split: BoolArray = (points < rules.split_reduction_outputs) & (inner > rules.split_reduction_length)
    return split & ~normalises


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pairs:
    """Pairs that may share a kernel as far as cycles allow, those first that save most."""

    one: IntArray
    """Name of the one whose first result comes first."""
    other: IntArray
    passed: BoolArray
    """Whether either hands something to the other, or they only read the same."""


def suited(of: Singles, rules: InductorRules, changed: BoolArray | None = None) -> Pairs:
    """Pairs that suit each other; with `changed`, (B,), only those with one of these."""
    one, other = _touching(of, rules, changed)
    alike = (of.inner[one] > 1) == (of.inner[other] > 1)
    reduced = np.where(of.inner[one] > 1, one, other)
    plain = np.where(of.inner[one] > 1, other, one)
    fits = (of.points[plain] == of.points[reduced]) | (of.points[plain] == of.points[reduced] * of.inner[reduced])
    same = (of.points[one] == of.points[other]) & (of.inner[one] == of.inner[other])
    kept = np.where(alike, same, fits) & (of.stretch[one] == of.stretch[other]) & (of.phase[one] == of.phase[other])
    kept &= of.buffers[one] + of.buffers[other] <= rules.max_fusion_size
    one, other, alike, reduced = one[kept], other[kept], alike[kept], reduced[kept]
    shared, onward, back, straight = _shared(of, one, other)
    passed, far = onward | back, _distance(of, one, other)
    near = (shared > 0) & (shared >= rules.score_fusion_memory_threshold) & (far <= rules.max_distance)
    kept = straight & (passed | near)
    larger = np.maximum(of.points[one], of.points[other]) > of.points[reduced]
    waits = np.where(
        alike, passed | of.inside[one] | of.inside[other], larger & np.where(reduced == one, onward, back)
    )  # fmt: skip
    kept &= ~(of.split[reduced] & waits)
    one, other, alike, shared, far = one[kept], other[kept], alike[kept], shared[kept], far[kept]
    first, second = of.name[one], of.name[other]
    order = np.lexsort((second, first, far, -shared, ~(alike & (shared > 0))))
    return Pairs(one=first[order], other=second[order], passed=passed[kept][order])


def _distance(of: Singles, one: IntArray, other: IntArray) -> IntArray:
    """Stored results between the far ends of two."""
    found: IntArray = np.maximum(np.abs(of.first[one] - of.last[other]), np.abs(of.first[other] - of.last[one]))
    return found


def users(of: Singles) -> tuple[IntArray, IntArray]:
    """CSR by key: numbers of the stored results of generated code that touch it, in rising order."""
    number = np.repeat(np.arange(len(of)), np.diff(of.ptr))
    chosen = ~of.library[number]
    order = np.argsort(of.key[chosen], kind="stable")
    key = of.key[chosen][order]
    return np.searchsorted(key, np.arange(len(of.size) + 1)).astype(np.int64), number[chosen][order]


def handed_on(of: Singles) -> tuple[list[int], list[int]]:
    """CSR (B + 1,): for each, those whose results it reads."""
    count = max(len(of), 1)
    number = np.repeat(np.arange(len(of)), np.diff(of.ptr))
    makes = np.flatnonzero(of.makes)
    makes = makes[np.argsort(of.key[makes], kind="stable")]
    ptr = np.searchsorted(of.key[makes], np.arange(len(of.size) + 1)).astype(np.int64)
    found, maker = gather(ptr, of.key[of.loads], number[makes])
    pairs = distinct(np.repeat(number[of.loads], np.diff(found)) * count + maker)
    return np.searchsorted(pairs // count, np.arange(len(of) + 1)).tolist(), (pairs % count).tolist()


def _touching(of: Singles, rules: InductorRules, changed: BoolArray | None) -> tuple[IntArray, IntArray]:
    """Pairs that touch a key, each with so many that come after it; those that only read it, near each other."""
    ptr, number = users(of)
    key = np.repeat(np.arange(len(of.size)), np.diff(ptr))
    made = np.zeros(len(of.size), np.bool_)
    made[of.key[of.makes]] = True
    if changed is not None:
        asked = np.zeros(len(of.size), np.bool_)
        asked[key[changed[number]]] = True
        key, number = key[asked[key]], number[asked[key]]
    place, found = np.arange(len(number)), [np.zeros(0, np.int64)]
    for step in range(1, rules.max_fusion_buffer_group_pairwise_attempts + 1):
        place = place[place + step < len(number)]
        place = place[key[place] == key[place + step]]
        if not len(place):
            break
        one, other = number[place], number[place + step]
        near = made[key[place]] | (of.first[other] - of.last[one] <= rules.max_distance)
        if changed is not None:
            near &= changed[one] | changed[other]
        found.append(one[near] * len(of) + other[near])
    pairs = distinct(np.concatenate(found))
    return pairs // max(len(of), 1), pairs % max(len(of), 1)


def _shared(of: Singles, one: IntArray, other: IntArray) -> tuple[IntArray, BoolArray, BoolArray, BoolArray]:
    """Of each pair the bytes that both touch, whether one hands something on, or gets it, and all of that in order."""
    keys, entries = max(len(of.size), 1), np.arange(len(of.key))
    codes = np.repeat(np.arange(len(of)), np.diff(of.ptr)) * keys + of.key
    ptr, mine = gather(of.ptr, one, entries)
    pair = np.repeat(np.arange(len(one)), np.diff(ptr))
    asked = other[pair] * keys + of.key[mine]
    theirs = np.minimum(np.searchsorted(codes, asked), max(len(codes) - 1, 0))
    both = np.flatnonzero(codes[theirs] == asked) if len(codes) else entries
    pair, mine, theirs = pair[both], mine[both], theirs[both]
    shared = np.zeros(len(one), np.int64)
    np.add.at(shared, pair, of.size[of.key[mine]])
    hands, gets = of.makes[mine] & of.loads[theirs], of.makes[theirs] & of.loads[mine]
    onward, back, straight = np.zeros(len(one), np.bool_), np.zeros(len(one), np.bool_), np.ones(len(one), np.bool_)
    onward[pair[hands]] = True
    back[pair[gets]] = True
    straight[pair[(hands | gets) & ~of.whole[of.key[mine]]]] = False
    return shared, onward, back, straight


def _codes(lists: Sequence[Collection[int]], keys: int) -> IntArray:
    """Number and key of each entry of some lists as one number, in rising order."""
    counts = np.fromiter(map(len, lists), np.int64, len(lists))
    values = np.fromiter((key for some in lists for key in some), np.int64, int(counts.sum()))
    return distinct(np.repeat(np.arange(len(lists)), counts) * max(keys, 1) + values)


def _among(all_of: IntArray, some: IntArray) -> BoolArray:
    """Which of the distinct, rising numbers `all_of` are in `some`, which are as well, and among them."""
    found = np.zeros(len(all_of), np.bool_)
    found[np.searchsorted(all_of, some)] = True
    return found
