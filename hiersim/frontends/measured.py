"""Measured times: JSON lines (`.jsonl`, `.jsonl.gz`) as `hiersim measure` writes them, see docs/measured-data.md.

The first line is a header that tells how and on what the times were taken; each further line is one row, whose key
`row` names its kind: `case`, `time`, `kernel`, `summary`, `counters`, `skipped` or, as the last one, `end`.
"""

from __future__ import annotations

import math
import os
import re
import types
import zlib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from reprlib import repr as shown
from typing import Any, Final, NoReturn, get_type_hints

from hiersim.errors import HiersimError, MeasurementError, nearest
from hiersim.frontends.lines import lines, parse
from hiersim.model.operators import DType, Kind
from hiersim.model.trace import Trace, TraceHeader
from hiersim.units import LARGEST

FORMAT: Final = "hiersim-measured"
VERSION: Final = 1
MODES: Final = ("eager", "compiled", "graph")
"""Who launches: the framework, code that a compiler made, or one replay of a captured CUDA graph."""
CACHES: Final = ("warm", "cold", "as-is")
"""What the last-level cache holds when a call begins: the same buffers, none of them, or what ran before."""
CLOCKS: Final = ("events", "profiler", "wall", "host", "processor")
"""Device events around a batch of calls, durations of the kernels themselves, the host's clock from call to
completion, the host's clock until the call returns, or the processor time of a call on one thread of a CPU."""


