"""Which eager operators the kernels of a captured schedule run.

A captured schedule names the operators of the compiler's own graph: composite operators are decomposed, some are
renamed, recomputed ones appear again. They are matched to the eager operators by phase, module, name and work, in
order; then by phase, name and work alone (autograd's sums carry no module); last, what is left of a module is the
decomposition of the one operator that is left in it. What stays open is left out, never guessed.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from itertools import combinations
from typing import Final

import numpy as np

from hiersim.fusion.dependences import dependences
from hiersim.fusion.partition import launching
from hiersim.model.kernels import KernelGraph
from hiersim.model.networks import rows_of
from hiersim.model.operators import PRODUCED, Accesses, Kind, OperatorTable, Phase, TensorTable
from hiersim.model.trace import Trace

_SAME: Final = {
    "convert_element_type": "_to_copy",
    "iota": "arange",
    "bmm": "mm",
    "zeros": "full",
    "zeros_like": "full",
    "new_zeros": "full",
    "ones_like": "full",
    "full_like": "full",
    "index_put": "index_copy",
    "_low_memory_max_pool_with_offsets": "max_pool2d_with_indices",
}
"""Names that a compiler gives to the same operator."""
PRODUCT: Final = "mm"
BIASED: Final = ("addmm", "baddbmm")
"""Products that a compiler may take apart: their reader then adds the bias (unfuse_bias_add_to_pointwise)."""
MOST_SWAPPED: Final = 64
"""Operators of a group in which any two may change places."""
PASSES: Final = 4
_MARKS: Final = {
    "silu": ("exp", "sigmoid"),
    "gelu": ("erf", "tanh"),
    "sigmoid": ("sigmoid", "exp"),
    "_softmax": ("prepare_softmax_online", "amax", "exp"),
    "_log_softmax": ("prepare_softmax_online", "amax", "log"),
    "native_layer_norm": ("var_mean",),
    "native_group_norm": ("var_mean",),
    "native_batch_norm": ("sqrt", "rsqrt"),
    "hardswish": ("clamp_max", "minimum"),
    "nll_loss_forward": ("gather",),
    "index_copy": ("index_put",),
    "leaky_relu": ("gt",),
    "softplus": ("log1p",),
}
"""What only the decomposition of an operator contains."""
_LAST: Final = {"_log_softmax": "sub"}
"""What the last step of an operator consists of, which may run in another kernel than its mark."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Correspondence:
    """Where a captured schedule runs each eager operator."""

    kernels: dict[int, frozenset[int]]
    """Eager operator → captured kernels that run it, or run a part of it; operators that were not found are missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    """An operator of either side."""

    at: int
    phase: int
    module: str
    name: str
    work: tuple[int, ...]
    """FLOPs, and of a reduction its sizes."""
    reduces: bool = False
    named: frozenset[str] = frozenset()
    """Weights, caches and inputs that the operator touches, or, of a captured row, its whole kernel."""


@dataclass(slots=True, kw_only=True)
class _Found:
    """What is matched so far."""

    kernel_of: list[int]
    """Kernel of each captured row."""
    neighbours: dict[int, set[int]]
    """Operators that an eager operator reads from or writes for."""
    operator: dict[int, int] = field(default_factory=dict)
    """Captured row → eager operator."""
    kernels: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    """Eager operator → kernels."""
    groups: list[list[tuple[_Item, _Item]]] = field(default_factory=list)
    """Operators of a module that only their order tells apart, with the rows that they were given."""

    def add(self, row: int, operator: int) -> None:
        """Match a captured row to an eager operator."""
        self.operator[row] = operator
        self.kernels[operator].add(self.kernel_of[row])

    def near(self, operator: int, row: int) -> int:
        """How many neighbours of an eager operator the kernel of a captured row runs."""
        kernel = self.kernel_of[row]
        around = self.neighbours.get(operator, set())
        return sum(kernel in self.kernels[other] for other in around if other in self.kernels)


def correspondence(trace: Trace, schedule: KernelGraph) -> Correspondence:
    """Match the rows of `schedule` to the eager operators of `trace`."""
    rows = launching(trace.graph).tolist()
    touched = _named(trace.graph.tensors, trace.graph.reads, trace.graph.writes)
    eager = [item for item in _items(trace.graph.operators, rows, touched) if item.phase != Phase.OPTIMIZER]
    known = {item.module for item in eager}
    kernel_of = np.repeat(np.arange(len(schedule)), np.diff(schedule.operator_ptr)).tolist()
    by_kernel = _named(schedule.tensors, schedule.reads, schedule.writes)
    everything = range(len(schedule.operators))
    all_rows = _items(schedule.operators, everything, [by_kernel[kernel_of[row]] for row in everything])
    compiled = [_rooted(item, known) for item in all_rows if item.phase != Phase.OPTIMIZER]
    again = schedule.recomputed.tolist()
    first = [item for item in compiled if not again[item.at]]
    known_so_far = _Found(kernel_of=kernel_of, neighbours=_neighbours(trace))
    found = known_so_far.operator
    left = eager, first
    for key in (_place, _work):
        left = _zip_equal(*left, known_so_far, key, lambda group: len({kernel_of[item.at] for item in group}) == 1)
        placed = _placed(first, found, kernel_of)
        left = left[0], sorted(left[1], key=lambda item: placed[item.at])
        left = _zip_equal(*left, known_so_far, key, lambda group: True)
    _settle(known_so_far)
    eager_left, first_left = left
    _decomposed(eager_left, first_left, found)
    halves = _second_halves(schedule, kernel_of)
    _repeated(eager, [item for item in compiled if kernel_of[item.at] not in halves], again, kernel_of, found)
    _halved(compiled, halves, kernel_of, again, found)
    kernels = _together(eager, compiled, kernel_of, found)
    for row, operator in found.items():
        kernels[operator].add(kernel_of[row])
    kernels.update(_without_bias(eager, compiled, kernel_of, found))
    return Correspondence(kernels={operator: frozenset(where) for operator, where in sorted(kernels.items())})


def _without_bias(
    eager: list[_Item], compiled: list[_Item], kernel_of: list[int], found: dict[int, int]
) -> dict[int, set[int]]:
    """Kernels of products whose bias is added by whoever reads them: the product stands for the operator."""
    biased = {item.at for item in eager if item.name in BIASED}
    kernels: dict[int, set[int]] = defaultdict(set)
    for item in compiled:
        operator = found.get(item.at)
        if operator in biased and item.name == PRODUCT:
            kernels[operator].add(kernel_of[item.at])
    return kernels


def short_name(label: str) -> str:
    """`aten.add_.Tensor` → `add`; one name for what compilers rename."""
    name = label.partition(".")[2].partition(".")[0] or label
    if name.endswith("_") and not name.endswith("__"):
        name = name[:-1]
    return _SAME.get(name, name)


def _named(tensors: TensorTable, *accesses: Accesses) -> list[frozenset[str]]:
    """Names of the storages that each row touches and that are there from the start."""
    outside = ~np.isin(tensors.storage_role, [int(role) for role in PRODUCED])
    found: list[set[str]] = [set() for _ in range(len(accesses[0].ptr) - 1)]
    for access in accesses:
        storages = tensors.tensor_storage[access.tensor]
        for row, storage in zip(rows_of(access).tolist(), storages.tolist(), strict=True):
            if outside[storage] and tensors.storage_names[storage]:
                found[row].add(tensors.storage_names[storage])
    return [frozenset(names) for names in found]


def _items(table: OperatorTable, rows: Iterable[int], named: list[frozenset[str]]) -> list[_Item]:
    phase, name, module, kind = (column.tolist() for column in (table.phase, table.name, table.module, table.kind))
    sizes, ptr = table.dims.tolist(), table.dims_ptr.tolist()
    flops = list(zip(table.matrix_flops.tolist(), table.vector_flops.tolist(), table.special_ops.tolist(), strict=True))
    short = [short_name(text) for text in table.strings]
    return [
        _Item(
            at=row,
            phase=phase[row],
            module=table.strings[module[row]],
            name=short[name[row]],
            work=flops[row] if flops[row][0] else (*flops[row], *sizes[ptr[row] : ptr[row + 1]]),
            reduces=kind[row] == Kind.REDUCTION,
            named=named[row],
        )
        for row in rows
    ]


def _zip_equal(
    eager: list[_Item],
    compiled: list[_Item],
    found: _Found,
    key: Callable[[_Item], Hashable],
    sure: Callable[[list[_Item]], bool],
) -> tuple[list[_Item], list[_Item]]:
    """Match what has the same key, in order, where there are equally many and `sure` agrees; returns what is left."""
    sides: list[dict[Hashable, list[_Item]]] = []
    for items in (eager, compiled):
        groups: dict[Hashable, list[_Item]] = defaultdict(list)
        for item in items:
            groups[key(item)].append(item)
        sides.append(groups)
    used: tuple[set[int], set[int]] = (set(), set())
    for name, group in sides[0].items():
        others = sides[1].get(name, [])
        if len(group) != len(others) or not sure(others):
            continue
        pairs = _assigned(group, others, found)
        if 1 < len(pairs) <= MOST_SWAPPED and len({item.module for item in (*group, *others)}) == 1 and group[0].module:
            found.groups.append(pairs)
        for item, other in pairs:
            used[0].add(item.at)
            used[1].add(other.at)
    return [item for item in eager if item.at not in used[0]], [item for item in compiled if item.at not in used[1]]


def _assigned(group: list[_Item], others: list[_Item], found: _Found) -> list[tuple[_Item, _Item]]:
    """Pairs in order; where there is a choice, an operator goes to the kernel that runs most of its neighbours.

    Where an operator touches weights or caches, its kernel must touch them too.
    """
    rest, pairs = list(others), []
    for item in group:
        fitting = [other for other in rest if item.named <= other.named] or rest
        best = max(fitting, key=lambda other: found.near(item.at, other.at)) if len(fitting) > 1 else fitting[0]
        found.add(best.at, item.at)
        pairs.append((item, best))
        rest.remove(best)
    return pairs


def _settle(found: _Found) -> None:
    """Let operators of a module change places while more of them then run beside their neighbours.

    The first ones were given their rows before it was known where their neighbours are.
    """
    for _ in range(PASSES):
        swapped = False
        for pairs in found.groups:
            for one, other in combinations(range(len(pairs)), 2):
                swapped |= _swapped(pairs, one, other, found)
        if not swapped:
            return


def _swapped(pairs: list[tuple[_Item, _Item]], one: int, other: int, found: _Found) -> bool:
    """Whether two operators run beside more neighbours in each other's kernels; if so, they are given those."""
    (first, mine), (second, theirs) = pairs[one], pairs[other]
    if found.kernel_of[mine.at] == found.kernel_of[theirs.at]:
        return False
    if not (first.named <= theirs.named and second.named <= mine.named):
        return False
    now = found.near(first.at, mine.at) + found.near(second.at, theirs.at)
    if found.near(first.at, theirs.at) + found.near(second.at, mine.at) <= now:
        return False
    for item, row in ((first, theirs), (second, mine)):
        found.operator[row.at] = item.at
        found.kernels[item.at] = {found.kernel_of[row.at]}
    pairs[one], pairs[other] = (first, theirs), (second, mine)
    return True


