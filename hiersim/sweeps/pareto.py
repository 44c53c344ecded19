"""The Pareto front: the points that no other point beats in every objective."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def pareto_front(values: npt.ArrayLike, better: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Which rows are on the Pareto front.

    A row dominates another when it is nowhere worse and somewhere better. Rows that are equal do not dominate each
    other; a row with NaN has no place in any order and is never on the front.

    Parameters
    ----------
    values : (N, M) array of numbers
        N points, M objectives.
    better : sequence of M texts
        `lower` or `higher`, for each objective.

    Returns
    -------
    (N,) array of bool
        True on the front.

    Examples
    --------
    >>> pareto_front([[1, 9], [2, 5], [3, 7], [4, 1]], ["lower", "lower"]).tolist()
    [True, True, False, True]
    """
    points = np.array(values, np.float64, ndmin=2)
    if points.shape[1] != len(better) or not set(better) <= {"lower", "higher"}:
        raise ValueError(f"{points.shape[1]} objectives, directions {list(better)}")
    points = points * np.array([1.0 if way == "lower" else -1.0 for way in better]) + 0.0  # -0.0 is 0.0
    front = np.zeros(len(points), np.bool_)
    rows = np.flatnonzero(~np.isnan(points).any(axis=1))
    distinct, which = np.unique(points[rows], axis=0, return_inverse=True)  # sorted: no row is beaten by a later one
    front[rows] = _of_sorted(distinct)[which.reshape(-1)]
    return front


def _of_sorted(points: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """The front of distinct rows in lexicographic order, in which only earlier rows can beat a row."""
    front = np.zeros(len(points), np.bool_)
    if points.shape[1] <= 2:  # a row is on the front when it beats the best second objective so far
        best = np.minimum.accumulate(points[:, -1]) if len(points) else points[:, -1]
        front[:1] = True
        front[1:] = best[1:] < best[:-1]
        return front if points.shape[1] == 2 else np.arange(len(points)) == 0
    kept = np.empty_like(points)
    count = 0
    for row, point in enumerate(points):
        if not bool((kept[:count] <= point).all(axis=1).any()):
            kept[count], front[row] = point, True
            count += 1
    return front
