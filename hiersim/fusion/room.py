"""How much the cores of a design hold together, for policies that keep values there between operators."""

from __future__ import annotations

from hiersim.model.design import Design


def room(design: Design) -> int:
    """Bytes that the cores hold together in the largest of their own tiers."""
    return int(design.compute.cores) * max((int(tier.capacity) for tier in design.core_tiers), default=0)
