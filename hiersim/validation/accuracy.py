"""The arithmetic of an error table: pairs of a prediction and a measurement, and what describes many of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import geometric_mean, median
from typing import Final

import numpy as np

TAIL: Final = 90
"""Percentile of |error| that stands for the tail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A prediction and a measurement of the same quantity, both above 0 and in the same unit."""

    predicted: float
    measured: float
    roofline: float | None = None
    """The plain roofline's prediction, where there is one."""

    @property
    def ratio(self) -> float:
        """Predicted ÷ measured."""
        return self.predicted / self.measured

    @property
    def error(self) -> float:
        """|predicted ÷ measured - 1|."""
        return abs(self.ratio - 1)

    @property
    def factor(self) -> float:
        """How many times too large or too small, >= 1: unlike `error`, it weighs both sides alike."""
        return max(self.ratio, 1 / self.ratio)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """What describes the errors of `n` pairs; errors and ratios are plain numbers (0.1 is 10 %)."""

    n: int
    mape: float
    """Mean of |predicted ÷ measured - 1|."""
    median: float
    """Median of predicted ÷ measured."""
    geo: float
    """Geometric mean of predicted ÷ measured."""
    p90: float
    """90th percentile of |predicted ÷ measured - 1|, interpolated between ranks."""
    median_error: float
    """Median of |predicted ÷ measured - 1|."""
    roofline_mape: float | None
    """`mape` of the plain roofline on the same pairs; None unless every pair has one."""


def accuracy(pairs: Sequence[Pair]) -> Accuracy:
    """Describe at least one pair.

    Raises
    ------
    ValueError
        No pairs, or a value that is not above 0.
    """
    if not pairs or not all(pair.predicted > 0 and pair.measured > 0 for pair in pairs):
        raise ValueError("needs at least one pair of values above 0")
    ratios, errors = [pair.ratio for pair in pairs], [pair.error for pair in pairs]
    plain = [abs(pair.roofline / pair.measured - 1) for pair in pairs if pair.roofline is not None]
    return Accuracy(
        n=len(pairs),
        mape=_mean(errors),
        median=median(ratios),
        geo=geometric_mean(ratios),
        p90=float(np.percentile(errors, TAIL)),
        median_error=median(errors),
        roofline_mape=_mean(plain) if len(plain) == len(pairs) else None,
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
