"""Does a design's SRAM fit on its silicon? Its area beside that of the dies, and beside what a scanner can expose."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hiersim.model.design import Design, Scope, Tier
from hiersim.model.prices import SRAM, PriceBook
from hiersim.model.silicon import sram_area


@dataclass(frozen=True, slots=True, kw_only=True)
class SramFit:
    """SRAM and silicon of one design, for the node of its compute dies."""

    process: str
    sram_bytes: int
    sram_mm2: float
    """With what data needs beside its cells."""
    silicon_mm2: float | None
    """All dies together; None where their area is unknown."""
    reticle_mm2: float
    largest_die_mm2: float | None
    """Area of one die."""

    @property
    def share(self) -> float | None:
        """SRAM's share of the silicon; above 1 it does not fit."""
        return None if self.silicon_mm2 is None else self.sram_mm2 / self.silicon_mm2

    def warnings(self) -> Iterator[str]:
        """What cannot be built as the design says."""
        size, area = f"{self.sram_bytes / 1e6:,.0f} MB of SRAM", f"{self.sram_mm2:,.0f} mm2 in {self.process}"
        if self.share is not None and self.share > 1:
            yield f"{size} take {area}, more than the {self.silicon_mm2:,.0f} mm2 of its silicon"
        elif self.silicon_mm2 is None and self.sram_mm2 > self.reticle_mm2:
            yield f"{size} take {area}, more than the {self.reticle_mm2:,.0f} mm2 that one exposure (reticle) gives"


def sram_fit(design: Design, book: PriceBook) -> SramFit | None:
    """SRAM beside silicon; None where the node is unknown or no tier is said to be SRAM in it."""
    device = design.device
    tiers = [tier for tier in design.memory if _in_node(tier, device.process)]
    if device.process is None or not tiers:
        return None
    size = sum(int(tier.capacity) * (int(design.compute.cores) if tier.scope is Scope.CORE else 1) for tier in tiers)
    return SramFit(
        process=device.process,
        sram_bytes=size,
        sram_mm2=sram_area(book, device.process, size),
        silicon_mm2=None if device.die_area is None else device.die_area * device.dies,
        reticle_mm2=book.silicon.reticle.value,
        largest_die_mm2=device.die_area,
    )


def _in_node(tier: Tier, process: str | None) -> bool:
    return tier.kind == SRAM and tier.process in (None, process)
