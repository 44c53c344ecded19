"""What a design's memory costs, and the joules of a run. Neither ever changes a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hiersim.model.design import Design, Scope

JOULES_PER_PICOJOULE = 1e-12


def memory_cost(design: Design) -> dict[str, float | None]:
    """Dollars per tier (all cores' copies together) and `total`; None where the design has no price."""
    costs: dict[str, float | None] = {}
    for tier in design.memory:
        copies = int(design.compute.cores) if tier.scope is Scope.CORE else 1
        costs[tier.name] = None if tier.price is None else tier.capacity * copies / 1e9 * tier.price
    known = [cost for cost in costs.values() if cost is not None]
    costs["total"] = sum(known) if known else None
    return costs


def device_memory_cost(design: Design) -> float | None:
    """Dollars of the memory that belongs to the device: all tiers but those behind it. None where any has no price."""
    costs = memory_cost(design)
    own = [costs[tier.name] for tier in design.memory if tier.scope is not Scope.HOST]
    known = [cost for cost in own if cost is not None]
    return sum(known) if len(known) == len(own) else None


def energy(design: Design, moved: Mapping[str, int], flops: Sequence[int]) -> dict[str, float | None]:
    """Joules per tier and link, `compute` and `total`; None where the design gives no figure.

    Parameters
    ----------
    design : Design
        The machine.
    moved : mapping of name to bytes
        Bytes read and written at the ports of tiers and links.
    flops : sequence of int
        Useful FLOPs by unit.
    """
    joules: dict[str, float | None] = {
        place.name: None if place.energy is None else moved.get(place.name, 0) * place.energy * JOULES_PER_PICOJOULE
        for place in design.places
    }
    per_flop = design.compute.energy
    joules["compute"] = None if per_flop is None else sum(flops) * per_flop * JOULES_PER_PICOJOULE
    known = [value for value in joules.values() if value is not None]
    joules["total"] = sum(known) if known else None
    return joules
