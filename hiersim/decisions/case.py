"""`Case`: one question's trace, design and policy, to be replayed again and again with some of the design changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from hiersim.cost import capital, what_if_capital
from hiersim.errors import CapacityError, DesignError, HiersimError
from hiersim.lowering.host import STREAM
from hiersim.model.design import Design
from hiersim.model.trace import Trace
from hiersim.results import Result
from hiersim.run import DEFAULT_ENGINE, simulate

SCHEMA: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A replay that has not been run: `run()` is the baseline, `run(changes)` a variation of it."""

    trace: Trace
    design: Design
    fusion: str = "eager"
    launch: str = STREAM
    engine_name: str = DEFAULT_ENGINE
    changes: Mapping[str, str] = field(default_factory=dict)
    """Values of the design that were set before; they are in it and only recorded."""

    @property
    def title(self) -> str:
        """What is asked about, in words."""
        return f"{self.trace.name} · {self.design.name} · {self.fusion}"

    def run(self, changes: Mapping[str, Any] | None = None) -> Result:
        """The replay with these values of the design changed; see `Design.replace`.

        Raises
        ------
        HiersimError
            What `simulate` and `Design.replace` raise.
        """
        design = self.design.replace(changes) if changes else self.design
        return simulate(
            self.trace, design, self.fusion, engine_name=self.engine_name, launch=self.launch, changes=self.changes
        )

    def fits(self, changes: Mapping[str, Any]) -> Result | None:
        """Like `run`; None where the model does not fit the changed design, or no such design makes sense."""
        try:
            return self.run(changes)
        except (CapacityError, DesignError):  # too small for the model, or larger than the tier behind it
            return None

    def head(self, result: Result) -> dict[str, Any]:
        """What every JSON form of a decision begins with."""
        return {
            "schema": SCHEMA,
            "trace": self.trace.name,
            "design": self.design.name,
            "fusion": result.fusion,
            "launch": self.launch,
            "version": result.version,
            "inputs_sha256": result.inputs_sha256,
            "set": dict(self.changes),
            "time_s": result.time,
        }


def checked_time(result: Result) -> int:
    """The makespan of a baseline in ticks.

    Raises
    ------
    HiersimError
        When it takes no time at all, so that nothing could be better.
    """
    if result.makespan <= 0:
        raise HiersimError(
            f"{result.trace.name} takes no time on {result.design.name}",
            expected="a design with limited rates or times above zero",
        )
    return int(result.makespan)


def dollars(base: Design, changed: Design | None = None) -> float | None:
    """The price of `base`, or of a design that was made from it; where none is known, that of its memory; else None.

    What a change of anything but memory would cost is not in it: nobody publishes that.
    """
    price = capital(base) if changed is None else what_if_capital(base, changed)
    return None if price is None else price.usd


def joules(result: Result) -> float | None:
    """Energy of the run in what the design gives figures for; None where it gives none."""
    design = result.design
    if design.compute.energy is None and all(place.energy is None for place in design.places):
        return None
    return result.energy["total"]
