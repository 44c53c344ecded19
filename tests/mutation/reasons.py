"""Why mutants survive: rules by function and change, so that they outlast edits elsewhere in the file."""

from __future__ import annotations

import re
from typing import Final

EQUAL: Final = "equal"
"""No program can tell the mutant from the original."""
SPEED: Final = "speed"
"""Results stay the same; only time or memory changes, by less than a gate on counted work notices."""
RULES: Final[tuple[tuple[str, str, str, str], ...]] = ()
"""Function, change (regular expressions, searched), kind, reason; the first that matches counts."""


def reason(function: str, change: str) -> tuple[str, str]:
    """Kind and words; ("open", "") where nothing is known."""
    for place, pattern, kind, words in RULES:
        if re.search(place, function) and re.search(pattern, change):
            return kind, words
    return "open", ""
