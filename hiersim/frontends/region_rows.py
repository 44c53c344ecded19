"""The region rows of the readable trace form: what a tracing compiler put into one graph, its guards, why it ended.

    {"region": "forward", "first": 0, "last": 4, "guards": {"TENSOR_MATCH": 3, "ID_MATCH": 5},
     "break": "Data-dependent branching", "line": "model.py:9 in forward"}
    {"region": "resume_in_forward_at_9", "first": 6, "last": 11, "guards": {"TENSOR_MATCH": 4}, "shapes": "static"}

(each row on one line). Operators are numbered from 0 in the order of their rows; those in no region run eagerly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from reprlib import repr as shown
from typing import Any, Final, NoReturn

from hiersim.errors import nearest
from hiersim.model.regions import Call, Regions, Shapes, calls_of, regions_of

KEYS: Final = ("region", "first", "last", "guards", "break", "line", "shapes", "recompiled")
MOST_GUARDS: Final = 10**6
"""Of one kind, before one call."""
_SHAPES: Final = {item.name.lower(): item for item in Shapes}

Fail = Callable[..., NoReturn]


class RegionRows:
    """Collects region rows; `fail(problem, key, expected)` raises at the reader's line."""

    def __init__(self, kinds: list[int], fail: Fail) -> None:
        self.kinds = kinds
        """One per operator row."""
        self.fail = fail
        self.calls: list[Call] = []

    def take(self, row: Mapping[str, Any]) -> None:
        """One call of a region."""
        first, last = (self._number(row, key) for key in ("first", "last"))
        before = self.calls[-1].last if self.calls else -1
        if first <= before:
            self.fail(f"operator {first} is not behind the region above", "first", f"{before + 1} or more")
        if last < first:
            self.fail(f"operator {last} is before the first", "last", f"{first} or more")
        shapes = row.get("shapes", "automatic")
        if not isinstance(shapes, str) or shapes not in _SHAPES:
            self.fail(f"{shown(shapes)} is no way to treat sizes", "shapes", nearest(str(shapes), _SHAPES))
        recompiled = row.get("recompiled", False)
        if not isinstance(recompiled, bool):
            self.fail(f"{shown(recompiled)} is not true or false", "recompiled", "true or false")
        self.calls.append(
            Call(
                name=self._text(row, "region"),
                first=first,
                last=last,
                guards=self._guards(row.get("guards", {})),
                reason=self._text(row, "break", ""),
                line=self._text(row, "line", ""),
                shapes=_SHAPES[shapes],
                recompiled=recompiled,
            )
        )

    def _number(self, row: Mapping[str, Any], key: str) -> int:
        value, count = row.get(key), len(self.kinds)
        if type(value) is not int:
            self.fail("is missing" if value is None else f"{shown(value)} is not a number", key, "an operator's number")
        if not 0 <= value < count:
            self.fail(f"there is no operator {value} above", key, f"0 … {count - 1}" if count else "operators above")
        return value

    def _text(self, row: Mapping[str, Any], key: str, default: str | None = None) -> str:
        value = row.get(key, default)
        if not isinstance(value, str) or (not value and default is None):
            self.fail(f"{shown(value)} is not a text", key, "a text")
        return value

    def _guards(self, given: Any) -> dict[str, int]:
        if not isinstance(given, dict):
            self.fail(f"{shown(given)} is not an object", "guards", '{"TENSOR_MATCH": 3, …}')
        for kind, count in given.items():
            if not kind or type(count) is not int or not 0 < count <= MOST_GUARDS:
                self.fail(f"{shown(count)} is not a count", f"guards.{kind:.40}", f"1 … {MOST_GUARDS}")
        return given

    def finish(self) -> Regions | None:
        """The regions; None where there are no rows."""
        return regions_of(self.calls) if self.calls else None


def region_rows(regions: Regions) -> list[dict[str, Any]]:
    """Rows from which `RegionRows` makes the same regions."""
    rows = []
    for call in calls_of(regions):
        row: dict[str, Any] = {"region": call.name, "first": call.first, "last": call.last}
        optional = {
            "guards": dict(call.guards),
            "break": call.reason,
            "line": call.line,
            "shapes": "" if call.shapes is Shapes.AUTOMATIC else call.shapes.name.lower(),
            "recompiled": call.recompiled,
        }
        rows.append(row | {key: value for key, value in optional.items() if value})
    return rows
