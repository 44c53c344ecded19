"""How a call is timed: batches between device events, kernels in a profiler, or the host's clock.

On a GPU a batch waits behind a kernel that spins, so that the host never makes the device wait: what the events
enclose is the device's own time. *Cold* means that a buffer far larger than the last-level cache was read just before:
its lines are clean, so that the call pays for its own misses and for nobody's write-back.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

import torch

from hiersim.errors import MeasurementError
from hiersim.frontends.measured import MeasuredTime
from hiersim.measure import profile

Call = Callable[[], Any]
SPIN: Final = "spin_kernel"
"""Part of the name of the kernel behind `torch.cuda._sleep`."""
SPIN_CYCLES_PER_S: Final = 2.0e9
"""No current GPU's clock is higher: a spin lasts at least as long as asked for."""
QUEUED: Final = 400
"""Launches in a batch, roughly: fewer than the 1024 that a stream holds before the host must wait."""
LAUNCH_S: Final = 5e-6
"""Host seconds per launch by which the launches of a call are guessed."""
LOST: Final = 3
"""Spins at the beginning of a profile, which may miss what runs in its first microseconds."""
FLUSH_BYTES: Final = 256 * 2**20
CPU_FLUSH_BYTES: Final = 128 * 2**20


def quantiles(samples: Sequence[float]) -> dict[str, Any]:
    """The fields of `Times` of some seconds, by linear interpolation between order statistics."""
    if not samples:
        raise MeasurementError("no sample was taken", expected="at least one")
    ordered = sorted(max(sample, 1e-12) for sample in samples)

    def at(share: float) -> float:
        place = share * (len(ordered) - 1)
        low = int(place)
        high = min(low + 1, len(ordered) - 1)
        value = ordered[low] + (place - low) * (ordered[high] - ordered[low])
        return min(max(value, ordered[low]), ordered[high])  # whatever the rounding

    named = {"p10_s": 0.1, "p25_s": 0.25, "median_s": 0.5, "p75_s": 0.75, "p90_s": 0.9}
    return {"n": len(ordered), "min_s": ordered[0], **{key: at(share) for key, share in named.items()}}


