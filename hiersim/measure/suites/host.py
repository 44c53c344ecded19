"""What launching costs, and how fast bytes cross the link to the host: the constants of a design's host and links."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from hiersim.errors import MeasurementError
from hiersim.frontends.measured import Case, MeasuredTime
from hiersim.measure.clock import Clock, CudaClock, host_times, quantiles, wall_times
from hiersim.measure.recipe import Make, case_name

SPINS: Final = 200
"""Empty kernels in a batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A case that is no operator: it brings its own way of timing."""

    suite: str
    name: str
    params: Mapping[str, int]
    run: Callable[[str, Clock, Make], Iterator[MeasuredTime]]
    rank: int = 0
    footprint: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    dtype: str = "fp32"
    cuda_only: bool = False

    @property
    def case(self) -> str:
        """The name of the case, each once."""
        return case_name(self.suite, self.name, self.dtype, self.params)

    def describe(self) -> Case:
        """The case, without operators."""
        return Case(
            case=self.case, suite=self.suite, name=self.name, dtype=self.dtype, params=self.params,
            read_bytes=self.read_bytes, written_bytes=self.written_bytes,
        )  # fmt: skip


# --- launches --------------------------------------------------------------------------------------

_DISPATCHED: Final[dict[str, Callable[..., Any]]] = {
    "add": lambda x, y: torch.add(x, y),
    "mul_in_place": lambda x, y: x.mul_(1.0),
    "gelu": lambda x, y: functional.gelu(x),
    "mm": lambda x, y: torch.mm(x, y),
    "linear": lambda x, y: functional.linear(x, y),
    "softmax": lambda x, y: functional.softmax(x, dim=-1),
    "layer_norm": lambda x, y: functional.layer_norm(x, (16,)),
    "sum": lambda x, y: x.sum(-1),
    "cat": lambda x, y: torch.cat((x, y)),
    "copy": lambda x, y: x.copy_(y),
}
"""Operators on 16 × 16 elements: their time is the host's."""
_VIEWS: Final[dict[str, Callable[[Tensor], Any]]] = {
    "view": lambda x: x.view(-1),
    "transpose": lambda x: x.transpose(0, 1),
    "slice": lambda x: x[:8],
    "expand": lambda x: x.expand(4, 16, 16),
    "reshape": lambda x: x.reshape(4, 64),
}
CHAINS: Final = (1, 4, 16, 64)
"""Kernels in compiled chains and in graphs: a cost per kernel is the slope, a cost per call the rest."""


def launch() -> Iterator[Probe]:
    """Host time per eager operator, view, compiled call and graph replay; device time of kernels that do nothing."""
    yield Probe(suite="launch", name="empty_kernel", params={}, run=_empty_kernel, cuda_only=True)
    yield Probe(suite="launch", name="round_trip", params={}, run=_round_trip)
    for name, function in _DISPATCHED.items():
        yield Probe(suite="launch", name=f"operator_{name}", params={}, run=_operator(function))
    for name, view in _VIEWS.items():
        yield Probe(suite="launch", name=f"view_{name}", params={}, run=_view(view))
    for count in (*CHAINS, 256, 1024):
        yield Probe(suite="launch", name="graph", params={"kernels": count}, run=_graph(count), cuda_only=True)
    for count in CHAINS:
        yield Probe(suite="launch", name="compiled", params={"stages": count}, run=_compiled(count), rank=1)


def _small(make: Make) -> tuple[Tensor, Tensor]:
    return make.normal(16, 16, dtype="fp32"), make.normal(16, 16, dtype="fp32")


def _empty_kernel(case: str, clock: Clock, make: Make) -> Iterator[MeasuredTime]:
    """Host time to launch a kernel of no arguments worth speaking of, and from one such kernel to the next."""
    assert isinstance(clock, CudaClock)
    yield MeasuredTime(
        case=case, mode="eager", cache="warm", clock="host", batch=SPINS, launches=1,
        **quantiles(host_times(clock, clock.spin, SPINS)),
    )  # fmt: skip
    yield from _back_to_back(case, clock, clock.spin)


def _back_to_back(case: str, clock: CudaClock, call: Callable[[], Any]) -> Iterator[MeasuredTime]:
    """Device time per call of 200 that follow each other without the host in their way."""
    samples = [clock.batch_events(call, SPINS, 2e-5) for _ in range(9)]
    yield MeasuredTime(case=case, mode="eager", cache="warm", clock="events", batch=SPINS, **quantiles(samples))


def _round_trip(case: str, clock: Clock, make: Make) -> Iterator[MeasuredTime]:
    """From a call on an idle device to the host's knowing that it is done: launch, latency, kernel, return."""
    x, _ = _small(make)

    def call() -> None:
        x.mul_(1.0)

    call()
    samples = wall_times(clock, call, 100)
    yield MeasuredTime(case=case, mode="eager", cache="warm", clock="wall", launches=1, **quantiles(samples))


