"""Names of a design's parts in words."""

from __future__ import annotations

from hiersim.views.tables import written
from hiersim.what_ifs import Part, WhatIf


def part_words(item: WhatIf | Part) -> str:
    """A part of the design as prose writes it: `L2 capacity`."""
    return f"{written(item.tier)} {item.name.removeprefix(item.tier).strip()}" if item.tier else item.name
