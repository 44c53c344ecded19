"""`DeviceProfile`: what a profiler saw on the device, beside the operators that caused it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from hiersim.model.operators import IntArray
from hiersim.units import Ticks


class Activity(IntEnum):
    """What a device event is."""

    KERNEL = 0
    MEMCPY = 1
    MEMSET = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DeviceProfile:
    """Measured kernels, copies and fills of one device, in order of their start. All columns are (K,)."""

    device: str
    """Name of the device (`NVIDIA A100-SXM4-80GB`); may be empty."""
    strings: tuple[str, ...]
    name: IntArray
    """Index into `strings`: the kernel's own name."""
    activity: IntArray
    """Values of `Activity`."""
    operator: IntArray
    """Row of the trace's operator that launched it."""
    start: IntArray
    """Ticks after the first start."""
    duration: IntArray
    """Ticks."""
    stream: IntArray

    def __len__(self) -> int:
        return len(self.name)

    @property
    def span(self) -> Ticks:
        """From the first start to the last end."""
        return Ticks(int((self.start + self.duration).max(initial=0)))

    @property
    def kernel_time(self) -> Ticks:
        """Durations of all kernels added up, also where they overlap; copies and fills are not kernels."""
        return Ticks(int(self.duration[self.activity == Activity.KERNEL].sum()))

    @property
    def busy(self) -> Ticks:
        """Time in which at least one kernel, copy or fill runs: the union over all streams."""
        ends = np.maximum.accumulate(self.start + self.duration)
        before = np.concatenate([np.zeros(1, np.int64), ends[:-1]]) if len(ends) else ends
        return Ticks(int(np.maximum(ends - np.maximum(self.start, before), 0).sum()))

    @property
    def idle_share(self) -> float:
        """Share of the span in which nothing runs on the device."""
        return 1 - self.busy / self.span if self.span else 0.0

    def by_operator(self, rows: int) -> IntArray:
        """(rows,) ticks of everything that each operator launched."""
        return np.bincount(self.operator, self.duration, minlength=rows).astype(np.int64)
