"""Money and energy of designs and runs: pure functions of designs, times and prices. None of it ever changes a time."""

from __future__ import annotations

from hiersim.cost.fit import SramFit, sram_fit
from hiersim.cost.memory import device_memory_cost, energy, memory_cost
from hiersim.cost.work import Work, work_of
from hiersim.cost.worth import (
    Capital,
    RunCost,
    break_even_price,
    break_even_runs,
    capital,
    run_cost,
    stalled_usd_per_hour,
    usd_per_hour,
    usd_per_throughput,
    what_if_capital,
)

__all__ = [
    "Capital",
    "RunCost",
    "SramFit",
    "Work",
    "break_even_price",
    "break_even_runs",
    "capital",
    "device_memory_cost",
    "energy",
    "memory_cost",
    "run_cost",
    "sram_fit",
    "stalled_usd_per_hour",
    "usd_per_hour",
    "usd_per_throughput",
    "what_if_capital",
    "work_of",
]
