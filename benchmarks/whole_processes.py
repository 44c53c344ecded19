"""Whole processes: start-up, the command line, and the peak memory of a million operators."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence

from benchmarks.measure import Figure, Line, Skipped, whole_process
from benchmarks.road import engine_name

HIERSIM = (sys.executable, "-m", "hiersim")
LLAMA = ("run", "llama3-70b-prefill", "--design", "h100-sxm")


def cold_start(repeats: int) -> Iterator[Line]:
    """Commands as a user types them, beside bare Python and NumPy."""
    commands: dict[str, tuple[Sequence[str], int]] = {
        "python -c pass": ((sys.executable, "-c", "pass"), 2 * repeats),
        "python -c 'import numpy'": ((sys.executable, "-c", "import numpy"), repeats),
        "hiersim --version": ((*HIERSIM, "--version"), 2 * repeats),
        "hiersim run gpt2-large-prefill --design h100-sxm": (
            (*HIERSIM, "run", "gpt2-large-prefill", "--design", "h100-sxm"), repeats,
        ),
    }  # fmt: skip
    for name, (command, times) in commands.items():
        yield _process(name, command, times)
    name = " ".join(("hiersim", *LLAMA))
    if engine_name() == "reference":
        yield Skipped(group="cold start", name=name, why="1.9 million stages are minutes of the reference engine")
    else:
        yield _process(name, (*HIERSIM, *LLAMA), repeats)


def _process(name: str, command: Sequence[str], repeats: int) -> Line:
    try:
        run = whole_process(command, repeats)
    except RuntimeError as error:
        return Skipped(group="cold start", name=name, why=str(error))
    return Figure(group="cold start", name=name, unit="runs", work=1, sample=run.sample)


def large_trace(operators: int, timeout: float = 300.0) -> Line:
    """A synthetic trace of that many operators in a process of its own: build, simulate, peak memory."""
    name = f"{operators} synthetic operators, whole process"
    try:
        run = whole_process((sys.executable, "-m", "benchmarks.large", str(operators)), 1, timeout)
    except RuntimeError as error:
        return Skipped(group="memory", name=name, why=f"{error}, {engine_name()} engine")
    seen = json.loads(run.output)
    return Figure(
        group="memory", name=name, unit="operators", work=operators, sample=run.sample, counts=seen.pop("counts"),
        facts=seen,
    )  # fmt: skip