RELEASE: Final = re.compile(r"(\d{1,4})\.(\d{1,4})")


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredHeader:
    """How and on what a file was measured. Tables hold texts and numbers; what could not be read is absent."""

    date: str
    """UTC, ISO 8601."""
    command: str
    device: Mapping[str, Any]
    """`kind` (cuda or cpu), `name`, `memory_bytes`, `cores`, `cache_bytes` (last level), `driver`, clocks."""
    host: Mapping[str, Any]
    software: Mapping[str, Any]
    """Versions by name."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The protocol's parameters: seeds, bytes that flush the cache, what was asked for."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What was measured: one operator, a few of them, a copy between memories, or a model."""

    case: str
    """Its name, each once in a file."""
    suite: str
    name: str
    """The operator (`mm`, `softmax`), or the target of a model."""
    dtype: str
    """Of the operands; `tf32` is FP32 in memory with TF32 products."""
    kind: Kind | None = None
    """That of the most costly operator; none where nothing is launched, and for models."""
    params: Mapping[str, int] = field(default_factory=dict)
    read_bytes: int = 0
    """Compulsory: what must be read once from outside."""
    written_bytes: int = 0
    """Compulsory: what must be left as a result."""
    flops: Mapping[str, int] = field(default_factory=dict)
    """Keys `matrix`, `masked`, `vector`, `special`, as in a trace."""
    train: bool = False
    """A training step."""
    rows: tuple[Mapping[str, Any], ...] = ()
    """Tensors and operators in the readable trace form; none for copies between memories and for models."""
    fusion: str = ""
    """The policy that stands for what ran, where it was not these operators one by one: `attention` for a kernel that
    does them all."""
    line: int = 0

    def trace(self, file: str = "", release: tuple[int, int] | None = None) -> Trace:
        """The case as a trace of its operators, which PyTorch of that `release` ran.

        Raises
        ------
        MeasurementError
            The case has no operators, as those of suites `transfer`, `launch` and `model`.
        TraceError
            The rows break a law of traces.
        """
        from hiersim.frontends.rows import trace_of

        if not self.rows:
            raise MeasurementError(f"case '{self.case}' holds no operators", file=file or None, line=self.line)
        header = TraceHeader(name=self.case, dtype=self.dtype, notes=("one case of a file of measured times",))
        trace = trace_of(header, [dict(row) for row in self.rows], file, self.line)
        return replace(trace, graph=replace(trace.graph, release=release)) if release else trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Quantiles of `n` samples, in seconds per call."""

    n: int
    min_s: float
    p10_s: float
    p25_s: float
    median_s: float
    p75_s: float
    p90_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredTime(Times):
    """How long one call of a case takes, by one clock."""

    case: str
    mode: str
    cache: str
    clock: str
    batch: int = 1
    """Calls between two readings of the clock; a sample is their mean."""
    launches: int | None = None
    """Kernels per call, where a profiler counted them."""
    kernels: tuple[str, ...] = ()
    """Their names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredKernel(Times):
    """One kernel of a model, by its place in launch order."""

    case: str
    mode: str
    position: int
    kernel: str
    operator: str = ""
    """What launched it, where the profiler knows: `aten::addmm`."""
    grid: tuple[int, ...] = ()
    block: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A model in one mode: what belongs to the run and not to a clock."""

    case: str
    mode: str
    launches: int
    kernel_s: float
    """Durations of all kernels of a call, added up: the median over the profiled calls."""
    wall_s: float
    """Median of the end-to-end time, without a profiler."""
    coverage: float
    """`kernel_s` / `wall_s`; on a CPU the median of that ratio over turns in which both were taken."""
    compile_s: float | None = None
    """First call in this mode, less a later one; contains compilation."""
    peak_bytes: int | None = None
    """Largest allocation during one call, weights included."""
    weight_bytes: int | None = None
    warm_up: int = 0
    """Calls before the times were stable, or all that were allowed."""
    stable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Hardware counters of one call: bytes at the port of a memory."""

    case: str
    mode: str
    cache: str
    kernels: tuple[str, ...] = ()
    dram_read_bytes: int | None = None
    dram_written_bytes: int | None = None
    dram_bytes: int | None = None
    """Both together, where that is all that is known."""
    l2_bytes: int | None = None
    """All traffic between the cores and L2."""
    duration_s: float | None = None

    @property
    def moved_bytes(self) -> int | None:
        """Read and written together; None where nobody knows."""
        if self.dram_read_bytes is None or self.dram_written_bytes is None:
            return self.dram_bytes
        return self.dram_read_bytes + self.dram_written_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A case, or a part of it, that could not be measured."""

    case: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The last row of a run that was not cut."""

    cases: int
    left: int
    """Cases for which no time was left."""
    seconds: float
    device: Mapping[str, Any] = field(default_factory=dict)
    """Clocks after the last case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A file of measured times."""

    header: MeasuredHeader
    cases: Mapping[str, Case]
    times: tuple[MeasuredTime, ...] = ()
    kernels: tuple[MeasuredKernel, ...] = ()
    summaries: tuple[Summary, ...] = ()
    counters: tuple[Counted, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    end: End | None = None
    """None where the run was cut: everything before is as good as in a whole file."""

    @property
    def release(self) -> tuple[int, int] | None:
        """Major and minor release of PyTorch, where the header says it."""
        found = RELEASE.match(str(self.header.software.get("torch", "")))
        return (int(found.group(1)), int(found.group(2))) if found else None

    def times_of(self, case: str) -> tuple[MeasuredTime, ...]:
        """All times of one case, in the order of the file."""
        return tuple(time for time in self.times if time.case == case)


ROWS: Final[Mapping[str, type[Any]]] = {
    "case": Case, "time": MeasuredTime, "kernel": MeasuredKernel, "summary": Summary, "counters": Counted,
    "skipped": Skipped, "end": End,
}  # fmt: skip
_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {"mode": MODES, "cache": CACHES, "clock": CLOCKS}
_QUANTILES: Final = ("min_s", "p10_s", "p25_s", "median_s", "p75_s", "p90_s")


def load_measured(path: str | os.PathLike[str]) -> Measured:
    """Read a file of measured times.

    Raises
    ------
    MeasurementError
        With file and line of the first fault.
    """
    file = str(path)
    reader = _Reader(file)
    try:
        for number, text in enumerate(lines(Path(path), file), start=1):
            reader.line = number
            if text.strip():
                reader.take(parse(text, reader))
        return reader.finish()
    except MeasurementError:
        raise
    except HiersimError as error:  # limits of lines and texts are those of traces
        raise MeasurementError(
            error.problem, file=error.file, line=error.line, key=error.key, expected="rows of measured times"
        ) from None
    except (OSError, EOFError, zlib.error, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise MeasurementError(f"cannot be read: {reason}", file=file, expected="JSON lines, plain or gzip") from None


def is_foreign(path: Path) -> bool:
    """Whether JSON lines say of themselves no format at all, and so were never meant to be measured times."""
    try:
        first = next(lines(path, str(path)), "")
    except (OSError, EOFError, zlib.error, HiersimError):
        return False
    return bool(first.strip()) and '"format"' not in first


class _Reader:
    """Collects rows; every fault names file and line."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.line = 0
        self.header: MeasuredHeader | None = None
        self.rows: dict[str, list[Any]] = {name: [] for name in ROWS}
        self.cases: dict[str, Case] = {}
        kinds: tuple[type[Any], ...] = (MeasuredHeader, *ROWS.values())
        self.known = {kind: _fields(kind) for kind in kinds}

    def fail(self, problem: str, key: str | None = None, expected: str | None = None) -> NoReturn:
        raise MeasurementError(problem, file=self.file, line=self.line, key=key, expected=expected)

    def take(self, row: dict[str, Any]) -> None:
        if self.header is None:
            self._header(row)
            return
        if self.rows["end"]:
            self.fail("stands after the end", expected="'end' as the last row")
        kind = row.pop("row", None)
        if kind not in ROWS:
            self.fail("is missing" if kind is None else f"{shown(kind)} is not a kind of row", "row", ", ".join(ROWS))
        value = self._decode(ROWS[kind], row)
        if isinstance(value, Case):
            if value.case in self.cases:
                self.fail(f"'{value.case}' is there twice", key="case", expected="each case once")
            self.cases[value.case] = value
        elif not isinstance(value, End) and value.case not in self.cases:
            hint = nearest(value.case, self.cases) if self.cases else "a case row above"
            self.fail(f"there is no case '{value.case}' above", key="case", expected=hint)
        if isinstance(value, Times):
            self._quantiles(value)
        if isinstance(value, Counted) and value.moved_bytes is None:
            self.fail("is missing", key="dram_read_bytes, dram_written_bytes", expected="both, or dram_bytes")
        self.rows[kind].append(value)

    def _header(self, row: dict[str, Any]) -> None:
        if row.pop("format", None) != FORMAT:
            self.fail("is not a file of measured times", "format", f'"format": "{FORMAT}" on the first line')
        version = row.pop("version", None)
        if type(version) is not int or version != VERSION:
            self.fail(f"has version {version!r}", key="version", expected=f"version {VERSION}")
        self.header = self._decode(MeasuredHeader, row)

    def _quantiles(self, times: Times) -> None:
        values = [getattr(times, name) for name in _QUANTILES]
        if values != sorted(values):
            self.fail("falls", key="min_s … p90_s", expected="quantiles that never fall")
        if times.n < 1 or times.median_s <= 0:
            self.fail("holds no time", key="n, median_s", expected="at least one sample, above 0 s")

    def _decode(self, kind: type[Any], row: dict[str, Any]) -> Any:
        known = self.known[kind]
        for key in row:
            if key not in known:
                self.fail("is not a key of this row", key=key, expected=nearest(key, known))
        values: dict[str, Any] = {"line": self.line} if kind is Case else {}
        for key, (hint, required) in known.items():
            if key in row:
                values[key] = self._value(row[key], key, hint)
            elif required:
                self.fail("is missing", key=key, expected=f"a row with {', '.join(_required(known))}")
        return kind(**values)

    def _value(self, value: Any, key: str, hint: Any) -> Any:
        if isinstance(hint, types.UnionType):
            if value is None:
                return None
            hint = hint.__args__[0]
        if hint is Kind:
            return Kind(self._choice(value, key, {kind.name.lower(): kind for kind in Kind}))
        if key in _CHOICES:
            return self._choice(value, key, {name: name for name in _CHOICES[key]})
        if key == "dtype":
            return self._choice(value, key, {dtype.name.lower(): dtype.name.lower() for dtype in DType})
        reader = {str: self._text, int: self._whole, float: self._number, bool: self._flag}.get(hint)
        return reader(value, key) if reader else self._compound(value, key, hint)

    def _compound(self, value: Any, key: str, hint: Any) -> Any:
        if hint in (Mapping[str, Any], Mapping[str, int]):
            if not isinstance(value, dict):
                self.fail(f"{type(value).__name__} is not a table", key=key, expected="an object")
            counted = hint == Mapping[str, int]
            return {name: self._whole(entry, f"{key}.{name}") if counted else entry for name, entry in value.items()}
        if not isinstance(value, list):
            self.fail(f"{type(value).__name__} is not a list", key=key, expected="a list")
        if hint == tuple[Mapping[str, Any], ...]:
            if not all(isinstance(entry, dict) for entry in value):
                self.fail("holds what is no row", key=key, expected="rows of the readable trace form")
            return tuple(value)
        reader = self._text if hint == tuple[str, ...] else self._whole
        return tuple(reader(entry, key) for entry in value)

    def _choice(self, value: Any, key: str, choices: Mapping[str, Any]) -> Any:
        if not isinstance(value, str) or value not in choices:
            self.fail(f"{shown(value)} is not a {key}", key=key, expected=nearest(str(value), choices))
        return choices[value]

    def _text(self, value: Any, key: str) -> str:
        if not isinstance(value, str):
            self.fail(f"{shown(value)} is not a text", key=key, expected="a text")
        return value

    def _flag(self, value: Any, key: str) -> bool:
        if not isinstance(value, bool):
            self.fail(f"{shown(value)} is not true or false", key=key, expected="true or false")
        return value

    def _whole(self, value: Any, key: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < LARGEST:
            self.fail(f"{shown(value)} is not a count", key=key, expected="a whole number, 0 … 2^62")
        return value

    def _number(self, value: Any, key: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.fail(f"{shown(value)} is not a number", key=key, expected="a number, 0 or more")
        if not 0 <= value < LARGEST or not math.isfinite(value):
            self.fail(f"{shown(value)} is out of range", key=key, expected="a number, 0 or more")
        return float(value)

    def finish(self) -> Measured:
        """The file, when all rows are in."""
        if self.header is None:
            raise MeasurementError("is empty", file=self.file, expected="a header line")
        return Measured(
            header=self.header, cases=self.cases, times=tuple(self.rows["time"]), kernels=tuple(self.rows["kernel"]),
            summaries=tuple(self.rows["summary"]), counters=tuple(self.rows["counters"]),
            skipped=tuple(self.rows["skipped"]), end=self.rows["end"][0] if self.rows["end"] else None,
        )  # fmt: skip


def _fields(kind: type[Any]) -> dict[str, tuple[Any, bool]]:
    """Key -> its type, and whether it must be there."""
    hints = get_type_hints(kind)
    return {
        item.name: (hints[item.name], item.default is MISSING and item.default_factory is MISSING)
        for item in fields(kind)
        if item.name != "line"
    }


def _required(known: Mapping[str, tuple[Any, bool]]) -> list[str]:
    return [key for key, (_, required) in known.items() if required]
