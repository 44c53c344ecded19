"""What a validation consists of: one row per operator, model and count of bytes, and what was left out and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from hiersim.error_bands import Part
from hiersim.errors import CapacityError, HiersimError
from hiersim.units import TICKS_PER_SECOND
from hiersim.validation.accuracy import Pair

SHORT_S: Final = 50e-6
"""Operators that take less are scored apart: launch and latency, not throughput, decide their time."""
TICK_S: Final = 1 / TICKS_PER_SECOND
"""No measured time is shorter than the unit of predicted ones."""
Progress = Callable[[str, int, int], None]
"""Told what is replayed, how many replays are done and how many there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorRow:
    """One operator, or a few, in one state of the cache; times in seconds."""

    device: str
    design: str
    suite: str
    kind: str
    """That of the most costly operator, as in a trace."""
    case: str
    dtype: str
    mode: str
    cache: str
    clock: str
    kernels: int
    """Kernels that were replayed."""
    launches: int | None
    """Kernels that the profiler saw; where it saw fewer, the device ran operators of the trace as one."""
    pair: Pair

    @property
    def group(self) -> str:
        """The class that it is scored in: kind, below or above 50 us as measured, cache, and compiled where it is."""
        size = "below" if self.pair.measured < SHORT_S else "above"
        return ", ".join((self.kind, f"{size} 50 us", self.cache, *(() if self.mode == "eager" else (self.mode,))))


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """A model in one mode; times in seconds."""

    device: str
    design: str
    model: str
    mode: str
    fusion: str
    kernels: int
    """Kernels that were replayed."""
    launches: int
    """Kernels that were measured."""
    device_time: Pair
    """Kernels only: the replay with a host that costs nothing, and the durations of all kernels added up."""
    wall: Pair
    """End to end, with the measured host."""
    measured_host: bool
    """False: no launches were measured on that device, and the design's own host was taken."""
    stable: bool
    """False: the measured times had not settled."""
    parts: tuple[Part, ...] = ()
    """The kernels that were replayed alone, by class of error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterRow:
    """Bytes at the port of the device memory, for one operator that began with empty caches."""

    device: str
    design: str
    suite: str
    case: str
    cache: str
    predicted_read: int
    predicted_written: int
    counted: int
    """Read and written."""
    counted_read: int | None
    counted_written: int | None

    @property
    def predicted(self) -> int:
        """Read and written."""
        return self.predicted_read + self.predicted_written


@dataclass(slots=True)
class Skips:
    """Measurements that were not replayed, counted by reason while a validation runs."""

    counts: dict[str, int] = field(default_factory=dict)

    def add(self, reason: str, count: int = 1) -> None:
        """Count `count` more; nothing where that is 0."""
        if count:
            self.counts[reason] = self.counts.get(reason, 0) + count


def refusal(error: HiersimError) -> str:
    """Why a replay failed, in words that do not tell the sizes of one case."""
    return "does not fit the design's memory" if isinstance(error, CapacityError) else error.problem
