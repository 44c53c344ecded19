"""Measures models end to end and kernel by kernel, eager and compiled."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Final

import torch

from hiersim.errors import HiersimError, MeasurementError, one_line
from hiersim.frontends.measured import Case, End, MeasuredKernel, MeasuredTime, Skipped, Summary
from hiersim.frontends.pytorch.target import Target, loss_of
from hiersim.frontends.pytorch.workload import DTYPES, PLAIN, Workload
from hiersim.measure import environment, profile
from hiersim.measure.clock import Clock, CpuClock, CudaClock, clock_of, no_garbage, quantiles
from hiersim.measure.kernels import Tell, precision
from hiersim.measure.materialize import dtype_name, load_real, weight_bytes
from hiersim.measure.recipe import case_name
from hiersim.measure.writer import Writer

MARK: Final = "hiersim.call"
LIBRARIES: Final = ("hf:", "timm:")
SPREAD: Final = 0.05
"""Warm-up ends when three calls in a row differ by no more than this share of the shortest."""
PROFILED: Final = 5
NOTES: Final = (
    "wall: from the call on an idle device until its results are there; host: until the call returns; events: the "
    "device from the first launch to the last result; one call each, caches as the call before left them",
    "processor: processor time of the call, where PyTorch runs on one thread of a CPU",
    "profiler: durations of all kernels of one call, added up; on a CPU, each operator's own time",
    "kernels are in launch order; on a CPU an operator's own time stands for a kernel, views and allocations included",
    "bundled models: normal weights, random tokens; a training step is forward, loss, backward, AdamW (foreach)",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """Which models, how, and how often."""

    targets: tuple[str, ...]
    modes: tuple[str, ...]
    device: torch.device
    train: bool = False
    dtype: str | None = None
    """None: as the target makes it."""
    workload: Workload = PLAIN
    """Of targets of a model library, as a capture takes it."""
    repeats: int = 20
    warm_up: int = 30
    """Calls at most before the times count."""
    limit_s: float = float("inf")
    """No mode of a model starts later than this after the first."""


def measure_models(request: ModelRequest, output: str, tell: Tell) -> End:
    """Measure all targets in all modes and write `output`; returns its last row.

    Raises
    ------
    TraceError
        The only target cannot be imported.
    MeasurementError
        Nothing could be measured, or the file cannot be written.
    """
    clock = clock_of(request.device, 0.02)
    settings = {
        "repeats": request.repeats, "warm_up": request.warm_up, "spread": SPREAD, "profiled": PROFILED, "seed": 0,
    }  # fmt: skip
    header = environment.header(request.device, environment.command_line(), settings, NOTES)
    with Writer(output, header) as writer:
        start, done, left = time.monotonic(), 0, 0
        faults: list[HiersimError] = []
        clock.settle()
        for target in request.targets:
            if time.monotonic() - start > request.limit_s:
                left += 1
                continue
            try:
                done += _measure(target, request, clock, writer, start, tell)
            except HiersimError as error:
                faults.append(error)
                if len(request.targets) > 1:
                    tell(f"{target}: {error}")
        if faults and not done:
            raise faults[0]
        end = End(
            cases=done, left=left, seconds=time.monotonic() - start, device=environment.clocks(request.device)
        )  # fmt: skip
        writer.write(end)
    return end


def _measure(
    name: str, request: ModelRequest, clock: Clock, writer: Writer, start: float, tell: Tell
) -> bool:  # fmt: skip
    """One target in all modes; False where every mode failed."""
    if clock.kind == "cuda":
        torch.cuda.empty_cache()
    workload = request.workload
    if name.startswith(LIBRARIES):
        workload = replace(workload, dtype=request.dtype if request.dtype in DTYPES else None)
    target = load_real(name, request.train, request.device, request.dtype, workload)
    if clock.kind == "cuda":
        torch.cuda.empty_cache()
    dtype = dtype_name(target.model, request.dtype)
    if workload != PLAIN:
        name = f"{name} {workload.options()}"
    case = case_name("model", name, dtype, {})
    writer.write(Case(case=case, suite="model", name=name, dtype=dtype, train=target.train))
    measured = False
    for mode in request.modes:
        if time.monotonic() - start > request.limit_s:
            writer.write(Skipped(case=case, why=f"{mode}: no time was left"))
            continue
        try:
            with precision(dtype):
                summary = _Run(case, mode, target, clock, request).write(writer)
        except Exception as error:  # whatever a model or a compiler raises, the other mode is measured
            why = one_line(f"{mode}: {type(error).__name__}: {error}")
            writer.write(Skipped(case=case, why=why))
            tell(f"{case} {why}")
            continue
        measured = True
        tell(describe(summary))
    torch._dynamo.reset()
    if not measured:
        raise MeasurementError(f"'{name}' could not be measured in any mode", expected="see the rows 'skipped'")
    return True


def describe(summary: Summary) -> str:
    """One line on a model in one mode."""
    parts = [
        f"{summary.case} {summary.mode}: wall {summary.wall_s * 1e3:.4g} ms, {summary.launches} kernels "
        f"{summary.kernel_s * 1e3:.4g} ms, coverage {summary.coverage:.1%}"
    ]
    if summary.compile_s is not None:
        parts.append(f"first call {summary.compile_s:.1f} s longer")
    if summary.peak_bytes is not None:
        parts.append(f"peak {summary.peak_bytes / 1e9:.2f} GB")
    if not summary.stable:
        parts.append("warm-up ended before the times were stable")
    return ", ".join(parts)


class _Run:
    """A target in one mode."""

    def __init__(self, case: str, mode: str, target: Target, clock: Clock, request: ModelRequest) -> None:
        self.case = case
        self.mode = mode
        self.clock = clock
        self.repeats = request.repeats
        self.most = request.warm_up
        self.weights = weight_bytes(target.model)
        torch._dynamo.reset()
        self.call = _step(target, _callable(target, mode))

    def write(self, writer: Writer) -> Summary:
        """Measure and write all rows."""
        # On a CPU the loops that Inductor makes show in a profile only when they are compiled for it.
        profiled = _cpu_kernels() if self.mode != "eager" and self.clock.kind == "cpu" else nullcontext()
        with profiled:
            first = self._one()[0]
        calls, stable = self._warm_up()
        peak = self._peak()
        samples, runs, coverage = self._samples()
        wall, host, device = ([sample[at] for sample in samples] for at in range(3))
        launchers = {kernel.launcher for run in runs for kernel in run}
        if self.mode == "graph" and launchers and not any("GraphLaunch" in launcher for launcher in launchers):
            raise MeasurementError("PyTorch replayed no graph", expected="a model that writes none of its inputs")
        common: dict[str, Any] = {"case": self.case, "mode": self.mode, "cache": "as-is"}
        writer.write(MeasuredTime(**common, clock="wall", **quantiles(wall)))
        if isinstance(self.clock, CudaClock):
            writer.write(MeasuredTime(**common, clock="events", **quantiles(device)))
            writer.write(MeasuredTime(**common, clock="host", **quantiles(host)))
        elif "processor" in self.clock.clocks:
            writer.write(MeasuredTime(**common, clock="processor", **quantiles(host)))
        runs = alike(runs)  # where the profiler fails, the times above are good all the same
        sums = [sum(kernel.seconds for kernel in run) for run in runs]
        writer.write(MeasuredTime(**common, clock="profiler", launches=len(runs[0]), **quantiles(sums)))
        for position, same in enumerate(zip(*runs, strict=True)):
            writer.write(self._kernel(position, same))
        total = median(sums)
        summary = Summary(
            case=self.case, mode=self.mode, launches=len(runs[0]), kernel_s=total, wall_s=median(wall),
            coverage=coverage, peak_bytes=peak, weight_bytes=self.weights, warm_up=calls, stable=stable,
            compile_s=max(0.0, first - median(wall)) if self.mode != "eager" else None,
        )  # fmt: skip
        writer.write(summary)
        return summary

    def _one(self) -> tuple[float, float, float]:
        """Wall, host and device seconds of one call; on a CPU wall, processor and wall."""
        self.clock.synchronize()
        if isinstance(self.clock, CpuClock):
            wall, processor = self.clock.one(self.call, 1)
            return wall, processor, wall
        first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start = time.perf_counter_ns()
        first.record()
        self.call()
        last.record()
        host = time.perf_counter_ns()
        self.clock.synchronize()
        wall = time.perf_counter_ns()
        return (wall - start) * 1e-9, (host - start) * 1e-9, float(first.elapsed_time(last)) * 1e-3

    def _warm_up(self) -> tuple[int, bool]:
        """Call until three times in a row are alike, at most as often as allowed: calls made, and whether they were."""
        times: list[float] = []
        while len(times) < self.most:
            times.append(self._one()[0])
            last = times[-3:]
            if len(last) == 3 and max(last) - min(last) <= SPREAD * min(last):
                return len(times), True
        return len(times), False

    def _peak(self) -> int | None:
        if self.clock.kind == "cpu":
            return None
        torch.cuda.reset_peak_memory_stats()
        self._one()
        return int(torch.cuda.max_memory_allocated())

    def _samples(self) -> tuple[list[tuple[float, float, float]], list[list[profile.Launched]], float]:
        """Calls that count, kernels of profiled ones, and how much of the first the second cover.

        On a CPU the two take turns, and the coverage is that of the median turn: what other programs do there would
        else fall on one of them alone.
        """
        turns = min(2 * PROFILED, self.repeats) if self.clock.kind == "cpu" else 1
        samples: list[tuple[float, float, float]] = []
        runs: list[list[profile.Launched]] = []
        covered: list[float] = []
        for turn in range(turns):
            with no_garbage():
                until = (turn + 1) * self.repeats // turns
                own = [self._one() for _ in range(until - len(samples))]
            profiled = self._profiled(PROFILED if turns == 1 else 2)
            sums = [sum(kernel.seconds for kernel in run) for run in profiled]
            covered.append((median(sums) if sums else 0.0) / median(sample[0] for sample in own))
            samples, runs = samples + own, runs + profiled
        return samples, runs, median(covered)

    def _profiled(self, count: int) -> list[list[profile.Launched]]:
        """Kernels of each of a few calls."""
        activities = [torch.profiler.ProfilerActivity.CPU]
        if self.clock.kind == "cuda":
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        with torch.profiler.profile(activities=activities) as session:
            for _ in range(count):
                with torch.profiler.record_function(MARK):
                    self.call()
                    self.clock.synchronize()
        events = profile.export(session)
        found = profile.on_device(events, MARK) if self.clock.kind == "cuda" else profile.on_host(events, MARK)
        runs = [[kernel for kernel in found if kernel.mark == mark] for mark in range(count)]
        return [run for run in runs if run]

    def _kernel(self, position: int, same: Sequence[profile.Launched]) -> MeasuredKernel:
        return MeasuredKernel(
            case=self.case, mode=self.mode, position=position, kernel=same[0].name, operator=same[0].operator,
            grid=same[0].grid, block=same[0].block, **quantiles([kernel.seconds for kernel in same]),
        )  # fmt: skip


def alike(runs: list[list[profile.Launched]]) -> list[list[profile.Launched]]:
    """Those runs whose sequence of kernels is the most common one.

    Raises
    ------
    MeasurementError
        The profiler saw no kernel.
    """
    if not runs:
        raise MeasurementError("the profiler saw no kernel", expected="a model that computes something")
    sequences = [tuple(kernel.name for kernel in run) for run in runs]
    common, _ = Counter(sequences).most_common(1)[0]
    return [run for run, sequence in zip(runs, sequences, strict=True) if sequence == common]


def _cpu_kernels() -> Any:
    from torch._inductor import config

    return config.patch({"cpp.enable_kernel_profile": True})


def _callable(target: Target, mode: str) -> Callable[..., Any]:
    if mode == "eager":
        return target.model
    return torch.compile(target.model, mode="reduce-overhead" if mode == "graph" else None, dynamic=False)


def _step(target: Target, model: Callable[..., Any]) -> Callable[[], Any]:
    """One inference, or one step of training as `hiersim capture` records it."""
    if not target.train:

        def infer() -> Any:
            with torch.no_grad():
                return model(**target.kwargs)

        return infer
    optimizer = torch.optim.AdamW(list(target.model.parameters()), lr=1e-4, foreach=True)

    def step() -> None:
        loss_of(model(**target.kwargs)).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step
