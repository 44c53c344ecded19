"""`validate`: files of measured times in, the error table out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from hiersim import bundled
from hiersim.config.load import load_design
from hiersim.errors import MeasurementError, nearest
from hiersim.frontends import neusight
from hiersim.frontends.measured import Measured, is_foreign, load_measured
from hiersim.frontends.published.recognize import published
from hiersim.measure.constants import HostConstants, host_constants, stated_constants
from hiersim.model.design import Design
from hiersim.model.trace import Trace
from hiersim.validation.accuracy import Accuracy, Pair, accuracy
from hiersim.validation.crew import replay_all
from hiersim.validation.devices import DEVICES, design_name
from hiersim.validation.model_traces import ModelTraces
from hiersim.validation.models import replay_models
from hiersim.validation.operators import Batch, batch_of, replay_counters
from hiersim.validation.protocol import CLOCKS
from hiersim.validation.rows import CounterRow, ModelRow, OperatorRow, Progress, Skips
from hiersim.validation.sample import sampled
from hiersim.version import __version__

ENDINGS: Final = (".jsonl", ".jsonl.gz")
TABLES: Final = (*ENDINGS, ".csv", ".csv.gz", ".parquet", ".json", ".json.gz")
"""What a folder may hold of measurements; other files (notes, licences) are not looked at."""
ALL: Final = "all"
WORST: Final = 5
"""Operators that are named as the worst."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One line of the error table."""

    suite: str
    device: str
    name: str
    """The class within the suite; `all` for a whole suite, whose name is `all` for all suites."""
    accuracy: Accuracy


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Bytes at the port of the device memory, over the counted operators of one suite."""

    device: str
    suite: str
    cache: str
    n: int
    reads: Accuracy | None
    """Of the bytes read, over the operators that read any in the replay and on the device; None where none did."""
    both: Accuracy | None
    """Of the bytes read and written, over the operators that move any."""
    predicted_read: int
    counted_read: int | None
    """None where only the sum of both is known."""
    predicted_written: int
    counted_written: int | None
    predicted: int
    counted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedUp:
    """What compilation gained: the time of the eager run over that of the compiled one."""

    device: str
    suite: str
    case: str
    cache: str
    clock: str
    pair: Pair
    """Ratios of times, without unit; 1 is no gain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """Predictions beside measurements."""

    files: tuple[str, ...]
    """Names of the files, without folders."""
    dates: tuple[str, ...]
    """When each was measured, UTC."""
    version: str
    """Of hiersim."""
    operators: tuple[OperatorRow, ...] = ()
    models: tuple[ModelRow, ...] = ()
    counters: tuple[CounterRow, ...] = ()
    skipped: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Reason → measurements that were not replayed: an operator in one mode and state of the cache, a model in one
    mode, the counters of one case."""

    @property
    def machines(self) -> tuple[tuple[str, str], ...]:
        """Measured devices, each with the design that stands for it."""
        found = {(row.device, row.design) for row in self.operators}
        found |= {(row.device, row.design) for row in self.models}
        found |= {(row.device, row.design) for row in self.counters}
        return tuple(sorted(found))

    @property
    def groups(self) -> tuple[Group, ...]:
        """The error table: per device, suite and class."""
        return _groups(self.operators, lambda row: (row.device, row.suite, row.group))

    @property
    def totals(self) -> tuple[Group, ...]:
        """The same per device and suite, and last of each device over all its suites."""
        suites = _groups(self.operators, lambda row: (row.device, row.suite, ALL))
        return suites + _groups(self.operators, lambda row: (row.device, ALL, ALL))

    @property
    def speed_ups(self) -> tuple[SpeedUp, ...]:
        """Eager over compiled, predicted beside measured: of cases that were measured both ways by one clock."""
        found: dict[tuple[str, str, str, str, str], dict[str, Pair]] = {}
        for row in self.operators:
            found.setdefault((row.device, row.suite, row.case, row.cache, row.clock), {})[row.mode] = row.pair
        for model in self.models:
            for clock, pair in (("profiler", model.device_time), ("wall", model.wall)):
                found.setdefault((model.device, "model", model.model, "warm", clock), {})[model.mode] = pair
        return tuple(
            SpeedUp(
                device=device, suite=suite, case=case, cache=cache, clock=clock,
                pair=Pair(
                    predicted=pairs["eager"].predicted / pairs["compiled"].predicted,
                    measured=pairs["eager"].measured / pairs["compiled"].measured,
                ),
            )
            for (device, suite, case, cache, clock), pairs in sorted(found.items())
            if pairs.keys() >= {"eager", "compiled"}
        )  # fmt: skip

    @property
    def traffic(self) -> tuple[Traffic, ...]:
        """The counters, per device, suite and state of the cache."""
        found: dict[tuple[str, str, str], list[CounterRow]] = {}
        for row in self.counters:
            found.setdefault((row.device, row.suite, row.cache), []).append(row)
        return tuple(_traffic(key, rows) for key, rows in sorted(found.items()))

    def worst(self, count: int = WORST) -> tuple[OperatorRow, ...]:
        """The operators that are off by the largest factor, either way."""
        return tuple(sorted(self.operators, key=lambda row: (-row.pair.factor, row.case, row.cache))[:count])

    def to_dict(self, worst: int = WORST) -> dict[str, Any]:
        """The JSON form, keys as in the glossary; times in seconds, errors and ratios as plain numbers."""
        return {
            "version": self.version,
            "files": list(self.files),
            "measured_on": list(self.dates),
            "rows": [_group_dict(group) for group in self.groups],
            "totals": [_group_dict(group) for group in self.totals],
            "worst": [_operator_dict(row) for row in self.worst(worst)],
            "models": [_model_dict(row) for row in self.models],
            "speed_ups": [_speed_up_dict(row) for row in self.speed_ups],
            "counters": [asdict(row) for row in self.traffic],
            "skipped": [{"reason": reason, "n": count} for reason, count in self.skipped.items()],
        }

    def to_json(self, worst: int = WORST) -> str:
        """The JSON form as text; the same inputs give the same bytes."""
        return json.dumps(self.to_dict(worst), sort_keys=True, indent=1, allow_nan=False)


def validate(
    data: Iterable[str | os.PathLike[str]] | str | os.PathLike[str] | None = None,
    *,
    design: Design | str | None = None,
    clock: str | None = None,
    match: str = "",
    sample: int | None = None,
    workers: int | None = 1,
    traces: Iterable[Trace | str | os.PathLike[str]] = (),
    progress: Progress | None = None,
) -> Validation:
    """Replay what was measured and compare.

    Parameters
    ----------
    data : path or paths, optional
        Files of measured times or of a published data set (docs/fidelity.md lists them), or folders of them; default:
        what comes with hiersim. Of a folder, files in no known form and devices without a design are counted as left
        out.
    design : Design or str, optional
        The machine that was measured; default: the bundled design of the device's name.
    clock : str, optional
        `profiler`, `events` or `wall`: operators timed by that clock only; default: the first of these that timed.
    match : str
        Only cases whose name contains it.
    sample : int, optional
        At most so many cases of each class, chosen by their names; default: all.
    workers : int, optional
        Processes that replay operators; None: one for each core where there are many operators. A script guards its
        calls with ``if __name__ == "__main__"``, as always with processes. The result is the same.
    traces : traces or paths, optional
        Of measured models that are not bundled, captured from the target that was measured.
    progress : callable, optional
        Told what is replayed, how many replays are done and how many there are.

    Raises
    ------
    MeasurementError
        Data that cannot be read, holds no measured times or none that `match`, or comes from a device without a
        design.
    DesignError
        A design that cannot be read.
    TraceError
        A trace that cannot be read.
    """
    clocks = _clocks(clock)
    given = load_design(design) if isinstance(design, str) else design
    known = ModelTraces(traces)
    skips, tell = Skips(), progress or (lambda name, done, count: None)
    files = [found for source in _sources(data) for found in _load(source, skips)]
    if not any(match in case for found in files for case in found.measured.cases):
        raise MeasurementError(f"no case's name contains '{match}'", key="match", expected="a part of suite/operator/…")
    if sample is not None:
        files = [replace(found, measured=sampled(found.measured, sample, match)) for found in files]
    files, designs = _with_designs(files, given, skips)
    batches: list[Batch] = []
    models: list[ModelRow] = []
    counters: list[CounterRow] = []
    for found in files:
        measured, machine = found.measured, designs[found.device]
        others = (other.measured for other in files if other.device == found.device)
        host = stated_constants(measured) or measured_host(others)
        batches.append(batch_of(measured, machine, clocks, match, host))
        models += replay_models(measured, machine, host, match, skips, tell, known)
        counters += replay_counters(measured, machine, match, skips, tell)
        for left in measured.skipped:
            skips.add(f"not measured: {left.why}", int(match in left.case))
    operators = tuple(replay_all(batches, workers, skips, tell))
    return Validation(
        files=tuple(dict.fromkeys(found.path.name for found in files)),
        dates=tuple(found.measured.header.date for found in files),
        version=__version__,
        operators=operators,
        models=tuple(models),
        counters=tuple(counters),
        skipped=MappingProxyType(dict(sorted(skips.counts.items()))),
    )


def measured_files(data: Iterable[str | os.PathLike[str]] | str | os.PathLike[str] | None) -> tuple[Path, ...]:
    """Files as they are, folders as the files in and below them, by name; each file once.

    Raises
    ------
    MeasurementError
        A path that does not exist, a folder without files of measured times, or no path at all.
    """
    return tuple(source.path for source in _sources(data) if source.named or _is_known(source.path))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """A file, and whether the user named it: then every fault of it is the user's."""

    path: Path
    named: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """The measured times of one device in one file."""

    path: Path
    named: bool
    measured: Measured

    @property
    def device(self) -> str:
        """What the device calls itself."""
        return str(self.measured.header.device.get("name", ""))


