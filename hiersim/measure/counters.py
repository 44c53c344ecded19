"""Hardware counters of memory traffic, read by NVIDIA's Nsight Compute (`ncu`) around one call of each case.

`ncu` runs a process of its own, `python -m hiersim.measure.counted`, and replays each kernel as often as its counters
need. *Cold*: it empties all caches before every kernel. *Warm*: it leaves them as the call before left them, apart from
what restoring memory between replays does.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hiersim.errors import MeasurementError, one_line
from hiersim.frontends.measured import Counted, End
from hiersim.measure import environment
from hiersim.measure.clock import SPIN
from hiersim.measure.kernels import Request, Tell, chosen
from hiersim.measure.recipe import Recipe
from hiersim.measure.writer import Writer

METRICS: Final = {
    "dram_read_bytes": "dram__bytes_read.sum", "dram_written_bytes": "dram__bytes_write.sum",
    "l2_bytes": "lts__t_bytes.sum", "duration_s": "gpu__time_duration.sum",
}  # fmt: skip
_CACHES: Final = {"cold": "all", "warm": "none"}
_UNITS: Final = {
    "byte": 1.0, "kbyte": 1e3, "mbyte": 1e6, "gbyte": 1e9, "tbyte": 1e12, "b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9,
    "nsecond": 1e-9, "usecond": 1e-6, "msecond": 1e-3, "second": 1.0, "ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0,
}  # fmt: skip
NOTES: Final = (
    "counters of one call, by Nsight Compute with its clock control off",
    "cold: all caches emptied before every kernel; warm: as the call before left them",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """One kernel in a report of `ncu`: its counters in base units, by metric."""

    name: str
    values: Mapping[str, float]


def count_kernels(request: Request, output: str, tell: Tell) -> End:
    """Count the traffic of the request's cases, cold and warm, and write `output`.

    Raises
    ------
    MeasurementError
        No GPU, no `ncu`, or `ncu` may not read counters here.
    """
    program = find_ncu()
    if request.device.type != "cuda":
        raise MeasurementError("there is nothing to count on a CPU", key="--counters ncu", expected="--device cuda")
    cases = {case.case: case for case in chosen(request) if isinstance(case, Recipe)}
    header = environment.header(request.device, environment.command_line(), {"metrics": METRICS}, NOTES)
    start, done = time.monotonic(), set[str]()
    with Writer(output, header) as writer:
        for cache in _CACHES:
            limit = request.limit_s / len(_CACHES)
            for row in _count(program, list(cases), cache, limit):
                if row.case not in done:
                    writer.write(cases[row.case].describe())
                    done.add(row.case)
                writer.write(row)
                read, written = (row.dram_read_bytes or 0) / 1e6, (row.dram_written_bytes or 0) / 1e6
                tell(f"{row.case} {row.mode} {cache}: DRAM read {read:.4g} MB, written {written:.4g} MB")
        end = End(cases=len(done), left=len(cases) - len(done), seconds=time.monotonic() - start)
        writer.write(end)
    return end


def find_ncu() -> str:
    """Path of `ncu`: on PATH, or where NVIDIA's installers put it."""
    found = shutil.which("ncu")
    places = [Path("/usr/local/cuda/bin/ncu"), *sorted(Path("/opt/nvidia/nsight-compute").glob("*/ncu"))]
    found = found or next((str(place) for place in places if place.exists()), None)
    if found is None:
        raise MeasurementError("ncu is not here", key="--counters ncu", expected="NVIDIA Nsight Compute on PATH")
    return found


def _count(program: str, cases: Sequence[str], cache: str, limit_s: float) -> list[Counted]:
    with tempfile.TemporaryDirectory(prefix="hiersim-") as folder:
        asked, done, log = (Path(folder) / name for name in ("asked.json", "done.jsonl", "report.csv"))
        asked.write_text(json.dumps(cases))
        command = [
            program, "--csv", "--page", "raw", "--print-units", "base", "--profile-from-start", "off",
            "--target-processes", "application-only",
            "--clock-control", "none", "--cache-control", _CACHES[cache], "--metrics", ",".join(METRICS.values()),
            "--log-file", str(log),
            sys.executable, "-m", "hiersim.measure.counted", str(asked), str(done), str(limit_s),
        ]  # fmt: skip
        path = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])
        run = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
        )  # fmt: skip
        report = log.read_text() if log.exists() else ""
        calls = [json.loads(line) for line in done.read_text().splitlines()] if done.exists() else []
        if not calls or '"ID"' not in report:
            said = [line for line in (report + run.stdout + run.stderr).splitlines() if "==" in line or "rror" in line]
            raise MeasurementError(f"ncu counted nothing: {one_line((said or ['no message'])[-1])}")
        return counted(read_report(report), calls, cache)


def read_report(text: str) -> list[Kernel]:
    """Kernels of a raw report (`ncu --csv --page raw`), in launch order; lines before its table are skipped.

    Raises
    ------
    MeasurementError
        The report has no table, or a unit that is not known.
    """
    lines = text.splitlines()
    first = next((at for at, line in enumerate(lines) if line.startswith('"ID"')), None)
    if first is None:
        raise MeasurementError("the report of ncu has no table", expected='a line that begins with "ID"')
    table = [row for row in csv.reader(io.StringIO("\n".join(lines[first:]))) if row]
    names, units, rows = table[0], table[1], table[2:]
    at = {name: names.index(name) for name in ("Kernel Name", *METRICS.values()) if name in names}
    found = []
    for row in rows:
        values = {metric: _base(row[at[metric]], units[at[metric]]) for metric in METRICS.values() if metric in at}
        found.append(Kernel(name=row[at["Kernel Name"]], values=values))
    return found


def _base(text: str, unit: str) -> float:
    if unit.lower() not in _UNITS:
        raise MeasurementError(f"ncu reports in '{unit}'", expected="bytes or seconds")
    return float(text.replace(",", "")) * _UNITS[unit.lower()]


def counted(kernels: Sequence[Kernel], calls: Sequence[Mapping[str, Any]], cache: str) -> list[Counted]:
    """Counters per call: a spinning kernel stands before the kernels of each.

    Raises
    ------
    MeasurementError
        The report holds fewer or more calls than were made.
    """
    parts: list[list[Kernel]] = []
    for kernel in kernels:
        if SPIN in kernel.name:
            parts.append([])
        elif parts:
            parts[-1].append(kernel)
    if len(parts) != len(calls):
        raise MeasurementError(f"ncu reports {len(parts)} of {len(calls)} calls", expected="every call once")
    rows = []
    for call, part in zip(calls, parts, strict=True):
        sums = {key: sum(kernel.values.get(metric, 0.0) for kernel in part) for key, metric in METRICS.items()}
        rows.append(
            Counted(
                case=call["case"], mode=call["mode"], cache=cache, kernels=tuple(kernel.name for kernel in part),
                dram_read_bytes=round(sums["dram_read_bytes"]), dram_written_bytes=round(sums["dram_written_bytes"]),
                l2_bytes=round(sums["l2_bytes"]), duration_s=sums["duration_s"],
            )
        )  # fmt: skip
    return rows