def _operator(function: Callable[..., Any]) -> Callable[[str, Clock, Make], Iterator[MeasuredTime]]:
    def run(case: str, clock: Clock, make: Make) -> Iterator[MeasuredTime]:
        x, y = _small(make)

        def call() -> Any:
            return function(x, y)

        with torch.no_grad():
            call()
            samples = host_times(clock, call)
            yield MeasuredTime(case=case, mode="eager", cache="warm", clock="host", batch=200, **quantiles(samples))
            if isinstance(clock, CudaClock):
                yield from _back_to_back(case, clock, call)

    return run


def _view(function: Callable[[Tensor], Any]) -> Callable[[str, Clock, Make], Iterator[MeasuredTime]]:
    def run(case: str, clock: Clock, make: Make) -> Iterator[MeasuredTime]:
        x, _ = _small(make)
        with torch.no_grad():
            samples = host_times(clock, lambda: function(x))
        yield MeasuredTime(
            case=case, mode="eager", cache="warm", clock="host", batch=200, launches=0, **quantiles(samples)
        )  # fmt: skip

    return run


def _graph(count: int) -> Callable[[str, Clock, Make], Iterator[MeasuredTime]]:
    """A CUDA graph of `count` dependent small kernels: host time of a replay, device time, time to completion."""

    def run(case: str, clock: Clock, make: Make) -> Iterator[MeasuredTime]:
        assert isinstance(clock, CudaClock)
        x, _ = _small(make)
        graph = torch.cuda.CUDAGraph()
        x.mul_(1.0)
        clock.synchronize()
        with torch.cuda.graph(graph):
            for _ in range(count):
                x.mul_(1.0)
        for _ in range(3):
            graph.replay()
        common: dict[str, Any] = {"case": case, "mode": "graph", "cache": "warm", "launches": count}
        yield MeasuredTime(**common, clock="host", batch=20, **quantiles(host_times(clock, graph.replay, 20)))
        device = [clock.batch_events(graph.replay, 20, 2e-5) for _ in range(9)]
        yield MeasuredTime(**common, clock="events", batch=20, **quantiles(device))
        yield MeasuredTime(**common, clock="wall", **quantiles(wall_times(clock, graph.replay)))
        durations = sum(kernel.seconds for kernel in clock.kernels_of(graph.replay))
        yield MeasuredTime(**common, clock="profiler", **quantiles([durations]))

    return run


def chain(x: Tensor, count: int) -> Tensor:
    """`count` stages that no compiler makes one kernel of: each needs all columns, then all rows, of the one before."""
    for stage in range(count):
        x = x - x.sum(stage % 2, keepdim=True)
    return x


def _compiled(count: int) -> Callable[[str, Clock, Make], Iterator[MeasuredTime]]:
    """A compiled function of some kernels: its guards, its wrapper, and a launch for each."""

    def run(case: str, clock: Clock, make: Make) -> Iterator[MeasuredTime]:
        torch._dynamo.reset()
        compiled = torch.compile(lambda x: chain(x, count), dynamic=False)
        x = make.normal(64, 64, dtype="fp32")

        def call() -> Any:
            return compiled(x)

        with torch.no_grad():
            call()
            call()
            kernels = None
            if isinstance(clock, CudaClock):
                with suppress(MeasurementError):
                    kernels = len(clock.kernels_of(call))
            calls = max(5, 200 // count)
            yield MeasuredTime(
                case=case, mode="compiled", cache="warm", clock="host", batch=calls, launches=kernels,
                **quantiles(host_times(clock, call, calls)),
            )  # fmt: skip

    return run


# --- copies between host and device ----------------------------------------------------------------


def transfer() -> Iterator[Probe]:
    """Copies of 4 KiB … 256 MiB to the device and back, from pinned and from pageable memory."""
    for exponent in range(12, 29):
        for name in ("to_device", "to_host", "to_device_pageable", "to_host_pageable"):
            pageable = name.endswith("pageable")
            yield Probe(
                suite="transfer", name=name, params={"bytes": 2**exponent}, run=_transfer(name, 2**exponent),
                rank=(exponent % 2) + 2 * pageable, footprint=2**exponent, read_bytes=2**exponent,
                written_bytes=2**exponent, cuda_only=True,
            )  # fmt: skip


def _transfer(name: str, size: int) -> Callable[[str, Clock, Make], Iterator[MeasuredTime]]:
    def run(case: str, clock: Clock, make: Make) -> Iterator[MeasuredTime]:
        assert isinstance(clock, CudaClock)
        pinned = not name.endswith("pageable")
        host = torch.zeros(size // 4, pin_memory=pinned)
        device = torch.zeros(size // 4, device=clock.device)
        target, source = (device, host) if name.startswith("to_device") else (host, device)

        def call() -> None:
            target.copy_(source, non_blocking=pinned)

        call()
        common: dict[str, Any] = {"case": case, "mode": "eager", "cache": "as-is"}
        if pinned:
            batch = max(1, min(20, 2**24 // size))
            samples = [clock.batch_events(call, batch, 2e-5) for _ in range(7)]
            yield MeasuredTime(**common, clock="events", batch=batch, **quantiles(samples))
        yield MeasuredTime(**common, clock="wall", **quantiles(wall_times(clock, call, 10)))

    return run
