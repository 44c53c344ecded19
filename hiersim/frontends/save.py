"""Write a trace in the form that its file name asks for, whole or not at all."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

from hiersim.errors import TraceError
from hiersim.frontends.archive import FORMAT, VERSION, header_json, save_trace, write_whole
from hiersim.frontends.kernel_rows import kernel_rows
from hiersim.frontends.region_rows import region_rows
from hiersim.frontends.row_writer import rows_of
from hiersim.model.trace import Trace


def write_trace(trace: Trace, path: str | os.PathLike[str]) -> None:
    """Write `.npz` (compact), or `.jsonl` or `.jsonl.gz` (readable; the eager operators and groupings).

    Raises
    ------
    TraceError
        Another ending; or a schedule, which the readable form cannot hold.
    """
    name = Path(path).name
    if name.endswith(".npz"):
        save_trace(trace, path)
    elif name.endswith((".jsonl", ".jsonl.gz")):
        _write_rows(trace, Path(path))
    else:
        ending = "a name that ends in .npz, .jsonl or .jsonl.gz"
        raise TraceError("has an unknown form", file=str(path), expected=ending)


def _write_rows(trace: Trace, path: Path) -> None:
    if trace.schedules:
        named = ", ".join(sorted(trace.schedules))
        raise TraceError(
            f"the readable form holds no schedules, and trace '{trace.name}' carries {named}", file=str(path),
            expected="a name that ends in .npz",
        )  # fmt: skip
    header = {key: value for key, value in header_json(trace.header).items() if value}
    rows = [{"format": FORMAT, "version": VERSION, **header}]
    number = 0
    for row in rows_of(trace.graph, unseen=True):
        if "operator" in row and (trace.groupings or trace.graph.regions is not None):
            row = {"number": number, **row}
        number += "operator" in row
        rows.append(row)
    if trace.graph.regions is not None:
        rows += region_rows(trace.graph.regions)
    for name, partition in sorted(trace.groupings.items()):
        rows += kernel_rows(name, partition)
    text = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode()
    write_whole(path, gzip.compress(text, mtime=0) if path.name.endswith(".gz") else text)
