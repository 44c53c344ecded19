"""Studies as tables on the screen and as the page docs/studies.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from hiersim import units
from hiersim.decisions.studies.claims import Agreement, Study
from hiersim.decisions.studies.claims import Table as Figures
from hiersim.model.metrics import METRICS
from hiersim.views.tables import dollars, percent, plain_table

if TYPE_CHECKING:
    from rich.table import Table

_MARK: Final = {Agreement.YES: "agrees", Agreement.PARTLY: "agrees in part", Agreement.NO: "disagrees"}
_HEADS: Final = {
    "time_s": "time",
    "stall_fraction": "waits",
    "speedup": "speed-up",
    "matrix_utilization": "utilization",
    "arithmetic_intensity": "FLOP/B",
    "ridge_point": "ridge",
    "tokens_per_second": "tokens/s",
    "usd_per_gb": "$/GB",
    "sram_mm2": "mm2",
    "weight_bytes": "weights",
    "hbm_usd": "HBM",
    "sram_usd": "SRAM",
    "held_s": "held",
    "hbm_of_dies_share": "of HBM + dies",
    "hbm_of_price_share": "of price",
}
"""Key → heading, where the key in words is too long."""
LITTLE: Final = 0.0005


def heading(key: str) -> str:
    """A key of the glossary as the head of a column."""
    if key in _HEADS:
        return _HEADS[key]
    for ending in ("_share", "_saved", "_return", "_usd", "_bytes"):
        key = key.removesuffix(ending)
    return key.replace("_", " ")


def cell(key: str, value: Any) -> str:
    """A figure as people write it, by the unit that the glossary gives."""
    if value is None:
        return "–"
    if isinstance(value, str) or key == "year":
        return str(value)
    unit = METRICS[key].unit if key in METRICS else "-"
    return _NUMBERS.get(unit, _plain)(value)


def _plain(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


_NUMBERS: Final = {
    "s": units.show_seconds,
    "0-1": percent,
    "1": lambda value: f"{value:.2f}",
    "ratio": lambda value: f"{value:.2f} x",
    "$": dollars,
    "bytes": units.show_bytes,
}


def _columns(figures: Figures) -> dict[str, bool]:
    """Keys that are shown, and whether they hold words; a share that rounds to nothing in every row is left out."""
    found = {}
    for key in figures.rows[0]:
        values = [row[key] for row in figures.rows]
        is_share = key in METRICS and METRICS[key].unit == "0-1"
        if not is_share or any(abs(value or 0) >= LITTLE for value in values):
            found[key] = any(isinstance(value, str) for value in values)
    return found


def tables(study: Study) -> Iterator[Table]:
    """The figures behind a study."""
    for figures in study.tables:
        table = plain_table(figures.title)
        columns = _columns(figures)
        for key, is_word in columns.items():
            table.add_column(heading(key), justify="left" if is_word else "right", no_wrap=is_word, overflow="fold")
        for row in figures.rows:
            table.add_row(*(cell(key, row[key]) for key in columns))
        yield table


def conclusions(study: Study) -> Iterator[str]:
    """Each claim with what was found, and what to know."""
    for claim in study.claims:
        yield f'Claim: "{claim.claim}" - {_MARK[claim.agrees]}.'
        yield f"  Found: {claim.found}."
    for note in study.notes:
        yield f"Note: {note}."


def page(studies: Iterable[Study]) -> str:
    """docs/studies.md."""
    parts = [
        "# Studies",
        "",
        "Headline questions, each a command (`hiersim study NAME`, `hs.study(NAME)`), with what people claim beside",
        "what replays say, also where both differ. This page is made from `hiersim/decisions/studies` by",
        "`python -m hiersim.views.reference`, and a test holds it current. Columns are words of the",
        "[glossary](glossary.md). No time here is measured: how far predictions are from measured times is in",
        "[fidelity.md](fidelity.md).",
        "",
    ]
    for study in studies:
        parts += [f"## {study.name}", "", f"*{study.question}* `hiersim study {study.name}`", ""]
        parts += ["| claim | | found |", "|---|---|---|"]
        parts += [f"| {item.claim} | {_MARK[item.agrees]} | {item.found} |" for item in study.claims]
        for figures in study.tables:
            parts += ["", f"**{figures.title}**", "", *_markdown(figures)]
        parts += ["", *(f"- {note}" for note in study.notes), ""]
    return "\n".join(parts).rstrip() + "\n"


def _markdown(figures: Figures) -> Iterator[str]:
    columns = _columns(figures)
    yield "| " + " | ".join(heading(key) for key in columns) + " |"
    yield "|" + "".join("---|" if is_word else "---:|" for is_word in columns.values())
    for row in figures.rows:
        yield "| " + " | ".join(cell(key, row[key]) for key in columns) + " |"
