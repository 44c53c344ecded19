"""What of a design can be fitted: continuous values, each with the bounds that its meaning sets."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from typing import Any, Final

from hiersim.errors import DesignError, nearest
from hiersim.model.design import Design, Link, Tier
from hiersim.model.design_changes import field_types
from hiersim.model.operators import DType
from hiersim.units import UNLIMITED, BytesPerSecond, Factor, FlopsPerSecond, Hertz, Share, Ticks

NANOSECOND: Final = 1000
"""Ticks."""
SMALLEST_SHARE: Final = 0.02
RATE_FACTOR: Final = 4.0
"""A rate, or a constant, is searched within this factor of the design's value, either way."""
RATES: Final = (BytesPerSecond, FlopsPerSecond, Hertz)
TIME_FACTOR: Final = 30.0
"""The same of a latency or a launch."""
LARGEST_UNKNOWN: Final = 100_000 * NANOSECOND
"""A time that is 0 in the design is searched up to 100 us."""
DEFAULTS: Final = (
    "memory.{home}.efficiency", "memory.{home}.latency", "compute.matrix.efficiency", "compute.vector.efficiency",
    "compute.start_up", "compute.exchange", "host.launch_eager", "host.launch_compiled", "host.start",
)  # fmt: skip
"""What is fitted when nothing is named, as far as the design has it and the data tells it."""
TELLING: Final = (
    ("host.launch_eager", "models, or many small operators in a row, run eagerly and timed by the clock wall"),
    ("host.launch_compiled", "compiled models timed by the clock wall"),
    ("host.launch_view", "eager models with many views, timed by the clock wall"),
    ("host.library_call", "small products beside small element-wise operators, timed by the clock wall"),
    ("host.latency", "single small operators timed by the clock wall"),
    ("host.start", "short kernels timed by the clock events and by the profiler"),
    ("host.launch_graph", "models replayed as graphs"),
    ("host.graph_start", "models replayed as graphs"),
    ("compute.start_up", "kernels of a few KiB timed by the profiler"),
    ("compute.exchange", "sums and norms over few rows of few elements"),
    ("compute.matrix", "large products (above 10 GFLOP)"),
    ("compute.vector", "chains of arithmetic or FP32 products with many FLOPs per byte"),
    ("compute.clock", "products whose operands stay in a cache, of sizes that leave cores idle"),
    ("compute.load_bandwidth", "operators whose data stays in the nearest shared cache"),
    (".latency", "single rows and other kernels with few bytes in flight, cold"),
    (".usable", "copies of about the size of the cache, warm"),
    (".efficiency", "copies and streams several times larger than every cache"),
    (".bandwidth", "copies and streams several times larger than every cache"),
    ("links.", "copies between host and device, or models that spill"),
    ("constants.dependent_load", "sums of one long row, warm and cold"),
    ("constants.wait_bytes", "sums of one long row, cold, in elements of two sizes"),
    ("constants.address", "slices, repeated rows, and rows added to matrices, eager"),
    ("constants.lookup", "transposed copies, eager"),
    ("constants.special_function", "softmax and GELU of 16-bit elements"),
    ("constants.link", "softmax and log-softmax of short rows, eager"),
    ("constants.access", "softmax, maxima and norms of long rows that a cache holds, eager"),
    ("constants.handling", "the same in elements of two sizes"),
    ("constants.narrow_loads", "large products of 16-bit elements with odd sizes, eager"),
    ("constants.prologue", "products of 64 to 256 elements a side, eager, in one launch"),
    ("constants.table_waits", "attention over tables of pages, few keys and many sequences"),
)  # fmt: skip
"""Part of a path → the measurements that tell its value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One value of a design that is searched, in its base unit (ticks, bytes per second, …)."""

    path: str
    kind: Any
    """Its type in `hiersim.units`."""
    start: float
    """The design's value, moved inside the bounds."""
    low: float
    high: float

    def change(self, value: float) -> Any:
        """`value` as a design holds it."""
        shown = float(f"{value:.5g}")
        if self.kind is Factor:
            return shown
        return min(1.0, shown) if self.kind is Share else round(shown)

    @property
    def logs(self) -> tuple[float, float, float]:
        """Natural logarithms of low, start and high: the search goes by factors."""
        return math.log(self.low), math.log(self.start), math.log(self.high)


def chosen(design: Design, names: Sequence[str]) -> tuple[Parameter, ...]:
    """The parameters that `names` stand for: paths of values, or of tables (`host`) for all that is in them.

    Raises
    ------
    DesignError
        A name that no value that can be fitted has.
    """
    known = {parameter.path: parameter for parameter in fittable(design)}
    found: dict[str, Parameter] = {}
    for name in names:
        inside = [path for path in known if path == name or path.startswith(f"{name}.")]
        if not inside:
            raise DesignError("is no value that can be fitted", key=name, expected=nearest(name, known))
        found.update({path: known[path] for path in inside})
    return tuple(found.values())


def defaults(design: Design) -> tuple[Parameter, ...]:
    """What is fitted when nothing is named; values of 0 are mechanisms that the design does without."""
    known = {parameter.path: parameter for parameter in fittable(design)}
    paths = [name.format(home=design.home.name) for name in DEFAULTS]
    return tuple(known[path] for path in paths if path in known and value_of(design, path))


def fittable(design: Design) -> Iterator[Parameter]:
    """Every value of the design that can be fitted."""
    for table in ("compute", "host", "constants"):
        yield from _leaves(table, getattr(design, table))
    for table, places in (("memory", design.memory), ("links", design.links)):
        for place in places:
            yield from _leaves(f"{table}.{place.name}", place)


def telling(path: str) -> str:
    """The measurements that tell the value at `path`."""
    return next((data for part, data in TELLING if part in path), "rows in which it decides the time")


def _leaves(path: str, table: Any) -> Iterator[Parameter]:
    owner: Any = type(table)
    for name, kind in field_types(owner).items():
        value = getattr(table, name)
        if value is None:
            continue
        if is_dataclass(value) and not isinstance(value, Tier | Link):
            yield from _leaves(f"{path}.{name}", value)
        elif name == "peak":
            for dtype, rate in value.items():
                yield from _leaf(f"{path}.peak.{dtype.name.lower()}", FlopsPerSecond, rate)
        else:
            yield from _leaf(f"{path}.{name}", kind, value)


def _leaf(path: str, kind: Any, value: Any) -> Iterator[Parameter]:
    if kind is Share:
        low, high = SMALLEST_SHARE, 1.0
    elif kind is Ticks:
        low = max(NANOSECOND, value / TIME_FACTOR)
        high = value * TIME_FACTOR if value else LARGEST_UNKNOWN
    elif (kind in RATES and value < UNLIMITED) or path.startswith("constants."):
        low, high = value / RATE_FACTOR, value * RATE_FACTOR
    else:
        return
    start = min(max(float(value), low), high)
    yield Parameter(path=path, kind=kind, start=start, low=float(low), high=float(high))


def value_of(design: Design, path: str) -> Any:
    """The value at `path`, in its base unit."""
    value: Any = design
    for step in path.split("."):
        if isinstance(value, Mapping):
            value = value[DType[step.upper()]]
        elif isinstance(value, tuple):
            value = next(place for place in value if place.name == step)
        else:
            value = getattr(value, step)
    return value


def kind_of(design: Design, path: str) -> Any:
    """The type of the value at `path`, which says its unit."""
    return next(parameter.kind for parameter in fittable(design) if parameter.path == path)
