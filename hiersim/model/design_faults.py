"""What makes no sense in a design across its fields; each field on its own is checked where it is read."""

from __future__ import annotations

from enum import Enum
from typing import Final

from hiersim.errors import DesignError, nearest
from hiersim.model.compute import Dataflow, MatrixUnit
from hiersim.model.design import Arbitration, Design, Management, Place, Replacement, Scope, Start, Tier
from hiersim.model.operators import DType

_CORE: Final = Scope.CORE
_POOL, _SCRATCHPAD = Management.POOL, Management.SCRATCHPAD
_FIFO: Final = Arbitration.FIFO
_FP32: Final = DType.FP32
_USUAL: Final = (Replacement.LRU, Start.COLD)
"""Before Python 3.12 it takes long to look up a member of an enum."""
LARGEST_ARRAY: Final = 65536
"""Most rows, columns or arrays of a systolic unit."""


def check(design: Design) -> None:
    """Raise what `Design.checked` does."""
    if found := faults(design):
        first, *others = (DesignError(problem, key=path, expected=expected) for path, problem, expected in found)
        raise DesignError(first.problem, key=first.key, expected=first.expected, others=others)


def faults(design: Design) -> list[tuple[str, str, str]]:
    """What is wrong across fields: (path, problem, expected)."""
    found: list[tuple[str, str, str]] = []
    names = [tier.name for tier in design.memory]
    reach = design.reach
    shared = reach.shared
    if not shared:
        found.append(("memory", "has no shared tier", "at least one tier with 'scope: shared'"))
    if not reach.core:
        found.append(("memory", "has no tier in the cores", "at least one tier with 'scope: core'"))
    if design.memory != (*reach.core, *shared, *reach.host):
        order = "tiers from nearest to farthest: 'core', then 'shared', then 'host'"
        found.append(("memory", "has a tier behind one of farther scope", order))
    if len(set(names)) < len(names):
        for name in sorted({name for name in names if names.count(name) > 1}):
            found.append((f"memory.{name}", "is there twice", "one tier of each name"))
    for tier in design.memory:
        for key, problem, expected in _tier_faults(tier):
            found.append((f"memory.{tier.name}.{key}", problem, expected))
    if shared and shared[-1].management is not _SCRATCHPAD:
        what = f"is a {shared[-1].management.value} but the last tier"
        what += " that kernels address" if reach.host else ""
        found.append((f"memory.{shared[-1].name}.management", what, "scratchpad"))
    for tier in reach.host:
        if tier.management is not _SCRATCHPAD:
            problem = f"is a {tier.management.value} behind the device"
            found.append((f"memory.{tier.name}.management", problem, "scratchpad"))
    for tier in reach.core:
        if tier.management is _POOL:
            found.append((f"memory.{tier.name}.management", "is a pool in the cores", "cache or scratchpad"))
    found.extend(_link_faults(design))
    found.extend(_placement_faults(design))
    for tier in shared[:-1]:
        if tier.management is _SCRATCHPAD and tier.capacity > shared[-1].capacity:
            found.append((f"memory.{tier.name}.capacity", "is larger than the last tier's", "a smaller size"))
    matrix = design.compute.matrix
    if matrix is not None:
        for dtype, target in matrix.stand_in.items():
            if target not in matrix.peak:
                problem = f"'{target.name.lower()}' has no peak"
                found.append((f"compute.matrix.stand_in.{dtype.name.lower()}", problem, "a dtype in peak"))
        found.extend(_systolic_faults(matrix))
    if design.device.price is not None and design.device.price_as_of is None:
        found.append(("device.price", "has no date", "price_as_of: YYYY-MM"))
    if not design.constants.wait_bytes:
        found.append(("constants.wait_bytes", "is zero", "at least 1 B"))
    if _FP32 not in design.compute.vector.peak:
        found.append(("compute.vector.peak", "lacks fp32", "at least the fp32 rate"))
    return found


def _systolic_faults(matrix: MatrixUnit) -> list[tuple[str, str, str]]:
    """The native tile lies on the array: two of its sides are the array's, by the dataflow."""
    unit = matrix.systolic
    if unit is None:
        return []
    faults = [
        (f"compute.matrix.systolic.{name}", "is not a number of that sort", "1 to 65536")
        for name in ("rows", "columns", "arrays")
        if not 0 < getattr(unit, name) <= LARGEST_ARRAY
    ]
    m, n, k = matrix.tile
    on_array = {
        Dataflow.WEIGHT_STATIONARY: (k, n),
        Dataflow.OUTPUT_STATIONARY: (m, n),
        Dataflow.INPUT_STATIONARY: (k, m),
    }[unit.dataflow]
    if on_array != (unit.rows, unit.columns):
        places = {
            Dataflow.WEIGHT_STATIONARY: "[any, columns, rows]",
            Dataflow.OUTPUT_STATIONARY: "[rows, columns, any]",
            Dataflow.INPUT_STATIONARY: "[columns, any, rows]",
        }
        problem = f"{list(matrix.tile)} does not lie on an array of {unit.rows} rows and {unit.columns} columns"
        faults.append(("compute.matrix.tile", problem, f"{places[unit.dataflow]} for {unit.dataflow.value}"))
    return faults