def _second_halves(schedule: KernelGraph, kernel_of: list[int]) -> dict[int, set[int]]:
    """Kernels that only add up what another one summed in parts, with the kernels of those parts.

    They name all that the parts were made of as if it ran again: a reduction never does.
    """
    table = schedule.operators
    sums: tuple[dict[int, set[tuple[int, int]]], ...] = ({}, {})
    for row in np.flatnonzero(table.kind == Kind.REDUCTION).tolist():
        which = sums[int(schedule.recomputed[row])]
        which.setdefault(kernel_of[row], set()).add((int(table.module[row]), int(table.name[row])))
    writer = dict(zip(_storages(schedule, schedule.writes), rows_of(schedule.writes).tolist(), strict=True))
    sources: dict[int, set[int]] = {kernel: set() for kernel in sums[1]}
    for kernel, storage in zip(rows_of(schedule.reads).tolist(), _storages(schedule, schedule.reads), strict=True):
        if kernel in sources:
            sources[kernel].add(writer.get(storage, -1))
    return {
        kernel: parts
        for kernel, parts in sources.items()
        if parts and all(sums[1][kernel] & sums[0].get(part, set()) for part in parts)
    }


def _storages(schedule: KernelGraph, access: Accesses) -> list[int]:
    found: list[int] = schedule.tensors.tensor_storage[access.tensor].tolist()
    return found