@contextmanager
def no_garbage() -> Iterator[None]:
    """No garbage collection inside."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def clamp(value: float, low: int, high: int) -> int:
    """A whole number inside [low, high]."""
    return max(low, min(high, int(value))) if math.isfinite(value) else high


class CpuClock:
    """Times calls that have finished when they return.

    Where PyTorch runs on one thread, a call's processor time is its wall time on a core that nobody else wants: it is
    taken too, and does not contain what other programs did meanwhile.
    """

    kind = "cpu"

    def __init__(self, device: torch.device, spend: float) -> None:
        self.device = device
        self.spend = spend
        """Seconds for the samples of one clock."""
        self.clocks = ("wall", "processor") if torch.get_num_threads() == 1 else ("wall",)
        self._flush = torch.zeros(CPU_FLUSH_BYTES // 4)

    def synchronize(self) -> None:
        """Nothing to wait for."""

    def flush(self) -> None:
        """Read what displaces everything else from the caches."""
        self._flush.sum()

    def settle(self) -> None:
        """Nothing to wake."""

    def times(self, case: str, mode: str, call: Call) -> Iterator[MeasuredTime]:
        """Times of one call by each clock, warm and cold."""
        call()
        pace = self.one(call, 1)[0]
        batch = clamp(1e-3 / pace, 1, 1000)
        least = 3 if pace < 0.2 else 1
        samples = clamp(self.spend / (batch * pace), least, 15)
        with no_garbage():
            warm = [self.one(call, batch) for _ in range(samples)]
            cold = []
            for _ in range(least):
                self.flush()
                cold.append(self.one(call, 1))
        common: dict[str, Any] = {"case": case, "mode": mode}
        for place, clock in enumerate(self.clocks):
            for cache, found, size in (("warm", warm, batch), ("cold", cold, 1)):
                seconds = [sample[place] for sample in found]
                yield MeasuredTime(**common, clock=clock, cache=cache, batch=size, **quantiles(seconds))

    @staticmethod
    def one(call: Call, batch: int) -> tuple[float, float]:
        """Seconds of one of `batch` calls by the host's clock, and of processor time of this thread.

        Reading the latter costs microseconds of its own, which the former does not see: it bounds them.
        """
        own, start = time.thread_time_ns(), time.perf_counter_ns()
        for _ in range(batch):
            call()
        wall, own = time.perf_counter_ns() - start, time.thread_time_ns() - own
        return max(1e-9, wall * 1e-9 / batch), max(1e-9, min(own, wall) * 1e-9 / batch)


class CudaClock:
    """Times what calls leave to the current stream of a CUDA device."""

    kind = "cuda"

    def __init__(self, device: torch.device, spend: float) -> None:
        self.device = device
        self.spend = spend
        self._flush = torch.zeros(FLUSH_BYTES // 4, device=device)

    def synchronize(self) -> None:
        """Wait for all that was launched."""
        torch.cuda.synchronize(self.device)

    def flush(self) -> None:
        """Read what displaces everything else from L2, and leave its lines clean."""
        self._flush.sum()

    def spin(self, seconds: float = 0.0) -> None:
        """Keep the device busy, without memory, for at least so long."""
        torch.cuda._sleep(int(seconds * SPIN_CYCLES_PER_S))

    def settle(self) -> None:
        """Bring the clocks from idle to work, and the profiler's first start behind us."""
        a = torch.randn(4096, 4096, device=self.device, dtype=torch.bfloat16)
        end = time.perf_counter() + 0.5
        while time.perf_counter() < end:
            for _ in range(20):
                a @ a
            self.synchronize()
        with suppress(MeasurementError):  # without a profiler every case says so
            self._kernels(lambda: a + a, warm=2, cold=1)

    def times(self, case: str, mode: str, call: Call) -> Iterator[MeasuredTime]:
        """Warm and cold, by events and by the profiler, of one call."""
        host, device = self._pace(call)
        with no_garbage():
            yield self._warm_events(case, mode, call, host, device)
            yield self._cold_events(case, mode, call, host, device)
            yield from self._profile(case, mode, call, device)

    def _pace(self, call: Call) -> tuple[float, float]:
        """Rough seconds per call of the host, and of the device (or of the host, where it is slower)."""
        for _ in range(3):
            call()
        self.synchronize()
        start = time.perf_counter()
        for _ in range(4):
            call()
        host = time.perf_counter()
        self.synchronize()
        return (host - start) / 4, (time.perf_counter() - start) / 4

    def batch_events(self, call: Call, batch: int, host: float) -> float:
        """Device seconds per call of one batch that waits behind a spin."""
        first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        self.spin(1.5 * batch * host + 50e-6)
        first.record()
        for _ in range(batch):
            call()
        last.record()
        last.synchronize()
        return float(first.elapsed_time(last)) * 1e-3 / batch

    def _warm_events(self, case: str, mode: str, call: Call, host: float, device: float) -> MeasuredTime:
        batch = clamp(min(2e-3 / device, QUEUED * LAUNCH_S / host), 3, 100)
        samples = clamp(self.spend / (batch * (device + host)), 3, 15)
        times = [self.batch_events(call, batch, host) for _ in range(samples)]
        return MeasuredTime(
            case=case, mode=mode, cache="warm", clock="events", batch=batch, **quantiles(times)
        )  # fmt: skip

    def _cold_events(self, case: str, mode: str, call: Call, host: float, device: float) -> MeasuredTime:
        samples = clamp(self.spend / (device + host + 2e-4), 3, 10)
        events = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(samples)]
        self.spin(samples * (1.5 * host + 50e-6))
        for first, last in events:
            self.flush()
            first.record()
            call()
            last.record()
        self.synchronize()
        times = [float(first.elapsed_time(last)) * 1e-3 for first, last in events]
        return MeasuredTime(case=case, mode=mode, cache="cold", clock="events", **quantiles(times))

    def _profile(self, case: str, mode: str, call: Call, device: float) -> Iterator[MeasuredTime]:
        count = clamp(self.spend / (2 * device + 2e-4), 3, 8)
        warm, cold = self._kernels(call, warm=count, cold=count)
        for cache, calls in (("warm", warm), ("cold", cold)):
            names = tuple(kernel.name for kernel in calls[-1])
            sums = [sum(kernel.seconds for kernel in kernels) for kernels in calls]
            yield MeasuredTime(
                case=case, mode=mode, cache=cache, clock="profiler", launches=len(names), kernels=names,
                **quantiles(sums),
            )  # fmt: skip

    def kernels_of(self, call: Call) -> list[profile.Launched]:
        """What one call launches, by the profiler."""
        return self._kernels(call, warm=2, cold=0)[0][-1]

    def _kernels(
        self, call: Call, warm: int, cold: int
    ) -> tuple[list[list[profile.Launched]], list[list[profile.Launched]]]:
        """Kernels of each warm and each cold call: spins, which no operator launches, stand between them."""
        self.synchronize()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as session:
            for _ in range(LOST):
                self.spin()
            for _ in range(warm):
                self.spin()
                call()
            for _ in range(cold):
                self.spin()
                self.flush()
                self.spin()
                call()
            self.spin()
            self.synchronize()
        wanted = warm + 2 * cold
        parts = between_spins(profile.on_device(profile.export(session)))[-wanted:]
        if len(parts) != wanted or not all(parts):
            seen = sum(map(bool, parts))
            raise MeasurementError(f"the profiler saw {seen} of {wanted} calls", expected="every launch in its profile")
        return parts[:warm], parts[warm + 1 :: 2]


def between_spins(kernels: Sequence[profile.Launched]) -> list[list[profile.Launched]]:
    """Kernels after each spin, up to the next; what follows the last one is not counted."""
    parts: list[list[profile.Launched]] = []
    for kernel in kernels:
        if SPIN in kernel.name:
            parts.append([])
        elif parts:
            parts[-1].append(kernel)
    return parts[:-1]


Clock = CpuClock | CudaClock


def clock_of(device: torch.device, spend: float) -> Clock:
    """The clock that suits a device."""
    return CudaClock(device, spend) if device.type == "cuda" else CpuClock(device, spend)


def host_times(clock: Clock, call: Call, calls: int = 200, repeats: int = 9) -> list[float]:
    """Seconds of the host's thread per call, while the device's queue is not full."""
    samples = []
    with no_garbage():
        for _ in range(repeats):
            clock.synchronize()
            start = time.perf_counter_ns()
            for _ in range(calls):
                call()
            samples.append((time.perf_counter_ns() - start) * 1e-9 / calls)
    clock.synchronize()
    return samples


def wall_times(clock: Clock, call: Call, repeats: int = 30) -> list[float]:
    """Seconds from a call on an idle device until its work is done."""
    samples = []
    with no_garbage():
        for _ in range(repeats):
            clock.synchronize()
            start = time.perf_counter_ns()
            call()
            clock.synchronize()
            samples.append((time.perf_counter_ns() - start) * 1e-9)
    return samples
