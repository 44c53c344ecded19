"""The sections of a sweep: what was varied, how a run follows it, which points no other beats, and all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final
from xml.etree.ElementTree import Element

import numpy as np

from hiersim.sweeps.columns import cell
from hiersim.sweeps.grid import Axis as GridAxis
from hiersim.sweeps.pareto import pareto_front
from hiersim.sweeps.table import Sweep
from hiersim.units import show_ticks
from hiersim.views.figures.canvas import plain_key
from hiersim.views.figures.lines import MOST_LINES, Axis, Line, colour_of, front_figure, lines_figure
from hiersim.views.markup import el
from hiersim.views.report.parts import Cell, Column, Words, drawn, legend, sentence_html, table, unknown
from hiersim.views.report.runs import Group, Run, grouped, replayed
from hiersim.views.report.saved import checked
from hiersim.views.report.summary import Figure, Sentence
from hiersim.views.sweeps import axis_labels, figure_text, figures, heading
from hiersim.views.tables import dollars, written

MAKESPAN: Final = "makespan_ticks"
COST: Final = "memory_cost_usd.total"
MOST_ROWS: Final = 2000
"""Points in the table: of more, the fastest."""


def sweep_groups(sweep: Sweep, file: str, with_what_ifs: bool) -> tuple[Group, ...]:
    """The first point of each trace and its fastest, to be looked at closely."""
    chosen: dict[str, list[int]] = {}
    for row in _ran(sweep).tolist():
        chosen.setdefault(_given(sweep, row)["trace"], []).append(row)
    runs = []
    for rows in chosen.values():
        fastest = min(rows, key=lambda row: (int(sweep.columns[MAKESPAN][row]), row))
        for row in dict.fromkeys((rows[0], fastest)):
            facts = checked(sweep.result(row), file, f"point {int(sweep.points[row])}")
            result = replayed(facts)
            runs.append(Run(facts=facts if result is None else result.to_dict(), result=result))
    return grouped(runs, with_what_ifs)


def _ran(sweep: Sweep) -> Any:
    """Rows of points that have a time."""
    times = sweep.columns.get(MAKESPAN)
    return np.arange(0) if times is None else np.flatnonzero(~np.ma.getmaskarray(times))


def _given(sweep: Sweep, row: int) -> dict[str, Any]:
    return sweep.grid.given(int(sweep.points[row]))


def _varied(sweep: Sweep) -> list[GridAxis]:
    return [axis for axis in sweep.axes if len(axis) > 1]


def label_of(sweep: Sweep, row: int) -> str:
    """What tells a point from the others: its values on the axes that vary."""
    at = sweep.grid.at(int(sweep.points[row]))
    words = []
    for axis in _varied(sweep):
        value = axis_labels(axis)[at[axis.name]]
        words.append(value if axis.is_text and "." not in axis.name else f"{axis.name}={value}")
    return ", ".join(words) or str(_given(sweep, row)["trace"])


def sweep_sections(words: Words, sweep: Sweep) -> Iterator[Element]:
    """Sentences, a curve where a number was varied, the front where there are prices, and every point."""
    rows = _ran(sweep)
    yield el("div", {"class": "summary"}, [sentence_html(sentence) for sentence in sweep_sentences(sweep)])
    if len(rows) > 1:
        for made in (_curve(words, sweep), _front(sweep)):
            if made is not None:
                yield made
    yield _points(words, sweep)


def sweep_sentences(sweep: Sweep) -> list[Sentence]:
    """How many points there are, the fastest and the slowest of them."""
    rows, lost = _ran(sweep), len(sweep.failed)
    axes = ", ".join(f"{len(axis)} values of {axis.name}" for axis in _varied(sweep)) or "one point"
    parts: list[str | Figure] = [Figure(key="points", value=len(sweep), text=f"{len(sweep):,}"), f" points: {axes}"]
    if lost:
        parts += ["; ", Figure(key="failed", value=lost, text=f"{lost:,}"), " of them could not be run"]
    found: list[Sentence] = [(*parts, ".")]
    if len(rows):
        times = np.asarray(sweep.columns[MAKESPAN][rows], np.int64)
        first, last = int(times.argmin()), int(times.argmax())
        ratio = times[last] / max(int(times[first]), 1)
        found.append(
            (
                f"The fastest is {label_of(sweep, int(rows[first]))}, with ",
                Figure(key="fastest", value=int(times[first]), text=show_ticks(int(times[first]))),
                ": ",
                Figure(key="ratio", value=float(ratio), text=f"{ratio:.2f} ×"),
                f" the speed of the slowest, {label_of(sweep, int(rows[last]))}, with ",
                Figure(key="slowest", value=int(times[last]), text=show_ticks(int(times[last]))),
                ".",
            )
        )
    return found


def _curve(words: Words, sweep: Sweep) -> Element | None:
    """Time against the number that was varied most; a line for each setting of the rest."""
    numbers = [axis for axis in _varied(sweep) if not axis.is_text]
    if not numbers:
        return None
    axis = max(numbers, key=len)
    others = [other.name for other in _varied(sweep) if other is not axis]
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in _ran(sweep).tolist():
        at, given = sweep.grid.at(int(sweep.points[row])), _given(sweep, row)
        label = ", ".join(str(given[name]) for name in others) or "time"
        value = float(axis.values[at[axis.name]])
        lines.setdefault(label, []).append((value, float(sweep.columns[MAKESPAN][row])))
    shown = [Line(label=label, points=tuple(sorted(points))) for label, points in lines.items()][:MOST_LINES]
    across = Axis(title=axis.name, show=lambda value: figure_text(value, axis.unit), binary=axis.unit == "B")
    up = Axis(title="time", show=lambda value: show_ticks(int(value)))
    marks = legend((plain_key(colour_of(place)), line.label) for place, line in enumerate(shown))
    more = f" Of {len(lines)} lines the first {len(shown)}." if len(lines) > len(shown) else ""
    caption = f"Time against {axis.name}, a mark for each point that was run.{more}"
    below = (marks,) if others else ()
    return drawn(lambda width: lines_figure(shown, across, up, width), caption, "curve", *below)


def _front(sweep: Sweep) -> Element | None:
    """Time against the price of the memory, where it varies."""
    if COST not in sweep.columns:
        return None
    rows = [row for row in _ran(sweep).tolist() if cell(sweep.columns[COST], row) is not None]
    points = [(float(sweep.columns[COST][row]), float(sweep.columns[MAKESPAN][row])) for row in rows]
    if len({point[0] for point in points}) < 2:
        return None
    best = pareto_front(np.array(points), ("lower", "lower")).tolist()
    across = Axis(title="memory cost", show=dollars)
    up = Axis(title="time", show=lambda value: show_ticks(int(value)))
    labels = [label_of(sweep, row) for row in rows]
    caption = "Time against the price of the memory: the blue points are beaten by no other in both."
    return drawn(lambda width: front_figure(points, labels, best, across, up, width), caption, "front")


def _points(words: Words, sweep: Sweep) -> Element:
    """Every point, or the fastest of very many."""
    axes = _varied(sweep)
    names = figures(sweep)
    order = list(range(len(sweep)))
    if len(order) > MOST_ROWS:
        times = sweep.values(MAKESPAN)
        order = sorted(np.argsort(times, kind="stable")[:MOST_ROWS].tolist())
    lost = len(sweep.failed) > 0
    columns = [Column(label="point", numeric=True, word="rows")]
    columns += [Column(label=axis.name, numeric=not axis.is_text, word=axis.name.partition(".")[0]) for axis in axes]
    columns += [Column(label=_head(name), word=name.partition(".")[0]) for name in names]
    columns += [Column(label="could not run", numeric=False, word="error")] if lost else []
    values = [(sweep.values(name), sweep.unit(name)) for name in names]
    rows = []
    for row in order:
        at = sweep.grid.at(int(sweep.points[row]))
        cells = [Cell(text=str(int(sweep.points[row])), value=int(sweep.points[row]))]
        for axis in axes:
            number = axis.values[at[axis.name]]
            text = axis_labels(axis)[at[axis.name]]
            cells.append(Cell(text=text, value=None if isinstance(number, str) else number))
        cells += [_number(array, unit, row) for array, unit in values]
        cells += [Cell(text=str(sweep.columns["error"][row] or ""))] if lost else []
        rows.append(cells)
    caption = "All points" if len(order) == len(sweep) else f"The {len(order):,} fastest of {len(sweep):,} points"
    return table(words, caption, columns, rows, attributes={"data-table": "points"})


def _head(name: str) -> str:
    word = heading(name)
    tier, _, rest = word.rpartition(" traffic")
    return f"{written(tier)} traffic" if tier and not rest else word


def _number(array: Any, unit: str, row: int) -> Cell:
    value = cell(array, row)
    if value is None or value != value:
        return unknown()
    return Cell(text=figure_text(value, unit), value=value)
