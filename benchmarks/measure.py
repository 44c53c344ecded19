"""Timing: repeated, interleaved, in processor time; and the facts about the machine that a figure needs beside it."""

from __future__ import annotations

import os
import platform
import resource
import statistics
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

SHORTEST = 0.02
"""Seconds: shorter tasks are repeated within one measurement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Seconds of one task, measured several times."""

    cpu: tuple[float, ...]
    wall: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median processor seconds: what rates are made of."""
        return statistics.median(self.cpu)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured line."""

    group: str
    name: str
    unit: str
    """What is counted in `work`: `stages`, `operators`, `designs`, `runs`."""
    work: int
    sample: Sample
    counts: Mapping[str, int] = field(default_factory=dict)
    """Counted work of one run: the same on every machine."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What else was seen: peak memory, makespan."""
    note: str = ""
    date: str = field(default_factory=lambda: now())

    @property
    def rate(self) -> float:
        """Units of work a processor second, from the median."""
        return self.work / self.sample.median if self.sample.median else float("inf")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the results file."""
        return {
            "group": self.group,
            "name": self.name,
            "unit": self.unit,
            "work": self.work,
            "rate_per_cpu_s": self.rate,
            "cpu_s": _spread(self.sample.cpu),
            "wall_s": _spread(self.sample.wall),
            "counts": dict(self.counts),
            "facts": dict(self.facts),
            "note": self.note,
            "date": self.date,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A line that was not measured, and why."""

    group: str
    name: str
    why: str


Line = Figure | Skipped


def _spread(seconds: Sequence[float]) -> dict[str, float | int]:
    return {
        "min": min(seconds), "median": statistics.median(seconds), "max": max(seconds), "repeats": len(seconds)
    }  # fmt: skip


def now() -> str:
    """Date and time of the measurement, in UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def side_by_side(tasks: Mapping[str, Callable[[], object]], repeats: int = 5) -> dict[str, Sample]:
    """Seconds of each task, measured in turn (a, b, a, b, …), so that what slows the machine down slows all.

    Each task is called once before, to warm up and to see how often it has to run to be measurable.
    """
    numbers = {name: _number(task) for name, task in tasks.items()}
    cpu: dict[str, list[float]] = {name: [] for name in tasks}
    wall: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(repeats):
        for name, task in tasks.items():
            spent = _timed(task, numbers[name])
            cpu[name].append(spent[0])
            wall[name].append(spent[1])
    return {name: Sample(cpu=tuple(cpu[name]), wall=tuple(wall[name])) for name in tasks}


def _number(task: Callable[[], object]) -> int:
    began = time.perf_counter()
    task()
    spent = time.perf_counter() - began
    return 1 if spent >= SHORTEST else max(1, min(10_000, int(SHORTEST / max(spent, 1e-7))))


def _timed(task: Callable[[], object], number: int) -> tuple[float, float]:
    """Processor and wall seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(number):
        task()
    return (time.process_time() - cpu) / number, (time.perf_counter() - wall) / number


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRun:
    """A whole process, run several times."""

    sample: Sample
    output: str


def whole_process(command: Sequence[str], repeats: int, timeout: float = 300.0) -> ProcessRun:
    """Start-up, work and exit of `command`; the first, uncounted run fills the file cache and writes the bytecode
    that an installation has.

    Raises
    ------
    RuntimeError
        When the command fails or takes longer than `timeout` seconds.
    """
    cpu, wall, output = [], [], ""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for turn in range(repeats + 1):
        began = time.perf_counter()
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
        )
        output, usage = _finish(process, timeout)
        if turn:
            wall.append(time.perf_counter() - began)
            cpu.append(usage.ru_utime + usage.ru_stime)
    return ProcessRun(sample=Sample(cpu=tuple(cpu), wall=tuple(wall)), output=output)


def _finish(process: subprocess.Popen[str], timeout: float) -> tuple[str, Any]:
    """Output and resource usage of a process, killed when it takes too long."""
    timer = threading.Timer(timeout, process.kill)
    timer.start()
    try:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        process.stdout.close()
    finally:
        timer.cancel()
    if process.returncode:
        raise RuntimeError(f"exit code {process.returncode} (killed after {timeout:.0f} s if -9)")
    return output, usage


def peak_mb() -> float:
    """Most memory that this process ever had, in MB.

    Not `ru_maxrss` on Linux: a process inherits that from the one that started it.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6
    except (OSError, StopIteration):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most * (1 if sys.platform == "darwin" else 1024) / 1e6


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """The p of seconds ~ size^p, by least squares in log-log; NaN for fewer than two points."""
    if len(sizes) < 2:
        return float("nan")
    return float(np.polyfit(np.log(sizes), np.log(np.maximum(seconds, 1e-9)), 1)[0])


def machine() -> dict[str, Any]:
    """What a reader needs to judge a figure."""
    return {
        "date": now(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in ("hiersim", "numpy", "simpy", "cython")},
        "commit": _commit(),
        "interpreted": interpreted(),
    }


def interpreted() -> list[str]:
    """Modules that are meant to be compiled and are not: with them, times are those of Python."""
    project = Path(__file__).parents[1] / "pyproject.toml"
    names = tomllib.loads(project.read_text())["tool"]["hatch"]["build"]["hooks"]["custom"]["modules"]
    return [name for name in names if str(getattr(find_spec(name), "origin", "")).endswith(".py")]


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = {line.split(":")[0].strip(): line.split(":", 1)[1].strip() for line in lines if ":" in line}
    return names.get("model name", platform.processor() or "unknown")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