def _sources(data: Iterable[str | os.PathLike[str]] | str | os.PathLike[str] | None) -> tuple[_Source, ...]:
    if data is None:
        data = bundled.measurements()
    given = [Path(data)] if isinstance(data, str | os.PathLike) else [Path(path) for path in data]
    found: dict[Path, _Source] = {}
    for path in given:
        inside = sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]
        if path.is_dir() and not any(_is_known(item) for item in inside):
            raise MeasurementError("holds no measured times", file=str(path), expected="*.jsonl or *.jsonl.gz in it")
        for item in inside:
            if not item.is_file():
                raise MeasurementError("is no file", file=str(item), expected="a file of measured times, or a folder")
            found.setdefault(item.resolve(), _Source(path=item, named=not path.is_dir()))
    if not found:
        raise MeasurementError("names no file", key="data", expected="files of measured times, or a folder")
    return tuple(found.values())


def _is_known(path: Path) -> bool:
    return (path.name.endswith(ENDINGS) and not is_foreign(path)) or published(path) is not None


def _load(source: _Source, skips: Skips) -> Iterator[_Found]:
    """What a file holds, by device. A file of a folder that no data set knows is counted; one that was named must be
    known."""
    path = source.path
    load = published(path)
    if not source.named and not _is_known(path):
        if path.name.endswith(TABLES):
            skips.add(f"file in no known form: *{''.join(path.suffixes[-2:])}")
        return
    if load is not None:
        parts = load(path)
    elif path.name.endswith(neusight.ENDINGS):
        parts = (neusight.load_neusight(path),)  # says which columns a CSV file lacks
    else:
        parts = (load_measured(path),)
    for measured in parts:
        yield _Found(path=path, named=source.named, measured=measured)