def _halved(
    compiled: list[_Item], halves: dict[int, set[int]], kernel_of: list[int], again: list[int], found: dict[int, int]
) -> None:
    """Match what a second half adds up to the operator of its first half."""
    firsts: dict[tuple[int, str, str], list[int]] = defaultdict(list)
    for item in compiled:
        if not again[item.at] and item.at in found:
            firsts[kernel_of[item.at], item.module, item.name].append(found[item.at])
    for item in compiled:
        for kernel in sorted(halves.get(kernel_of[item.at], ())) if again[item.at] and item.at not in found else ():
            same = firsts[kernel, item.module, item.name]
            if len(same) == 1 and item.reduces:
                found[item.at] = same[0]


def _place(item: _Item) -> Hashable:
    return item.phase, item.module, item.name, item.work


def _work(item: _Item) -> Hashable:
    return item.phase, item.name, item.work


def _placed(rows: list[_Item], found: dict[int, int], kernel_of: list[int]) -> dict[int, tuple[int, int]]:
    """Where each row stands among the eager operators: by the last known operator of its kernel, then as it comes.

    Kernels without a known operator stand where the known kernel before them does.
    """
    known: dict[int, int] = {}
    for row, operator in found.items():
        known[kernel_of[row]] = max(known.get(kernel_of[row], operator), operator)
    placed, last = {}, 0
    for item in rows:
        last = known.get(kernel_of[item.at], last)
        placed[item.at] = (last, item.at)
    return placed


