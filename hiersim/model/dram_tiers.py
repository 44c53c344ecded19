"""What a tier with a DRAM preset achieves: its datasheet bandwidth as so many channels of the preset."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from hiersim.model.dram import STREAM, Access, Achieved, achieved
from hiersim.model.dram_timings import DramTimings
from hiersim.units import UNLIMITED, Bytes, Share, ceil_div

if TYPE_CHECKING:
    from hiersim.model.design import Design, Tier


def _preset_timings(name: str) -> DramTimings:
    from hiersim.model.dram_presets import dram_preset  # most designs name none

    return dram_preset(name).timings


def tier_achieves(tier: Tier, access: Access = STREAM) -> Achieved:
    """The model's factors for `access` at a tier with a preset.

    Raises
    ------
    DesignError
        When the preset has no such name.
    """
    peak = tier.bandwidth or tier.read_bandwidth or UNLIMITED
    return _preset_achieves(tier.dram or "", access, peak, int(tier.granularity))


@lru_cache(maxsize=4096)
def _preset_achieves(name: str, access: Access, peak: int, sector: int) -> Achieved:
    """What channels of a preset that make up a bandwidth achieve; one where it is unlimited."""
    timings = _preset_timings(name)
    channels = 1 if peak >= UNLIMITED else max(1, round(peak / timings.bandwidth))
    return achieved(timings, access, channels, sector)


def slowdown(tier: Tier, access: Access) -> float:
    """Time of a byte moved by `access` ÷ that of a streamed one, >= 1; 1 where there is no preset."""
    if tier.dram is None:
        return 1.0
    return max(1.0, tier_achieves(tier).moved / tier_achieves(tier, access).moved)


def row_access(run: int) -> Access:
    """Rows of a table anywhere: they begin at multiples of the largest power of two in their length."""
    return Access(run=Bytes(run), alignment=Bytes(run & -run))


def sector_bytes(tier: Tier, run: int) -> int:
    """Bytes that move for `run` contiguous ones: whole sectors, and whole bursts where there is a preset."""
    sector = int(tier.granularity)
    if tier.dram is not None:
        sector = max(sector, int(_preset_timings(tier.dram).burst_bytes))
    return ceil_div(run, sector) * sector


def bandwidth_share(tier: Tier, runs: Iterable[int]) -> dict[str, float]:
    """Share of the tier's bandwidth at which bytes arrive that are asked for in order, and in the worst of `runs`."""
    streaming = float(tier.efficiency)
    shares = [streaming * run / sector_bytes(tier, run) / slowdown(tier, row_access(run)) for run in runs]
    return {"streaming": streaming, "worst": min([streaming, *shares])}


def pattern_rows(tier: Tier) -> list[tuple[str, str, str]]:
    """(pattern, share used, factors) of a tier with a preset, for people."""
    accesses = [("in order", STREAM), *((f"{run} B anywhere", row_access(run)) for run in (32, 64, 128, 256, 1024))]
    rows = []
    for name, access in accesses:
        run = access.run or int(tier.granularity)
        share = tier.efficiency * run / sector_bytes(tier, run) / slowdown(tier, access)
        factors = " x ".join(f"{value:.3f} {key}" for key, value in tier_achieves(tier, access).factors().items())
        rows.append((name, f"{share:.3f}", factors))
    return rows


def modelled(tier: Tier) -> Tier:
    """`tier` with the streaming share of its preset as efficiency."""
    return dataclasses.replace(tier, efficiency=Share(round(tier_achieves(tier).share, 4)))


def source_of_model(tier: Tier) -> str:
    """Where a modelled efficiency comes from: the preset, and the factors that are not 1."""
    factors = tier_achieves(tier).factors()
    shown = " x ".join(f"{value:.3f} {name}" for name, value in factors.items() if value < 1) or "1"
    return f"DRAM model, preset {tier.dram}, streaming: {shown}"


def with_models(design: Design, names: Collection[str]) -> Design:
    """`design` in which the efficiency of the tiers called `names` is that of their presets."""
    memory = tuple(modelled(tier) if tier.name in names else tier for tier in design.memory)
    sources: Mapping[str, str] = {
        **design.sources,
        **{f"memory.{tier.name}.efficiency": source_of_model(tier) for tier in memory if tier.name in names},
    }
    return dataclasses.replace(design, memory=memory, sources=sources)
