"""What a run costs, as its result shows it: capital, an hour, a run, a throughput; and its SRAM beside silicon."""

from __future__ import annotations

from typing import Any, Final

from hiersim.config.prices import load_prices
from hiersim.cost import capital, run_cost, sram_fit, stalled_usd_per_hour, usd_per_hour, usd_per_throughput, work_of
from hiersim.model.design import Design
from hiersim.model.trace import Trace

FIGURES: Final = ("usd_per_hour", "stalled_usd_per_hour", "usd_per_run", "energy_usd_per_run", "usd_per_throughput")


def bill(design: Design, trace: Trace, time_s: float, stall_fraction: float, joules: float | None) -> dict[str, Any]:
    """Capital, what it is a price of, and what follows from it for one run.

    Parameters
    ----------
    design, trace : Design, Trace
        The machine, and what it ran.
    time_s, stall_fraction : float
        The makespan in seconds, and the share of it in which the cores wait.
    joules : float, optional
        Energy of the run.
    """
    book, price, work = load_prices(), capital(design), work_of(trace)
    years = book.lifetime.value
    given: dict[str, Any] = {"items": work.items, "item_unit": work.unit, "lifetime_years": years}
    if price is None:
        return {"capital_usd": None, "basis": None, **given, **dict.fromkeys(FIGURES)}
    spent = run_cost(price.usd, time_s, joules, book)
    figures = (
        usd_per_hour(price.usd, years),
        stalled_usd_per_hour(price.usd, years, stall_fraction),
        spent.usd,
        spent.energy_usd,
        usd_per_throughput(price.usd, time_s, work.items),
    )
    return {"capital_usd": price.usd, "basis": price.basis, **given, **dict(zip(FIGURES, figures, strict=True))}


def silicon(design: Design) -> dict[str, Any] | None:
    """SRAM of the design beside its silicon; None where the node is unknown."""
    fit = None if design.device.process is None else sram_fit(design, load_prices())
    if fit is None:
        return None
    return {
        "process": fit.process,
        "sram_bytes": fit.sram_bytes,
        "sram_mm2": fit.sram_mm2,
        "silicon_mm2": fit.silicon_mm2,
        "sram_share": fit.share,
    }


def silicon_warnings(design: Design) -> list[str]:
    """What of a design cannot be made as it says."""
    fit = None if design.device.process is None else sram_fit(design, load_prices())
    return [] if fit is None else list(fit.warnings())