def _neighbours(trace: Trace) -> dict[int, set[int]]:
    """For each operator, those that it reads from or writes for."""
    links = dependences(trace.graph)
    found: dict[int, set[int]] = defaultdict(set)
    for first, second in zip(links.source.tolist(), links.target.tolist(), strict=True):
        if first != second:
            found[first].add(second)
            found[second].add(first)
    return found


def _rooted(item: _Item, known: set[str]) -> _Item:
    """`item` with the root module as eager mode calls it: the compiler sees the model inside its loss."""
    return dataclasses.replace(item, module="") if item.module == "model" and "model" not in known else item


def _decomposed(eager: list[_Item], compiled: list[_Item], found: dict[int, int]) -> None:
    """Match what is left of a module to the operator that is left in it; of several, by what marks each."""
    sides: list[dict[tuple[int, str], list[_Item]]] = []
    for items in (eager, compiled):
        groups: dict[tuple[int, str], list[_Item]] = defaultdict(list)
        for item in items:
            groups[item.phase, item.module].append(item)
        sides.append(groups)
    for place, operators in sides[0].items():
        rows = sides[1].get(place, [])
        if len(operators) == 1:
            found.update({row.at: operators[0].at for row in rows})
            continue
        names: dict[str, list[_Item]] = defaultdict(list)
        for operator in operators:
            names[operator.name].append(operator)
        for name, same in names.items():
            for mark in _MARKS.get(name, ()):
                marked = [row for row in rows if row.name == mark and row.at not in found]
                if len(marked) == len(same):
                    found.update({row.at: operator.at for row, operator in zip(marked, same, strict=True)})
                    break
            if len(same) == 1 and name in _LAST and _LAST[name] not in names:
                last = [row for row in rows if row.name == _LAST[name] and row.at not in found]
                found.update({row.at: same[0].at for row in last})


def _together(
    eager: list[_Item], compiled: list[_Item], kernel_of: list[int], found: dict[int, int]
) -> dict[int, set[int]]:
    """Kernels of operators that were not told apart, where all rows that may be theirs are in one kernel."""
    known = set(found.values())
    kernels: dict[int, set[int]] = defaultdict(set)
    for key in (_place, _part_of_model):
        where: dict[Hashable, set[int]] = defaultdict(set)
        for item in compiled:
            if item.at not in found:
                where[key(item)].add(kernel_of[item.at])
        for item in eager:
            if item.at not in known and item.at not in kernels and len(where[key(item)]) == 1:
                kernels[item.at] = set(where[key(item)])
    return kernels


def _part_of_model(item: _Item) -> Hashable:
    return item.phase, item.module


def _repeated(
    eager: list[_Item], compiled: list[_Item], again: list[int], kernel_of: list[int], found: dict[int, int]
) -> None:
    """Match recomputed rows to operators of the same name, module and work: the last one before what follows it.

    A kernel that touches none of an operator's weights does not run it: it reads what became of it, and names all that
    this was made of.
    """
    same: dict[Hashable, list[int]] = defaultdict(list)
    twins = {item.at: (item.module, item.name, item.work) for item in compiled}
    for row, operator in sorted(found.items(), key=lambda pair: pair[1]):
        if row in twins and operator not in same[twins[row]]:
            same[twins[row]].append(operator)
    weights = {item.at: item.named for item in eager}
    limit, kernel, used = len(kernel_of) * 10**6, -1, set[int]()
    for item in reversed(compiled):
        if kernel_of[item.at] != kernel:
            kernel, limit, used = kernel_of[item.at], len(kernel_of) * 10**6, set()
        if again[item.at]:
            candidates = [operator for operator in same[twins[item.at]] if operator < limit and operator not in used]
            candidates = [one for one in candidates if not weights[one] or weights[one] & item.named]
            if not candidates:
                continue
            found[item.at] = candidates[-1]
        if item.at in found:
            used.add(found[item.at])
            limit = min(limit, found[item.at])