def _with_designs(
    files: Sequence[_Found], given: Design | None, skips: Skips
) -> tuple[list[_Found], dict[str, Design]]:
    """The files that can be replayed, and the design of each device; of a folder, the others are counted."""
    designs: dict[str, Design] = {}
    kept: list[_Found] = []
    for found in files:
        if found.device not in designs:
            if given is None and found.device not in DEVICES and not found.named:
                skips.add(f"no bundled design stands for '{found.device}'", len(found.measured.times))
                continue
            designs[found.device] = given or load_design(design_name(found.device, str(found.path)))
        kept.append(found)
    if not kept:
        design_name(files[0].device, str(files[0].path))
    return kept, designs


def measured_host(files: Iterable[Measured]) -> HostConstants | None:
    """The host's constants from the first of `files` that timed launches; None where none did."""
    constants = (host_constants(measured) for measured in files)
    return next((found for found in constants if found.launch_eager is not None), None)


def _clocks(clock: str | None) -> tuple[str, ...]:
    if clock is not None and clock not in CLOCKS:
        raise MeasurementError(f"'{clock}' is not a clock of a device", key="clock", expected=nearest(clock, CLOCKS))
    return CLOCKS if clock is None else (clock,)


def _groups(rows: Sequence[OperatorRow], key: Callable[[OperatorRow], tuple[str, str, str]]) -> tuple[Group, ...]:
    found: dict[tuple[str, str, str], list[Pair]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row.pair)
    return tuple(
        Group(device=device, suite=suite, name=name, accuracy=accuracy(pairs))
        for (device, suite, name), pairs in sorted(found.items())
    )