def _link_faults(design: Design) -> list[tuple[str, str, str]]:
    faults: list[tuple[str, str, str]] = []
    if not design.links:
        return faults
    tiers = [tier.name for tier in design.memory]
    host = [tier.name for tier in design.host_tiers]
    for index, link in enumerate(design.links):
        path = f"links.{link.name}"
        faults.extend((f"{path}.{key}", problem, expected) for key, problem, expected in _port_faults(link))
        if not link.has_port:
            faults.append((f"{path}.bandwidth", "is missing", "a bandwidth such as '64 GB/s', or 'unlimited'"))
        if link.name in tiers:
            faults.append((path, "has the name of a tier", "a name of its own"))
        if link.to not in host:
            problem = f"'{link.to}' is not a tier behind the device"
            faults.append((f"{path}.to", problem, nearest(link.to, host) if host else "a tier with 'scope: host'"))
        elif link.to in [other.to for other in design.links[:index]]:
            faults.append((f"{path}.to", f"'{link.to}' has a link already", "one link in front of each tier"))
    return faults


def _placement_faults(design: Design) -> list[tuple[str, str, str]]:
    placement = design.placement
    faults: list[tuple[str, str, str]] = []
    if placement.pins:
        homes = [tier.name for tier in design.homes] if design.shared_tiers else []
        faults = [
            (f"placement.pins.{pattern}", f"'{name}' is not a tier that tensors can live in", nearest(name, homes))
            for pattern, name in placement.pins.items()
            if name not in homes
        ]
    if placement.chunk <= 0:
        faults.append(("placement.chunk", "is zero", "a size above zero"))
    return faults


def _port_faults(place: Place) -> list[tuple[str, str, str]]:
    faults: list[tuple[str, str, str]] = []
    if place.read_bandwidth is None and place.write_bandwidth is None:
        return faults
    both = place.read_bandwidth is not None and place.write_bandwidth is not None
    if not both:
        faults.append(("read_bandwidth", "is given without its partner", "read_bandwidth and write_bandwidth together"))
    if both and place.bandwidth is not None:
        faults.append(("bandwidth", "is given beside read_bandwidth and write_bandwidth", "one or the other"))
    return faults


def _tier_faults(tier: Tier) -> list[tuple[str, str, str]]:
    faults = _port_faults(tier)
    if tier.scope is not _CORE and not tier.has_port:
        faults.append(("bandwidth", "is missing", "a bandwidth such as '3.35 TB/s', or 'unlimited'"))
    if tier.capacity <= 0:
        faults.append(("capacity", "is zero", "a size above zero"))
    if tier.arbitration is not _FIFO and tier.scope is _CORE:
        faults.append(("arbitration", "is given for a tier in the cores, which has no port to share", "scope: shared"))
    if tier.granularity <= 0:
        faults.append(("granularity", "is zero", "a size above zero"))
    if (tier.replacement not in _USUAL or tier.start not in _USUAL) and not tier.is_shared_cache:
        chosen: dict[str, Enum] = {"replacement": tier.replacement, "start": tier.start}
        faults.extend(
            (key, f"is {value.value} but the tier is not a shared cache", "scope: shared and management: cache")
            for key, value in chosen.items()
            if value not in _USUAL
        )
    if tier.dram is not None:
        faults.extend(("dram", *rest) for rest in _dram_faults(tier, tier.dram))
    if tier.price is not None and tier.price_as_of is None:
        faults.append(("price", "has no date", "price_as_of: YYYY-MM"))
    return faults


def _dram_faults(tier: Tier, name: str) -> list[tuple[str, str]]:
    """What is wrong with a preset: (problem, expected)."""
    from hiersim.model.dram_presets import PRESETS  # most designs name none

    if name not in PRESETS:
        return [(f"'{name}' is not a DRAM preset", nearest(name, PRESETS))]
    if tier.scope is _CORE:
        return [("is given for a tier in the cores", "a preset at a shared tier")]
    return []
