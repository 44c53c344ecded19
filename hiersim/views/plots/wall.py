"""`plot_memory_wall`: arithmetic and bandwidth of devices by year."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hiersim.model.design import Design
from hiersim.model.operators import DType
from hiersim.units import UNLIMITED
from hiersim.views.palette import HBM, HOST
from hiersim.views.plots.style import Drawing, drawing, plainer

DTYPES = (DType.BF16, DType.FP16, DType.FP32)
"""The first that a device has is what it is judged by."""


def peak_of(design: Design) -> int | None:
    """Dense FLOP/s of the matrix unit, or of the vector unit where there is none; None where no such dtype is known."""
    unit = design.compute.matrix or design.compute.vector
    rates = [int(unit.peak[dtype]) for dtype in DTYPES if unit.peak.get(dtype, UNLIMITED) < UNLIMITED]
    return rates[0] if rates else None


def bandwidth_of(design: Design) -> int | None:
    """Bytes per second of the last tier that kernels address."""
    rate = int(design.home.bandwidth or design.home.read_bandwidth or UNLIMITED)
    return rate if rate < UNLIMITED else None


def plot_memory_wall(designs: Sequence[Design] | None = None, ax: Any = None) -> Drawing:
    """Peak FLOP/s and bandwidth of the last tier by year, each relative to the earliest device, with their trends.

    Parameters
    ----------
    designs : sequence of Design, optional
        Default: the bundled ones. Those without a year, a peak or a bandwidth are left out.
    ax : matplotlib axes, optional
        Where to draw.

    Returns
    -------
    tuple
        Figure and axes. A trend is a straight line through logarithms, least squares; its growth is for two years.

    Raises
    ------
    MissingExtraError
        Without matplotlib.
    """
    fig, ax = drawing(ax, "plot_memory_wall", (8.5, 5.0))
    found = [
        (int(design.device.year), design.name, float(peak), float(rate))
        for design in (_bundled() if designs is None else designs)
        if design.device.year is not None
        and (peak := peak_of(design)) is not None
        and (rate := bandwidth_of(design)) is not None
    ]
    found.sort()
    years = np.array([row[0] for row in found], float)
    for column, name, colour, marker in ((2, "peak FLOP/s", HOST, "o"), (3, "bandwidth", HBM, "s")):
        values = np.array([row[column] for row in found]) / found[0][column] if found else np.zeros(0)
        label = name
        if len(set(years.tolist())) > 1:
            slope, start = np.polyfit(years - years[0], np.log(values), 1)
            span = np.array([years[0], years[-1]])
            ax.plot(span, np.exp(start + slope * (span - years[0])), color=colour, linewidth=1.5)
            label = f"{name}: {np.exp(2 * slope):.2f} x in two years"
        ax.scatter(years, values, color=colour, marker=marker, label=label, zorder=3)
    for year, called, height, _ in found:
        ax.annotate(called, (year, height / found[0][2]), (4, 4), textcoords="offset points", fontsize="xx-small")
    ax.set_yscale("log")
    ax.set_xlabel("year")
    ax.set_ylabel(f"relative to {found[0][1]}" if found else "relative")
    ax.set_title("Arithmetic and bandwidth by year")
    plainer(ax)
    ax.legend(fontsize="small")
    return fig, ax


def _bundled() -> list[Design]:
    """Designs of devices: those that were made up for a study are left out."""
    from hiersim import bundled
    from hiersim.config.load import load_design

    found = [load_design(name) for name in bundled.designs()]
    return [design for design in found if not design.name.startswith(("memory-wall", "what-if", "tiny"))]
