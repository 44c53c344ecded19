"""Least squares of log ratios over logarithms of parameters: the fit, what the data tells of it, and how sure it is.

A residual is ln(predicted / measured), so that too slow and too fast weigh alike, and a soft L1 loss keeps single
rows that nothing explains from deciding. Derivatives are differences over `STEP`: predictions have small steps of
their own (tile shapes, waves), which shorter differences would follow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hiersim.calibration.parameters import Parameter, telling
from hiersim.errors import HiersimError, MissingExtraError

Vector = npt.NDArray[np.float64]
Residuals = Callable[[Vector], Vector]
"""(p,) logarithms of the parameters → (n,) residuals."""
STEP: Final = 0.02
"""Difference of a logarithm: 2 %."""
SCALE: Final = 0.1
"""Residuals up to about 10 % count as squares, larger ones linearly."""
UNTOLD: Final = 2e-3
"""Root mean square of a column of the Jacobian below which the data does not tell a parameter: 1 % of it moves the
rows by less than 20 parts in a million."""
ALIKE: Final = 0.99
"""Cosine of two columns above which two parameters move the same rows in the same way."""
MARGIN: Final = 0.05
"""A search begins so far inside the bounds: at a bound its first steps would be tiny."""
CERTAIN: Final = 0.95
EVALUATIONS: Final = 25
SCAN: Final = 13
GAIN: Final = 0.002
"""A scanned value is taken where it lowers the loss by more: one row that is off by 5 %."""


class CalibrationError(HiersimError):
    """A fit that the data does not allow: a sound input that cannot be carried out."""

    exit_code = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """The outcome of one fit."""

    logs: Vector
    """(p,) logarithms of the fitted values."""
    jacobian: Vector
    """(n, p) at them."""
    residuals: Vector
    """(n,) at them."""


def fit(residuals: Residuals, parameters: Sequence[Parameter], rows: Any = None, begin: Vector | None = None) -> Fitted:
    """The parameters that explain the rows best.

    Parameters
    ----------
    begin : (p,) logarithms, optional
        Where the search begins; default: the design's values.
    rows : (m,) indices, optional
        Only these rows count; default: all.

    Raises
    ------
    MissingExtraError
        Without SciPy.
    """
    optimize = _scipy().optimize
    low, start, high = (np.array(side) for side in zip(*(parameter.logs for parameter in parameters), strict=True))
    inside = np.minimum(MARGIN, (high - low) / 10)
    start = np.clip(start if begin is None else begin, low + inside, high - inside)
    taken = slice(None) if rows is None else rows
    found = optimize.least_squares(
        lambda logs: residuals(logs)[taken], start,
        jac=lambda logs: jacobian(residuals, logs, low, high)[taken], bounds=(low, high), loss="soft_l1",
        f_scale=SCALE, xtol=1e-4, ftol=1e-5, gtol=1e-6, max_nfev=EVALUATIONS,
    )  # fmt: skip
    logs = np.asarray(found.x, np.float64)
    return Fitted(logs=logs, jacobian=jacobian(residuals, logs, low, high), residuals=residuals(logs))


def cost(residuals: Vector) -> float:
    """What a search makes small: the soft L1 loss of the residuals, added up."""
    return float(np.sum(2 * SCALE**2 * (np.sqrt(1 + (residuals / SCALE) ** 2) - 1)))


def beginning(residuals: Residuals, parameters: Sequence[Parameter]) -> Vector:
    """Logarithms to begin a search at: the design's values, but where those move nothing.

    A launch that hides behind the device has no derivative, however far off it is. Where a value at a bound of its
    search moves the rows, `SCAN` points between the bounds are tried, and the best is taken if it is better.
    """
    low, start, high = (np.array(side) for side in zip(*(parameter.logs for parameter in parameters), strict=True))
    here, logs = residuals(start), start.copy()
    for place in untold(jacobian(residuals, start, low, high)):

        def at(value: float, place: int = place) -> Vector:
            point = logs.copy()
            point[place] = value
            return residuals(point)

        ends = (at(float(low[place])), at(float(high[place])))
        if max(float(np.abs(end - here).max()) for end in ends) < UNTOLD:
            continue
        points = np.linspace(low[place], high[place], SCAN).tolist()
        best = min(points, key=lambda point: cost(at(point)))
        if cost(at(best)) < cost(residuals(logs)) - GAIN:
            logs[place] = best
    return logs


def jacobian(residuals: Residuals, logs: Vector, low: Vector, high: Vector) -> Vector:
    """(n, p) differences of the residuals over `STEP` each way, inside the bounds."""
    columns = []
    for place in range(len(logs)):
        ends = []
        for step in (-STEP, STEP):
            end = logs.copy()
            end[place] = min(max(end[place] + step, low[place]), high[place])
            ends.append(end)
        width = float(ends[1][place] - ends[0][place])
        columns.append((residuals(ends[1]) - residuals(ends[0])) / width)
    return np.stack(columns, axis=1)


def untold(matrix: Vector) -> list[int]:
    """Columns that the rows do not depend on."""
    size = np.sqrt(np.mean(matrix**2, axis=0))
    return [place for place in range(matrix.shape[1]) if size[place] < UNTOLD]


def confused(matrix: Vector) -> tuple[int, int] | None:
    """Two columns that move the same rows in the same way; the pair that is most alike."""
    length = np.sqrt(np.sum(matrix**2, axis=0))
    cosines = np.abs(matrix.T @ matrix) / np.outer(length, length)
    pairs = [(cosines[a, b], a, b) for a in range(len(length)) for b in range(a)]
    if not pairs or max(pairs)[0] < ALIKE:
        return None
    _, later, earlier = max(pairs)
    return int(earlier), int(later)


def refuse_untold(parameters: Sequence[Parameter], matrix: Vector) -> None:
    """Refuse what the data does not tell.

    Raises
    ------
    CalibrationError
        Naming the parameter, or the two that cannot be told apart, and the measurements that would tell.
    """
    for place in untold(matrix):
        path = parameters[place].path
        raise CalibrationError("nothing in the data depends on it", key=path, expected=telling(path))
    pair = confused(matrix)
    if pair is not None:
        one, other = (parameters[place].path for place in pair)
        raise CalibrationError(
            f"the data cannot tell it from {one}: both move the same rows alike", key=other,
            expected=f"only one of them, or also {telling(other)}; {telling(one)}",
        )  # fmt: skip


def ranges(found: Fitted, parameters: Sequence[Parameter]) -> list[tuple[float, float]]:
    """The 95 % range of each value, by the Jacobian: a sandwich of weighted squares, with Student's t.

    Rows count as independent of each other; where they are not, the range is too narrow.
    """
    n, p = found.jacobian.shape
    weight = 1 / np.sqrt(1 + (found.residuals / SCALE) ** 2)  # derivative of soft L1
    bread = np.linalg.pinv(found.jacobian.T @ (weight[:, None] * found.jacobian))
    scores = found.jacobian * (weight * found.residuals)[:, None]
    spread = np.sqrt(np.maximum(np.diag(bread @ (scores.T @ scores) @ bread), 0) * n / max(1, n - p))
    factor = float(_scipy().stats.t.ppf((1 + CERTAIN) / 2, max(1, n - p)))
    return [
        (
            max(parameter.low, math.exp(log - factor * wide)) if wide < 50 else parameter.low,
            min(parameter.high, math.exp(log + factor * wide)) if wide < 50 else parameter.high,
        )
        for parameter, log, wide in zip(parameters, found.logs.tolist(), spread.tolist(), strict=True)
    ]


def _scipy() -> Any:
    try:
        import scipy
        import scipy.optimize
        import scipy.stats
    except ImportError:
        raise MissingExtraError("hiersim calibrate", "SciPy", "calibrate") from None
    return scipy
