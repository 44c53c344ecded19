"""The kernel rows of the readable trace form: groupings of operators, made to be edited by hand.

    {"kernel": [3, 4, 7], "grouping": "mine"}
    {"kernel": [5, 6], "grouping": "mine", "recomputed": [5], "launch": "compiled", "generated": true}

Operators are numbered from 0 in the order of their rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

import numpy as np

from hiersim.model.operators import HOST_ONLY, Kind, csr
from hiersim.model.partition import Partition

KEYS: Final = ("kernel", "grouping", "recomputed", "launch", "generated")
_LAUNCHES: Final = ("compiled", "eager")

Fail = Callable[..., NoReturn]


@dataclass(slots=True)
class _Grouping:
    kernels: list[list[int]] = field(default_factory=list)
    copies: list[list[int]] = field(default_factory=list)
    generated: list[int] = field(default_factory=list)
    eager: list[int] = field(default_factory=list)
    owner: dict[int, int] = field(default_factory=dict)
    """Line of the kernel that each operator is in."""
    line: int = 0
    """Of the last kernel."""


class KernelRows:
    """Collects kernel rows; `fail(problem, key, expected)` raises at the reader's line."""

    def __init__(self, kinds: list[int], fail: Fail) -> None:
        self.kinds = kinds
        self.fail = fail
        self.groupings: dict[str, _Grouping] = {}

    def take(self, row: Mapping[str, Any], line: int) -> None:
        """One kernel."""
        name = row.get("grouping")
        if not isinstance(name, str) or not name.isidentifier():
            self.fail(f"{name!r:.40} is not a name", "grouping", "letters, digits and '_', such as \"mine\"")
        into = self.groupings.setdefault(name, _Grouping())
        operators = self._numbers(row["kernel"], "kernel")
        if not operators:
            self.fail("has no operators", "kernel", "at least one number")
        again = self._numbers(row.get("recomputed", []), "recomputed")
        for number in again:
            if number not in operators:
                self.fail(f"operator {number} is not in the kernel", "recomputed", "some of its operators")
        for number in operators:
            if number in again:
                continue
            if number in into.owner:
                self.fail(
                    f"operator {number} is in the kernel of line {into.owner[number]} too", "kernel",
                    "each operator in one kernel, unless it is \"recomputed\"",
                )  # fmt: skip
            into.owner[number] = line
        launch, generated = row.get("launch", "compiled"), row.get("generated", len(operators) > 1)
        if launch not in _LAUNCHES:
            self.fail(f"{launch!r:.40} is not a launch", "launch", "'compiled' or 'eager'")
        if not isinstance(generated, bool):
            self.fail(f"{generated!r:.40} is not true or false", "generated", "true or false")
        into.kernels.append(operators)
        into.copies.append([int(number in again) for number in operators])
        into.generated.append(int(generated))
        into.eager.append(int(launch == "eager"))
        into.line = line

    def _numbers(self, value: Any, key: str) -> list[int]:
        """Distinct numbers of operators that launch something, in issue order."""
        if not isinstance(value, list) or not all(type(number) is int for number in value):
            self.fail(f"{value!r:.40} is not a list of numbers", key, "numbers of operators, from 0")
        for number in value:
            if not 0 <= number < len(self.kinds):
                self.fail(f"there is no operator {number} above", key, f"0 … {len(self.kinds) - 1}")
            if Kind(self.kinds[number]) in HOST_ONLY:
                kind = Kind(self.kinds[number]).name.lower()
                self.fail(f"operator {number} is a {kind}, which launches nothing", key, "operators that do")
        if len(set(value)) < len(value):
            self.fail("names an operator twice", key, "each once")
        return sorted(value)

    def finish(self, place: Callable[[int], None]) -> dict[str, Partition]:
        """The groupings; `place` sets the line that a fault is reported at."""
        found = {}
        for name, into in self.groupings.items():
            place(into.line)
            for number, kind in enumerate(self.kinds):
                if number not in into.owner and Kind(kind) not in HOST_ONLY:
                    self.fail(f"operator {number} is in no kernel of '{name}'", "kernel", "every operator in one")
            ptr, operators = csr(into.kernels)
            found[name] = Partition(
                ptr=ptr, operators=operators, copy=csr(into.copies)[1],
                generated=np.array(into.generated, np.int64), eager=np.array(into.eager, np.int64),
            )  # fmt: skip
        return found


def kernel_rows(name: str, partition: Partition) -> list[dict[str, Any]]:
    """Rows from which `KernelRows` makes the same partition."""
    rows = []
    for kernel in range(len(partition)):
        span = slice(int(partition.ptr[kernel]), int(partition.ptr[kernel + 1]))
        operators, copy = partition.operators[span].tolist(), partition.copy[span].tolist()
        row: dict[str, Any] = {"kernel": operators, "grouping": name}
        again = [number for number, repeated in zip(operators, copy, strict=True) if repeated]
        if again:
            row["recomputed"] = again
        if partition.eager[kernel]:
            row["launch"] = "eager"
        if bool(partition.generated[kernel]) != (len(operators) > 1):
            row["generated"] = bool(partition.generated[kernel])
        rows.append(row)
    return rows
