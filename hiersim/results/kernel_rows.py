"""Kernels of a run as rows of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hiersim.model.timeline import ENGINES, Entry, column_meaning
from hiersim.results.ledger import MAIN_ENGINE

if TYPE_CHECKING:
    from hiersim.results.result import Result


def kernel_rows(result: Result) -> list[dict[str, Any]]:
    """Per kernel: where it ran in time, and its part of the main engine's ledger by entry (ticks)."""
    graph, timeline = result.graph, result.timeline
    ledger = timeline.ledger_rows[:, ENGINES.index(MAIN_ENGINE)]
    distinct = np.zeros((len(ledger), len(Entry)), np.int64)
    for column in range(ledger.shape[1]):
        distinct[:, column_meaning(column, len(result.program.tiers))[0]] += ledger[:, column]
    entries = distinct[timeline.ledger_row]
    owner = result.program.graph_kernel
    rows = []
    for kernel, name in enumerate(result.program.kernel_names):
        row = kernel if owner is None else int(owner[kernel])
        first, end = (int(graph.operator_ptr[row]), int(graph.operator_ptr[row + 1])) if row >= 0 else (0, 0)
        rows.append(
            {
                "kernel": kernel,
                "name": name,
                "module": graph.operators.strings[int(graph.operators.module[first])] if first < end else "",
                "operators": end - first,
                "start_ticks": int(timeline.start[kernel]),
                "end_ticks": int(timeline.end[kernel]),
                **{entry.name.lower() + "_ticks": int(entries[kernel, entry]) for entry in Entry},
            }
        )
    return rows
