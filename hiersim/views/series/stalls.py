"""Where the time goes, as stacks: of a run, of its modules, of its kernels. Each stack is a part of the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from hiersim.lowering.working_sets import family
from hiersim.model.operators import IntArray
from hiersim.model.timeline import ENGINES, WORK, Entry, column_meaning
from hiersim.modules import layer_of
from hiersim.results import MAIN_ENGINE, Result
from hiersim.views.tables import headings

WORK_NAMES: Final = tuple(entry.name.lower() for entry in WORK)
ENTRY_NAMES: Final = tuple(entry.name.lower() for entry in Entry)
Cause = tuple[str, str | None]
"""Entry of the ledger, and the tier to blame."""
By = Literal["run", "module", "layer", "kernel"]
"""What a bar is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """One bar: ticks by cause, work first, waiting from the nearest cause to the farthest."""

    label: str
    parts: tuple[tuple[Cause, int], ...]

    @property
    def ticks(self) -> int:
        """Its length."""
        return sum(ticks for _, ticks in self.parts)


def cause_ticks(ledger: Iterable[Mapping[str, Any]]) -> dict[Cause, int]:
    """Ticks by cause on the main engine, phases added up, of a ledger in its JSON form."""
    totals: dict[Cause, int] = {}
    for row in ledger:
        if row["engine"] == MAIN_ENGINE:
            key = (row["entry"], row["tier"])
            totals[key] = totals.get(key, 0) + row["ticks"]
    return totals


def ordered(causes: Iterable[Cause], tiers: Sequence[str] = ()) -> list[Cause]:
    """Causes in the order of bars and legends: by entry, then from the nearest tier to the farthest."""
    place = {name: index for index, name in enumerate(tiers)}
    far = len(place)
    return sorted(causes, key=lambda cause: (_rank(cause[0]), place.get(cause[1] or "", far), cause[1] or ""))


def _rank(entry: str) -> int:
    return ENTRY_NAMES.index(entry) if entry in ENTRY_NAMES else len(ENTRY_NAMES)


def ledger_stack(label: str, facts: Mapping[str, Any]) -> Stack:
    """The whole run, from its JSON form."""
    totals = cause_ticks(facts["ledger"])
    order = ordered(totals, tuple(facts["traffic_bytes"]))
    return Stack(label=label, parts=tuple((cause, totals[cause]) for cause in order))


def stacks_by(results: Sequence[Result], by: By, most: int) -> list[Stack]:
    """The bars of runs, of their parts of layers, of every layer or of every kernel; of a run at most `most`."""
    if by == "run":
        labels = [heading.replace("\n", ", ") for heading in headings(results)]
        return [ledger_stack(label, result.to_dict()) for label, result in zip(labels, results, strict=True)]
    if by == "kernel":
        return [stack for result in results for stack in kernel_stacks(result, most)]
    return [stack for result in results for stack in module_stacks(result, int(by == "module"), by == "module", most)]


def module_stacks(result: Result, below: int = 0, merge: bool = False, most: int | None = None) -> tuple[Stack, ...]:
    """A stack per layer in the order in which they first run; see `hiersim.modules.layer_of`."""
    graph, owner = result.graph, result.program.graph_kernel
    table, pointer = graph.operators, graph.operator_ptr
    labels: dict[str, int] = {}
    of_kernel = np.zeros(len(result.program), np.int64)
    known: dict[int, int] = {}
    for kernel in range(len(result.program)):
        row = kernel if owner is None else int(owner[kernel])
        module = int(table.module[pointer[row]]) if row >= 0 and pointer[row] < pointer[row + 1] else -1
        if module not in known:
            name = layer_of(table.strings[module], below, merge) if module >= 0 else "copies"
            known[module] = labels.setdefault(name or "(root)", len(labels))
        of_kernel[kernel] = known[module]
    return _stacks(result, list(labels), of_kernel, most)


def kernel_stacks(result: Result, most: int | None = None) -> tuple[Stack, ...]:
    """A stack per kernel in launch order."""
    names = list(result.program.kernel_names)
    return _stacks(result, names, np.arange(len(names)), most)


def family_stacks(result: Result, most: int | None = None) -> tuple[tuple[Stack, ...], dict[str, int]]:
    """A stack per name of kernels, without the number that a compiler gives each; and how many have it."""
    labels: dict[str, int] = {}
    of_kernel = np.array(
        [labels.setdefault(family(name), len(labels)) for name in result.program.kernel_names], np.int64
    )
    counts = np.bincount(of_kernel, minlength=len(labels)).tolist()
    return _stacks(result, list(labels), of_kernel, most), dict(zip(labels, counts, strict=True))


def _stacks(result: Result, labels: list[str], of_kernel: IntArray, most: int | None) -> tuple[Stack, ...]:
    """The ledger of the cores, summed by label; of more than `most` stacks the longest, in their own order."""
    timeline, tiers = result.timeline, result.program.tiers
    ledger = timeline.ledger_rows[:, ENGINES.index(MAIN_ENGINE)]
    pairs, counts = np.unique(np.stack((of_kernel, timeline.ledger_row)), axis=1, return_counts=True)
    totals = np.zeros((len(labels), ledger.shape[1]), np.int64)
    np.add.at(totals, pairs[0], ledger[pairs[1]] * counts[:, None])
    kept = list(range(len(labels)))
    if most is not None and len(kept) > most:
        kept = sorted(sorted(kept, key=lambda label: (-int(totals[label].sum()), label))[:most])
    return tuple(Stack(label=labels[label], parts=_parts(totals[label], tiers)) for label in kept)


def _parts(ticks: IntArray, tiers: tuple[str, ...]) -> tuple[tuple[Cause, int], ...]:
    """A row of the ledger by cause, phases added up."""
    found: dict[Cause, int] = {}
    for column in np.flatnonzero(ticks).tolist():
        entry, tier, _ = column_meaning(column, len(tiers))
        cause = (entry.name.lower(), tiers[tier] if tier >= 0 else None)
        found[cause] = found.get(cause, 0) + int(ticks[column])
    return tuple((cause, found[cause]) for cause in ordered(found, tiers))
