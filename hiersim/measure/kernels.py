"""Measures suites of single operators within a budget of time, most valuable first, and writes each result at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch

from hiersim.errors import MeasurementError, one_line
from hiersim.frontends.measured import Case, End, MeasuredTime, Skipped
from hiersim.measure import environment
from hiersim.measure.clock import CPU_FLUSH_BYTES, FLUSH_BYTES, Clock, clock_of
from hiersim.measure.recipe import Make, Recipe
from hiersim.measure.suites import cases_of
from hiersim.measure.suites.host import Probe
from hiersim.measure.writer import Writer

CPU_FLOPS: Final = 10**9
"""A processor is not asked for larger products: one call would take seconds."""
LARGEST: Final = {"cuda": 8 * 2**30, "cpu": 64 * 2**20}
"""Bytes of operands and results of a case, unless asked for otherwise."""
NOTES: Final = (
    "operands are standard normal; one stream; the device's clocks are as found",
    "events, warm: mean over a batch of calls on the same buffers, queued behind a spinning kernel; contains the gap "
    "between kernels",
    "events, cold: one call after a buffer larger than the last-level cache was read; contains one gap",
    "profiler: durations of the kernels of one call, added up; contains no gap",
    "results are allocated by each call: a caching allocator gives the same memory again",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to measure, and how long."""

    suites: tuple[str, ...]
    device: torch.device
    limit_s: float
    """No case starts later than this after the first."""
    spend_s: float = 0.02
    """Seconds for the samples of one clock of one case."""
    largest: int | None = None
    """Bytes of a case's operands and results together; None: by the device."""
    match: str = ""
    """Only cases whose name contains this."""


Tell = Callable[[str], None]


def measure_kernels(request: Request, output: str, tell: Tell) -> End:
    """Measure the suites and write `output`; returns its last row.

    Raises
    ------
    MeasurementError
        No such suite, nothing to measure, the file cannot be written, or the device fails.
    """
    cases = chosen(request)
    clock = clock_of(request.device, request.spend_s)
    settings = {
        "suites": list(request.suites), "limit_s": request.limit_s, "spend_s": request.spend_s, "seed": 0,
        "flush_bytes": FLUSH_BYTES if clock.kind == "cuda" else CPU_FLUSH_BYTES,
    }  # fmt: skip
    header = environment.header(request.device, environment.command_line(), settings, NOTES)
    with Writer(output, header) as writer:
        start = time.monotonic()
        clock.settle()
        done = started = 0
        for case in cases:
            if time.monotonic() - start > request.limit_s:
                break
            started += 1
            place = f"[{started}/{len(cases)}] {time.monotonic() - start:.0f} s "
            done += _measure(case, clock, writer, partial(_tell, tell, place))
        end = End(
            cases=done, left=len(cases) - started, seconds=time.monotonic() - start,
            device=environment.clocks(request.device),
        )  # fmt: skip
        writer.write(end)
    return end


def _tell(tell: Tell, place: str, text: str) -> None:
    tell(place + text)


def chosen(request: Request) -> list[Recipe | Probe]:
    """The cases that suit the device."""
    kind = request.device.type
    largest = request.largest or LARGEST[kind]
    cases = [
        case
        for case in cases_of(request.suites)
        if case.footprint <= largest and not (case.cuda_only and kind != "cuda") and request.match in case.case
    ]
    if not cases:
        raise MeasurementError(
            f"no case of these suites suits {kind}", key="--suite", expected="another suite, a larger --largest"
        )
    return cases


def _measure(case: Recipe | Probe, clock: Clock, writer: Writer, tell: Tell) -> bool:
    """Measure one case; what cannot be measured leaves a row that says why."""
    row, why = _described(case)
    if clock.kind == "cpu" and row.flops.get("matrix", 0) > CPU_FLOPS:
        return False
    writer.write(row)
    if why:
        writer.write(Skipped(case=case.case, why=why))
    for mode in case.modes if isinstance(case, Recipe) else ("",):
        shown: list[str] = []
        try:
            for measured in _times(case, mode, clock):
                writer.write(measured)
                shown.append(f"{measured.clock} {measured.cache} {measured.median_s * 1e6:.4g} us")
        except Exception as error:  # whatever a kernel or a compiler raises, the cases after it are measured
            writer.write(Skipped(case=case.case, why=one_line(f"{mode} {type(error).__name__}: {error}".strip())))
            shown.append(f"skipped: {type(error).__name__}: {one_line(str(error))[:80]}")
            if "CUDA error" in str(error):
                raise MeasurementError(
                    f"the device failed in {case.case}: {one_line(str(error))}", expected="a device that goes on"
                ) from None
        tell(f"{case.case} {mode}: {', '.join(shown)}")
    return True


def _described(case: Recipe | Probe) -> tuple[Case, str]:
    """The case's row; without operators, and why, where they cannot be captured here."""
    try:
        return case.describe(), ""
    except Exception as error:  # the times are good without the operators
        plain = Case(case=case.case, suite=case.suite, name=case.name, dtype=case.dtype, params=case.params)
        return plain, one_line(f"no operators: {type(error).__name__}: {error}")


def _times(case: Recipe | Probe, mode: str, clock: Clock) -> Iterator[MeasuredTime]:
    make = Make(clock.device)
    if isinstance(case, Probe):
        yield from case.run(case.case, clock, make)
        return
    with torch.no_grad(), precision(case.dtype):
        yield from clock.times(case.case, mode, prepared(case, mode, make))


def prepared(case: Recipe, mode: str, make: Make) -> Callable[[], Any]:
    """The call of a case in a mode, its tensors made and its compilation done."""
    function, tensors = case.build(make)
    if mode == "compiled":
        torch._dynamo.reset()
        function = torch.compile(function, dynamic=False)
        function(*tensors)
    return lambda: function(*tensors)


@contextmanager
def precision(dtype: str) -> Iterator[None]:
    """Products and convolutions of FP32 in TF32, or not: each has a switch of its own."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if dtype == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = dtype == "tf32"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
