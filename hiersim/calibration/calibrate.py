"""`calibrate`: a design and measured times in, the design whose parameters explain them out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np

from hiersim.calibration.fit import (
    CalibrationError,
    Fitted,
    Vector,
    beginning,
    confused,
    fit,
    jacobian,
    ranges,
    refuse_untold,
)
from hiersim.calibration.fit import untold as untold_columns
from hiersim.calibration.observations import QUANTILES, Observations, observe, observe_profile
from hiersim.calibration.parameters import Parameter, chosen, defaults, telling, value_of
from hiersim.config.load import load_design
from hiersim.errors import MeasurementError
from hiersim.frontends.load import load_trace
from hiersim.frontends.measured import load_measured
from hiersim.frontends.published.recognize import published
from hiersim.model.design import Design
from hiersim.model.trace import Trace
from hiersim.validation.accuracy import Accuracy, Pair, accuracy
from hiersim.validation.devices import DEVICES
from hiersim.validation.model_traces import ModelTraces
from hiersim.validation.protocol import REPLAYED_CACHES
from hiersim.validation.sample import sampled
from hiersim.version import __version__

SAMPLE: Final = 20
"""Cases of each class that are fitted to, unless told otherwise."""
FOLDS: Final = 5
GROUPS: Final = ("row", "class")
WIDE: Final = 1.5
"""High over low of a 95 % range above which the data hardly tells a value."""
FEW: Final = 2.0
"""Rows that tell a value below which its range is no measure of anything."""
EDGE: Final = 0.01
"""A fitted value this near to a bound, as a logarithm, is at it."""
MARK: Final = "-calibrated"
"""Ends the name of a fitted design."""
Path_ = str | os.PathLike[str]
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedParameter:
    """One value, in its base unit."""

    path: str
    before: float
    after: float
    low: float
    """Of the 95 % range."""
    high: float
    at_bound: bool
    told_by: float
    """Rows that tell it, each by its part in that: 1 where a single row does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassErrors:
    """Errors of one class of rows."""

    name: str
    before: Accuracy
    after: Accuracy
    held_out: Accuracy | None
    """By fits that had not seen the row; None without folds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A fitted design, and what there is to know of the fit."""

    base: Design
    design: Design
    """With the fitted values, and where they are from in its sources."""
    files: tuple[str, ...]
    digests: tuple[str, ...]
    """SHA-256 of the files."""
    dates: tuple[str, ...]
    """When they were measured."""
    device: str
    parameters: tuple[FittedParameter, ...]
    classes: tuple[ClassErrors, ...]
    """Of each class, and last of all rows."""
    left: Mapping[str, str]
    """Parameters of the default set that were not fitted → why."""
    skipped: Mapping[str, int]
    warnings: tuple[str, ...]
    folds: int
    group: str
    """What is held out together: `row` or `class`."""

    @property
    def total(self) -> ClassErrors:
        """Of all rows."""
        return self.classes[-1]

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, keys as in the glossary."""
        return {
            "version": __version__,
            "design": self.base.name,
            "device": self.device,
            "files": list(self.files),
            "inputs_sha256": list(self.digests),
            "measured_on": list(self.dates),
            "parameters": [asdict(row) for row in self.parameters],
            "rows": [
                {
                    "class": row.name, "n": row.after.n, "before": asdict(row.before), "after": asdict(row.after),
                    "held_out": None if row.held_out is None else asdict(row.held_out),
                }
                for row in self.classes
            ],
            "folds": self.folds,
            "group": self.group,
            "left": [{"parameter": path, "reason": why} for path, why in self.left.items()],
            "skipped": [{"reason": reason, "n": count} for reason, count in self.skipped.items()],
            "warnings": list(self.warnings),
        }  # fmt: skip

    def to_json(self) -> str:
        """The JSON form as text; the same inputs give the same bytes."""
        return json.dumps(self.to_dict(), sort_keys=True, indent=1, allow_nan=False)


def calibrate(
    design: Design | str,
    measured: Path_ | Trace | Iterable[Path_ | Trace],
    *,
    fit: Sequence[str] | None = None,
    traces: Iterable[Path_ | Trace] = (),
    match: str = "",
    take: str = "median",
    cache: str | None = None,
    sample: int | None = SAMPLE,
    folds: int = FOLDS,
    group: str = "row",
    tell: Tell | None = None,
) -> Calibration:
    """Fit parameters of a design to measured times.

    Parameters
    ----------
    design : Design or str
        Where the search begins, and what stays where nothing is fitted.
    measured : path, trace, or several
        Files of `hiersim measure` or of a published data set, or traces that carry a profile's times.
    fit : sequence of str, optional
        Paths of values (`memory.hbm.efficiency`) or tables (`host`); default: what the data tells of a usual set.
    traces : paths or traces
        Of measured models that are not bundled; a trace's name is the target that was measured.
    match : str
        Only cases whose name contains it.
    take : str
        The quantile of its samples that stands for a time: `median`, `p25`, `p10` or `min`.
    cache : str, optional
        Only operators that began with the cache `warm`, or `cold`.
    sample : int, optional
        Cases of each class at most; None: all.
    folds : int
        Parts for cross-validation; below 2: none.
    group : str
        What a part holds: `row` (whole cases) or `class` (all cases of a kind).
    tell : callable, optional
        Told what is done.

    Raises
    ------
    CalibrationError
        The data does not tell a named parameter, or not two of them apart, or there are too few rows.
    MeasurementError, DesignError, TraceError
        Input that cannot be read.
    MissingExtraError
        Without SciPy.
    """
    say = tell or (lambda text: None)
    base = load_design(design) if isinstance(design, str) else design
    if group not in GROUPS:
        raise MeasurementError(f"'{group}' is no way to hold out rows", key="group", expected=" or ".join(GROUPS))
    if take not in QUANTILES:
        raise MeasurementError(f"'{take}' is no quantile", key="take", expected=" or ".join(QUANTILES))
    if cache not in (None, *REPLAYED_CACHES):
        raise MeasurementError(f"'{cache}' is no state of a cache", key="cache", expected=" or ".join(REPLAYED_CACHES))
    data = _Data(observations=Observations(), files=[], digests=[], dates=[], devices=[])
    data.read(measured, traces, _Which(match=match, take=take, cache=cache, sample=sample))
    data.observations.keep(base)
    parameters = defaults(base) if fit is None else chosen(base, fit)
    problem = _Problem(base, data.observations, parameters)
    begin = beginning(problem.residuals, parameters)
    left = problem.told(begin, strict=fit is not None)
    while True:
        kept = [place for place, parameter in enumerate(problem.parameters) if parameter.path not in left]
        problem, begin = _Problem(base, data.observations, [problem.parameters[place] for place in kept]), begin[kept]
        say(f"{len(problem.measured)} rows, {len(kept)} parameters")
        found = problem.fit(begin=begin)
        more = problem.untold(found.jacobian, strict=fit is not None)  # a fitted launch may hide behind the device
        if not more:
            break
        left |= more
    parts = min(folds, len(problem.families(group)))
    held = problem.held_out(found.logs, parts, group, say)
    return _result(base, data, problem, found, held, left, (0 if held is None else parts, group))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Which:
    """Which measurements count, and what of them."""

    match: str
    take: str
    cache: str | None
    sample: int | None


@dataclass(slots=True, kw_only=True)
class _Data:
    observations: Observations
    files: list[str]
    digests: list[str]
    dates: list[str]
    devices: list[str]

    def read(
        self, measured: Path_ | Trace | Iterable[Path_ | Trace], traces: Iterable[Path_ | Trace], which: _Which
    ) -> None:
        """Read all that is given."""
        given = [measured] if isinstance(measured, str | os.PathLike | Trace) else list(measured)
        known = ModelTraces(traces)
        for item in given:
            if isinstance(item, Trace) or str(item).endswith(".npz"):
                self._profile(item)
            else:
                self._rows(Path(item), known, which)
        if not self.observations.rows:
            raise MeasurementError("holds no rows that can be replayed", file=", ".join(self.files))

    def _profile(self, item: Path_ | Trace) -> None:
        trace = item if isinstance(item, Trace) else load_trace(str(item))
        found = observe_profile(trace)
        assert trace.measured is not None
        self._take(found)
        self.files.append(trace.name if isinstance(item, Trace) else Path(item).name)
        self.digests.append("" if isinstance(item, Trace) else _digest(Path(item)))
        self.devices.append(trace.measured.device)

    def _rows(self, path: Path, traces: ModelTraces, which: _Which) -> None:
        load = published(path)
        for measured in load(path) if load else (load_measured(path),):
            part = measured if which.sample is None else sampled(measured, which.sample, which.match)
            self._take(observe(part, traces, which.match, which.take, which.cache))
            self.dates.append(measured.header.date)
            self.devices.append(str(measured.header.device.get("name", "")))
        self.files.append(path.name)
        self.digests.append(_digest(path))

    def _take(self, found: Observations) -> None:
        self.observations.rows += found.rows
        self.observations.parts += found.parts
        for reason, count in found.skips.counts.items():
            self.observations.skips.add(reason, count)


class _Problem:
    """Residuals of the rows over the logarithms of the parameters; each point is replayed once."""

    def __init__(self, base: Design, observations: Observations, parameters: Sequence[Parameter]) -> None:
        self.base, self.observations, self.parameters = base, observations, tuple(parameters)
        self.measured = np.array([row.measured for row in observations.rows])
        self._known: dict[tuple[Any, ...], Vector] = {}
        if len(self.measured) <= len(self.parameters):
            raise CalibrationError(
                f"{len(self.measured)} rows are too few for {len(self.parameters)} parameters",
                expected="more rows than parameters",
            )

    def changes(self, logs: Vector) -> dict[str, Any]:
        """The values at a point, as they would be written."""
        values = np.exp(logs).tolist()
        return {
            parameter.path: parameter.change(value) for parameter, value in zip(self.parameters, values, strict=True)
        }

    def predicted(self, changes: Mapping[str, Any]) -> Vector:
        """(n,) seconds by the design with these changes."""
        key = tuple(changes.values())
        if key not in self._known:
            self._known[key] = self.observations.predict(self.base.replace(changes) if changes else self.base)
        return self._known[key]

    def residuals(self, logs: Vector) -> Vector:
        """(n,) ln(predicted / measured)."""
        found: Vector = np.log(self.predicted(self.changes(logs)) / self.measured)
        return found

    def told(self, begin: Vector, strict: bool) -> dict[str, str]:
        """Why parameters are left as they are, since the data at `begin` does not tell them; `strict` refuses."""
        low, _, high = (np.array(side) for side in zip(*(item.logs for item in self.parameters), strict=True))
        return self.untold(jacobian(self.residuals, begin, low, high), strict)

    def untold(self, matrix: Vector, strict: bool) -> dict[str, str]:
        """The same of a Jacobian, (n, p)."""
        if strict:
            refuse_untold(self.parameters, matrix)
            return {}
        left = {self.parameters[place].path: "nothing in the data depends on it" for place in untold_columns(matrix)}
        kept = [place for place in range(len(self.parameters)) if self.parameters[place].path not in left]
        while kept and (pair := confused(matrix[:, kept])):
            one, other = (kept[place] for place in pair)
            left[self.parameters[other].path] = f"the data cannot tell it from {self.parameters[one].path}"
            kept.remove(other)
        if not kept:
            raise CalibrationError("the data tells none of the usual parameters", expected="--fit PATH, or other data")
        return left

    def fit(self, rows: Any = None, begin: Vector | None = None) -> Fitted:
        """The fit to all rows, or to some."""
        return fit(self.residuals, self.parameters, rows, begin)

    def families(self, group: str) -> list[str]:
        """What is held out together, in the order of a hash that depends on names alone."""
        names = {row.group if group == "class" else row.family for row in self.observations.rows}
        return sorted(names, key=lambda name: sha256(f"hiersim fold {name}".encode()).digest())

    def held_out(self, begin: Vector, folds: int, group: str, say: Tell) -> Vector | None:
        """(n,) seconds of each row by a fit that had not seen its part; None without parts.

        The searches begin at the fit to all rows, where every derivative is known: only where they end counts.
        """
        if folds < 2:
            return None
        place = {name: index % folds for index, name in enumerate(self.families(group))}
        part = np.array(
            [place[row.group if group == "class" else row.family] for row in self.observations.rows], np.int64
        )
        seconds = np.empty(len(part))
        for fold in range(folds):
            say(f"cross-validation: part {fold + 1} of {folds}")
            own = self.fit(np.flatnonzero(part != fold), begin)
            seconds[part == fold] = self.predicted(self.changes(own.logs))[part == fold]
        return seconds


def _result(
    base: Design, data: _Data, problem: _Problem, found: Fitted, held: Vector | None, left: Mapping[str, str],
    parts: tuple[int, str],
) -> Calibration:  # fmt: skip
    changes = problem.changes(found.logs)
    classes = tuple(_classes(problem, problem.observations.predict(base), problem.predicted(changes), held))
    parameters = tuple(_parameters(base, problem.parameters, found, changes))
    return Calibration(
        base=base,
        design=base.replace(changes),
        files=tuple(data.files),
        digests=tuple(data.digests),
        dates=tuple(dict.fromkeys(data.dates)),
        device=", ".join(dict.fromkeys(filter(None, data.devices))),
        parameters=parameters,
        classes=classes,
        left=dict(left),
        skipped=dict(sorted(data.observations.skips.counts.items())),
        warnings=(*_of_devices(base, data.devices), *_warnings(parameters, classes[-1])),
        folds=parts[0],
        group=parts[1],
    )


def _parameters(
    base: Design, parameters: Sequence[Parameter], found: Fitted, changes: Mapping[str, Any]
) -> Iterable[FittedParameter]:
    between, squares = ranges(found, parameters), found.jacobian**2
    rows = (squares.sum(axis=0) ** 2 / (squares**2).sum(axis=0)).tolist()
    for parameter, log, (low, high), told in zip(parameters, found.logs.tolist(), between, rows, strict=True):
        yield FittedParameter(
            path=parameter.path,
            before=float(value_of(base, parameter.path)),
            after=float(changes[parameter.path]),
            low=low,
            high=high,
            at_bound=min(abs(log - parameter.logs[0]), abs(log - parameter.logs[2])) < EDGE,
            told_by=float(f"{told:.4g}"),
        )


def _classes(problem: _Problem, before: Vector, after: Vector, held: Vector | None) -> Iterable[ClassErrors]:
    names = np.array([row.group for row in problem.observations.rows])
    everything = np.ones(len(names), bool)

    def errors(seconds: Vector, rows: Any) -> Accuracy:
        pairs = zip(seconds[rows].tolist(), problem.measured[rows].tolist(), strict=True)
        return accuracy([Pair(predicted=predicted, measured=measured) for predicted, measured in pairs])

    for name in (*sorted(set(names.tolist())), "all"):
        rows = everything if name == "all" else names == name
        yield ClassErrors(
            name=name, before=errors(before, rows), after=errors(after, rows),
            held_out=None if held is None else errors(held, rows),
        )  # fmt: skip


def _of_devices(base: Design, devices: Sequence[str]) -> Iterable[str]:
    """Data of several devices, or of one that another bundled design stands for."""
    names = list(dict.fromkeys(filter(None, devices)))
    if len(names) > 1:
        yield f"measured on several devices, which one design is fitted to: {', '.join(names)}"
    for name in names:
        known = DEVICES.get(name)
        if known is not None and known != base.name.removesuffix(MARK):
            yield f"measured on {name}, which the bundled design {known} stands for, not {base.name}"


def _warnings(parameters: Sequence[FittedParameter], total: ClassErrors) -> Iterable[str]:
    for row in parameters:
        if row.at_bound:
            yield f"{row.path} is at its bound: something else than its value may be wrong"
        elif row.told_by < FEW:
            yield f"{row.path} is told by {row.told_by:.1f} rows: its range says nothing of how sure it is"
        elif row.high > WIDE * row.low:
            yield f"{row.path} is hardly told by this data, which would need {telling(row.path)}"
    if total.held_out is not None and total.held_out.mape > total.before.mape:
        yield "held-out rows are predicted worse than by the design as it was: too many parameters for this data"


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()