def _traffic(key: tuple[str, str, str], rows: Sequence[CounterRow]) -> Traffic:
    device, suite, cache = key
    reads = [
        Pair(predicted=row.predicted_read, measured=row.counted_read)
        for row in rows
        if row.predicted_read and row.counted_read
    ]
    both = [Pair(predicted=row.predicted, measured=row.counted) for row in rows if row.predicted and row.counted]
    return Traffic(
        device=device,
        suite=suite,
        cache=cache,
        n=len(rows),
        reads=accuracy(reads) if reads else None,
        both=accuracy(both) if both else None,
        predicted_read=sum(row.predicted_read for row in rows),
        counted_read=_sum(row.counted_read for row in rows),
        predicted_written=sum(row.predicted_written for row in rows),
        counted_written=_sum(row.counted_written for row in rows),
        predicted=sum(row.predicted for row in rows),
        counted=sum(row.counted for row in rows),
    )


def _sum(values: Iterable[int | None]) -> int | None:
    """The sum; None where one is not known."""
    known = list(values)
    return None if None in known else sum(value for value in known if value is not None)


def _group_dict(group: Group) -> dict[str, Any]:
    return {"device": group.device, "suite": group.suite, "class": group.name, **asdict(group.accuracy)}


_OPERATOR: Final = ("device", "design", "suite", "case", "dtype", "mode", "cache", "clock", "kernels", "launches")
_MODEL: Final = ("device", "design", "model", "mode", "fusion", "kernels", "launches", "measured_host", "stable")


def _operator_dict(row: OperatorRow) -> dict[str, Any]:
    return {
        **{name: attrgetter(name)(row) for name in _OPERATOR},
        "class": row.group,
        **_pair_dict(row.pair),
        "roofline_s": row.pair.roofline,
    }


def _model_dict(row: ModelRow) -> dict[str, Any]:
    return {
        **{name: attrgetter(name)(row) for name in _MODEL},
        "device_time": _pair_dict(row.device_time),
        "wall": _pair_dict(row.wall),
    }


def _speed_up_dict(row: SpeedUp) -> dict[str, Any]:
    pair = row.pair
    given = {name: getattr(row, name) for name in ("device", "suite", "case", "cache", "clock")}
    return {**given, "predicted": pair.predicted, "measured": pair.measured, "ratio": pair.ratio}


def _pair_dict(pair: Pair) -> dict[str, float]:
    return {"predicted_s": pair.predicted, "measured_s": pair.measured, "ratio": pair.ratio}
