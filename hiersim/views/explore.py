"""`hs.explore`: sliders for the parts of a design, and at once what a run makes of them. Needs ipywidgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from hiersim.errors import HiersimError, MissingExtraError
from hiersim.frontends.variants.variant import variant
from hiersim.model.design import Design
from hiersim.model.trace import Trace
from hiersim.results import Result
from hiersim.run import simulate
from hiersim.units import show_ticks
from hiersim.views.markup import el, to_fragment
from hiersim.views.notebook import result_html
from hiersim.views.series.parts import part_words
from hiersim.views.tables import dollars
from hiersim.what_ifs import Part, parts_of

MOST: Final = 3
"""Sliders go from 2^-MOST to 2^MOST times what the design has."""
WEIGHTS: Final = ("fp8", "nvfp4")
AS_IT_IS: Final = "as it is"
"""The choice that changes nothing."""
POLICIES: Final = ("eager", "pointwise", "epilogue", "attention")
"""Beside the schedules that the trace carries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where the sliders stand."""

    fusion: str = "eager"
    factors: Mapping[str, float] = field(default_factory=dict)
    """Name of a part → how many times as good it is."""
    variant: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of `hiersim.variant`: weights, batch."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Explorer:
    """A trace on a design whose parts can be changed; everything but the widgets."""

    trace: Trace
    design: Design
    parts: tuple[Part, ...]
    base: Result
    made: dict[tuple[tuple[str, Any], ...], Trace] = field(default_factory=dict)
    """Variants of the trace that were asked for; what is derived from one is kept with it."""

    def result(self, settings: Settings) -> Result:
        """The run with these settings.

        Raises
        ------
        HiersimError
            When the design makes no sense with them, or cannot hold the model.
        """
        changes: dict[str, str] = {}
        for part in self.parts:
            factor = settings.factors.get(part.name, 1.0)
            if factor != 1.0:
                changes.update(part.changes(factor))
        key = tuple(sorted(settings.variant.items()))
        if key not in self.made:
            self.made[key] = variant(self.trace, **settings.variant) if key else self.trace
        trace = self.made[key]
        design = self.design.replace(changes) if changes else self.design
        return simulate(trace, design, settings.fusion, changes=changes)

    def html(self, settings: Settings) -> str:
        """What is shown: speed and price against the design as it is, then the run; a fault is a sentence."""
        try:
            result = self.result(settings)
        except HiersimError as error:
            return to_fragment(el("p", None, str(error)))
        ratio = self.base.makespan / max(result.makespan, 1)
        words = f"{show_ticks(result.makespan)}, {ratio:.2f} × the speed of the design as it is, run eagerly"
        before, after = self.base.memory_cost["total"], result.memory_cost["total"]
        if before is not None and after is not None:
            words += f"; memory costs {dollars(after)} instead of {dollars(before)}"
        return to_fragment(el("p", None, el("strong", None, words))) + result_html(result)

    def policies(self) -> tuple[str, ...]:
        """Fusion policies to choose from."""
        return (*POLICIES, *sorted(self.trace.schedules), *sorted(self.trace.groupings))

    def can(self, **change: Any) -> bool:
        """Whether a variant of the trace can be made."""
        try:
            variant(self.trace, **change)
        except HiersimError:
            return False
        return True


def explorer(trace: Trace, design: Design) -> Explorer:
    """The explorer of a trace on a design, which has to hold it as it is."""
    base = simulate(trace, design)
    return Explorer(trace=trace, design=design, parts=tuple(parts_of(base)), base=base)


def explore(trace: Trace, design: Design) -> Any:
    """Sliders for the parts of `design`, fusion, weights and batch; below them the run, drawn anew with every move.

    Returns
    -------
    ipywidgets.VBox
        To be the last line of a notebook's cell.

    Raises
    ------
    MissingExtraError
        Without ipywidgets.
    """
    try:
        import ipywidgets as widgets
    except ImportError:
        raise MissingExtraError("explore", "ipywidgets", "explore") from None
    found = explorer(trace, design)
    wide, long = {"description_width": "9em"}, {"width": "30em"}
    sliders = {
        part.name: widgets.FloatLogSlider(
            value=1, base=2, min=-MOST, max=MOST, step=0.25, readout_format=".2f",
            description=part_words(part), style=wide, layout=long,
        )
        for part in found.parts
    }  # fmt: skip
    fusion = widgets.Dropdown(options=found.policies(), value="eager", description="fusion", style=wide)
    asked: dict[str, Any] = {}
    formats = [name for name in WEIGHTS if found.can(weights=name)]
    if formats:
        asked["weights"] = widgets.Dropdown(options=[AS_IT_IS, *formats], description="weights", style=wide)
    if found.can(batch=1):
        sizes = [AS_IT_IS, *(2**step for step in range(9))]
        asked["batch"] = widgets.Dropdown(options=sizes, description="batch", style=wide)
    shown = widgets.HTML()

    def draw(_: Any = None) -> None:
        settings = Settings(
            fusion=fusion.value,
            factors={name: slider.value for name, slider in sliders.items()},
            variant={name: control.value for name, control in asked.items() if control.value != AS_IT_IS},
        )
        shown.value = found.html(settings)

    for control in (*sliders.values(), fusion, *asked.values()):
        control.observe(draw, names="value")
    draw()
    return widgets.VBox(
        [widgets.HBox([widgets.VBox([fusion, *asked.values()]), widgets.VBox([*sliders.values()])]), shown]
    )
