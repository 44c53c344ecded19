"""Constants that several devices share: fitted to all of them, and to all but one, which is then scored.

A constant of kernels (`constants.lookup`), or a value that designs of one kind take over from each other
(`compute.exchange`), is searched as one factor on what every design has. The search is that of `calibrate`: log ratios,
a soft L1 loss, bounds; what the data at hand does not tell keeps its value, and is named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from hiersim.calibration.fit import CalibrationError, Vector, confused, fit, jacobian, ranges, untold
from hiersim.calibration.observations import Observations
from hiersim.calibration.parameters import RATE_FACTOR, Parameter, fittable, value_of
from hiersim.errors import DesignError
from hiersim.model.design import Design
from hiersim.units import Factor, Share
from hiersim.validation.accuracy import Accuracy, Pair, accuracy

SHARED: Final = (
    "constants.dependent_load", "constants.wait_bytes", "constants.address", "constants.lookup",
    "constants.special_function", "constants.narrow_loads", "constants.prologue", "compute.exchange",
    "compute.start_up", "compute.window_set_up", "memory.l2.usable",
)  # fmt: skip
"""What was read off measurements once and stands in the designs of all GPUs (docs/fidelity.md, what is fitted)."""
ROUNDS: Final = 2
"""Points at which derivatives are taken, each for two replays of every row and factor; factors begin near what fits."""
UNSURE: Final = 2.0
"""High over low of a 95 % range above which the data does not tell a factor."""
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A measured device: the design that stands for it, and what was measured."""

    name: str
    design: Design
    observations: Observations

    @property
    def measured(self) -> Vector:
        """(n,) seconds."""
        return np.array([row.measured for row in self.observations.rows])


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """Factors on the values that designs share, as some devices tell them."""

    factors: Mapping[str, float]
    """Of every value; 1 where the data does not tell it."""
    between: Mapping[str, tuple[float, float]]
    """95 % ranges of those that were fitted."""
    left: Mapping[str, str]
    """Values that were not fitted → why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """One device, predicted with its own part in the fit and without it."""

    name: str
    n: int
    shipped: Accuracy
    """By the values that the designs have."""
    seen: Accuracy
    """By a fit to all devices."""
    unseen: Accuracy
    """By a fit to all others."""
    others: Shared
    """That fit."""

    @property
    def change(self) -> float:
        """What not having seen the device adds to its mean absolute error; 0.01 is a point."""
        return self.unseen.mape - self.seen.mape


@dataclass(slots=True)
class SharedProblem:
    """Devices and the paths of values that they share; each point is replayed once per device."""

    devices: Sequence[Device]
    paths: Sequence[str] = SHARED
    tell: Tell = field(default=lambda text: None)
    _known: dict[tuple[Any, ...], Vector] = field(default_factory=dict)
    _kinds: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Device → path → type of the value, as far as its design has it."""

    def __post_init__(self) -> None:
        for device in self.devices:
            device.observations.keep(device.design)
            if not device.observations.rows:
                raise CalibrationError(f"{device.name} has no rows that can be replayed", expected="other data")
            kinds = {parameter.path: parameter.kind for parameter in fittable(device.design)}
            self._kinds[device.name] = {path: kinds[path] for path in self.paths if path in kinds}
        if len(self._kinds) < len(self.devices):
            raise CalibrationError("two devices have one name", expected="one of each")
        for path in self.paths:
            if not any(path in kinds for kinds in self._kinds.values()):
                raise DesignError("is no value that can be fitted of any of these designs", key=path)

    def predicted(self, device: Device, factors: Mapping[str, float]) -> Vector:
        """(n,) seconds of the rows of a device."""
        changes = self.scaled(device, factors)
        key = (device.name, *sorted(changes.items()))
        if key not in self._known:
            self._known[key] = device.observations.predict(device.design.replace(changes) if changes else device.design)
        return self._known[key]

    def accuracy(self, device: Device, factors: Mapping[str, float]) -> Accuracy:
        """Errors of the rows of a device."""
        pairs = zip(self.predicted(device, factors).tolist(), device.measured.tolist(), strict=True)
        return accuracy([Pair(predicted=predicted, measured=measured) for predicted, measured in pairs])

    def fit(self, without: str = "", rounds: int = ROUNDS) -> Shared:
        """The factors that all devices tell, but the one called `without`.

        Each round takes the residuals as straight lines around the point of the last one, with derivatives by replay
        there. Values that nothing depends on, that another one cannot be told from, whose range ends at a bound of the
        search (then something else is wrong) or is wider than `UNSURE` are left as they are, the least sure one first.
        """
        devices = [device for device in self.devices if device.name != without]
        measured = np.concatenate([device.measured for device in devices])
        parameters = {path: self.parameter(path) for path in self.paths}
        low, point, high = (
            np.array(side) for side in zip(*(parameter.logs for parameter in parameters.values()), strict=True)
        )

        def residuals(logs: Vector) -> Vector:
            factors = dict(zip(self.paths, np.exp(logs).tolist(), strict=True))
            seconds = np.concatenate([self.predicted(device, factors) for device in devices])
            found: Vector = np.log(seconds / measured)
            return found

        shared = Shared(factors=dict.fromkeys(self.paths, 1.0), between={}, left={})
        for turn in range(rounds):
            here, matrix = residuals(point), jacobian(residuals, point, low, high)
            shared = self._straight(parameters, here, matrix, point)
            point = np.log(np.array([shared.factors[path] for path in self.paths]))
            of = f"{len(measured)} rows, without {without}" if without else f"{len(measured)} rows"
            self.tell(f"{of}, round {turn + 1}: {_said(shared)}")
        return shared

    def _straight(
        self, parameters: Mapping[str, Parameter], here: Vector, matrix: Vector, point: Vector
    ) -> Shared:  # fmt: skip
        """The fit where residuals are `here` + `matrix` x (logs - `point`)."""
        left = {self.paths[place]: "nothing depends on it" for place in untold(matrix)}
        kept = [place for place, path in enumerate(self.paths) if path not in left]
        while kept and (pair := confused(matrix[:, kept])):
            one, other = (kept[place] for place in pair)
            left[self.paths[other]] = f"cannot be told from {self.paths[one]}"
            kept.remove(other)
        while kept:
            own = [parameters[self.paths[place]] for place in kept]
            base = here - matrix @ point  # what is left out is at 0: its value as it is

            def line(logs: Vector, base: Vector = base, part: Vector = matrix[:, kept]) -> Vector:
                found: Vector = base + part @ logs
                return found

            found = fit(line, own, begin=point[kept])
            between = {parameter.path: pair for parameter, pair in zip(own, ranges(found, own), strict=True)}
            widest = max(between, key=lambda path: (_is_open(between[path], parameters[path]), _width(between[path])))
            low, high = between[widest]
            if high <= UNSURE * low and not _is_open(between[widest], parameters[widest]):
                values = dict(zip(between, np.exp(found.logs).tolist(), strict=True))
                return Shared(factors={path: values.get(path, 1.0) for path in self.paths}, between=between, left=left)
            left[widest] = f"hardly told: {low:.2g} to {high:.2g} times its value"
            kept.remove(self.paths.index(widest))
        return Shared(factors=dict.fromkeys(self.paths, 1.0), between={}, left=left)

    def parameter(self, path: str) -> Parameter:
        """The factor on the value at `path`: within `RATE_FACTOR`, and no further than every share is 1."""
        shares = [
            value_of(device.design, path)
            for device in self.devices
            if self._kinds[device.name].get(path) is Share
        ]  # fmt: skip
        high = max(1.01, min(RATE_FACTOR, 1 / min(shares))) if shares else RATE_FACTOR
        return Parameter(path=path, kind=Factor, start=1.0, low=1 / RATE_FACTOR, high=high)

    def scaled(self, device: Device, factors: Mapping[str, float]) -> dict[str, Any]:
        """The changes of a design whose values are multiplied, as far as it has them; a share is 1 at most."""
        changes: dict[str, Any] = {}
        for path, kind in self._kinds[device.name].items():
            new = float(f"{value_of(device.design, path) * factors.get(path, 1.0):.6g}")
            if new != value_of(device.design, path):
                changes[path] = min(1.0, new) if kind is Share else new if kind is Factor else max(1, round(new))
        return changes


def leave_one_out(problem: SharedProblem, rounds: int = ROUNDS) -> tuple[Shared, tuple[LeftOut, ...]]:
    """The fit to all devices, and each device by a fit to the others."""
    everything = problem.fit(rounds=rounds)
    rows = []
    for device in problem.devices:
        others = problem.fit(device.name, rounds)
        rows.append(
            LeftOut(
                name=device.name, n=len(device.measured), shipped=problem.accuracy(device, {}),
                seen=problem.accuracy(device, everything.factors), unseen=problem.accuracy(device, others.factors),
                others=others,
            )
        )  # fmt: skip
    return everything, tuple(rows)


def _width(between: tuple[float, float]) -> float:
    return between[1] / between[0]


def _is_open(between: tuple[float, float], parameter: Parameter) -> bool:
    """Whether a range ends at a bound of the search: the data itself sets no limit there."""
    return between[0] <= parameter.low or between[1] >= parameter.high


def _said(shared: Shared) -> str:
    return ", ".join(f"{path.rpartition('.')[2]} x {shared.factors[path]:.3g}" for path in shared.between)
