"""The sections of a group of runs that need a replay: roofline, what-ifs, memory over time, knees, layers, kernels."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element

import numpy as np

from hiersim.model.timeline import ENGINES, Entry, column_meaning
from hiersim.results import MAIN_ENGINE, Result
from hiersim.units import show_bytes, show_ticks
from hiersim.views.designs import design_rows
from hiersim.views.explanation import capacity as cache_size
from hiersim.views.figures.bars import cause_words, layer_bars
from hiersim.views.figures.canvas import key, plain_key
from hiersim.views.figures.knees import knees_figure
from hiersim.views.figures.occupancy import occupancy_figure, role_colour
from hiersim.views.figures.roofline import roofline_figure
from hiersim.views.figures.tornado import tornado_figure
from hiersim.views.markup import el, script_data
from hiersim.views.palette import tier_colour
from hiersim.views.report.parts import Cell, Column, Words, drawn, legend, scrolled, sorter, table, unknown
from hiersim.views.report.runs import Group
from hiersim.views.report.summary import names
from hiersim.views.series.knees import Knees, knees
from hiersim.views.series.occupancy import occupancy
from hiersim.views.series.parts import part_words
from hiersim.views.series.roofline import Roofline, roofline
from hiersim.views.series.stalls import Stack, family_stacks, module_stacks, ordered
from hiersim.views.tables import dollars, percent, written
from hiersim.what_ifs import WhatIf

NOTHING = 0.0005
"""A part whose change moves the time by less is not listed."""
MOST_LAYERS = 40
MOST_FAMILIES = 20
SHOWN = 10
"""Kernels in the table before anything is asked of it."""
PARTS = (
    ("useful", "padding", "tail"),
    ("dispatch",),
    ("bandwidth",),
    ("latency",),
    ("dependency", "capacity", "contention"),
)
"""Entries of the ledger that share a column of the kernels' table."""


def roofline_section(words: Words, group: Group) -> Iterator[Element]:
    """Kernels of the first run and of the fastest below the roofs of every tier."""
    base, best = group.base.result, group.fastest.result
    assert best is not None
    labels = names(group)
    chosen, called = [best], [labels[group.runs.index(group.fastest)]]
    if base is not None and base is not best and base.design == best.design:
        chosen, called = [base, best], [labels[0], *called]
    data = roofline(chosen, called)
    ways = f"hollow: {called[0]}, filled: {called[-1]}; the arrows lead from one to the other as a whole" if len(
        called
    ) > 1 else "the diamonds are the run as a whole"  # fmt: skip
    caption = (
        f"Each circle is one sort of kernel at the port of one tier, as large as its share of the time ({ways}). Left "
        "of a slope’s end a kernel has too few operations per byte to keep the cores busy, whatever the schedule."
    )
    marks = legend(
        (plain_key(tier_colour(roof.name)), words.term(written(roof.name), "tier")) for roof in data.bandwidths
    )
    made = drawn(lambda width: roofline_figure(data, width), caption, "roofline", marks)
    if made is not None:
        words.entry("roofline")
        words.entry("arithmetic intensity")
        yield made
        yield _roofline_table(words, data)


def _roofline_table(words: Words, data: Roofline) -> Element:
    rows = [
        [
            Cell(text=run.label),
            Cell(text=written(point.tier)),
            Cell(text=f"{point.intensity:,.1f}", value=point.intensity),
            Cell(text=f"{point.rate / 1e12:,.1f}", value=point.rate),
            Cell(text=show_bytes(point.bytes), value=point.bytes),
        ]
        for run in data.runs
        for point in run.whole
    ]
    columns = [
        Column(label="run", numeric=False, word="fusion"),
        Column(label="tier", numeric=False),
        Column(label="FLOP/B", word="arithmetic intensity"),
        Column(label="TFLOP/s", word="flops"),
        Column(label="moved", word="traffic_bytes"),
    ]
    return table(words, "Runs as a whole, while their kernels run", columns, rows)


def what_if_section(words: Words, group: Group) -> Iterator[Element]:
    """What each part would change if it were twice as good or half as good; every figure is a replay."""
    items = [item for item in group.what_ifs if abs(item.returned) >= NOTHING or abs(item.lost or 0.0) >= NOTHING]
    label = names(group)[group.runs.index(group.fastest)]
    if not items:
        yield el("p", None, f"Nothing that was made twice or half as good changes the time of {label}.")
        return
    caption = (
        f"Time of {label} when one part of the design is twice as good (blue) or half as good (orange), each replayed "
        "with the same kernels. Latencies and launches are better when they are shorter. Parts that change nothing are "
        "left out."
    )
    made = drawn(lambda width: tornado_figure(items, width), caption, "tornado")
    if made is not None:
        yield made
    yield _what_if_table(words, items)


def _what_if_table(words: Words, items: list[WhatIf]) -> Element:
    rows = []
    for item in items:
        change = " ".join(f"--set {path}={value}" for path, value in item.better.items())
        worse = item.worse_makespan
        rows.append(
            [
                Cell(text=part_words(item)),
                Cell(text=("" if item.returned >= 0 else "−") + percent(abs(item.returned)), value=item.returned),
                Cell(text=show_ticks(item.better_makespan), value=item.better_makespan),
                unknown() if worse is None else Cell(text=show_ticks(worse), value=worse),
                unknown() if item.cost_usd is None else Cell(text=dollars(item.cost_usd), value=item.cost_usd),
                Cell(text=el("code", None, change)),
            ]
        )  # fmt: skip
    columns = [
        Column(label="part", numeric=False, word="design"),
        Column(label="returns", word="makespan_share"),
        Column(label="time if better", word="time_s"),
        Column(label="time if worse", word="time_s"),
        Column(label="more memory", word="memory_cost_usd"),
        Column(label="to try it", numeric=False, word="set"),
    ]
    return table(words, "Parts of the design, twice as good", columns, rows)


def memory_section(words: Words, group: Group) -> Iterator[Element]:
    """What the last tier holds over time."""
    result = group.fastest.result
    assert result is not None
    data = occupancy(result)
    if not data.roles:
        return
    caption = (
        f"What {written(data.tier)} holds while the run goes on, by the role of tensors: at most "
        f"{show_bytes(data.peak_bytes)}, while {data.peak_kernel} runs."
    )
    marks = legend(
        (plain_key(role_colour(role)), words.term(role.replace("_", " "), role)) for role in reversed(data.roles)
    )
    made = drawn(lambda width: occupancy_figure(data, width), caption, "occupancy", marks)
    if made is not None:
        yield made


def knees_section(words: Words, group: Group) -> Iterator[Element]:
    """How large a shared cache would have to be, and for what."""
    result = group.fastest.result
    assert result is not None
    data = knees(result)
    if data is None:
        yield el("p", None, "No bytes are used twice: a shared cache of any size would save nothing.")
        return
    words.entry("working set")
    caption = (
        f"{written(data.home)} traffic behind a single shared cache of any capacity. Where the curve falls, a working "
        "set has found room; the numbers are those of the list, the largest savings first."
    )
    made = drawn(lambda width: knees_figure(data, width), caption, "knees", _knee_list(words, data))
    if made is not None:
        yield made


def _knee_list(words: Words, data: Knees) -> Element:
    items = []
    for knee in data.knees:
        held = ""
        if knee.served is not None and data.cache is not None:
            part = "all of it" if knee.served >= 1 else "none of it"
            part = percent(min(knee.served, 0.999)) + " of it" if 0 < knee.served < 1 else part
            held = f"; {written(data.cache)} holds {part}"
        items.append(
            el(
                "li",
                None,
                el("strong", None, cache_size(knee.held_bytes)),
                f" saves {show_bytes(knee.saved_bytes)}: {knee.name}{held}.",
            )
        )
    return el("ol", {"class": "knees"}, items)


def layers_section(words: Words, group: Group) -> Iterator[Element]:
    """The ledger by part of a layer, summed over all layers."""
    result = group.fastest.result
    assert result is not None
    stacks = module_stacks(result, below=1, merge=True, most=MOST_LAYERS)
    if len(stacks) < 2:
        return
    causes = ordered({cause for stack in stacks for cause, _ in stack.parts}, result.program.tiers)
    marks = legend((key(*cause), words.term(cause_words(cause), cause[0])) for cause in causes)
    caption = (
        "Time by module, all layers added up, in the order in which they first run; * stands for a layer’s number."
    )
    made = drawn(lambda width: layer_bars(stacks, width), caption, "layers", marks)
    if made is not None:
        yield made
        yield _layers_table(words, stacks)


def _layers_table(words: Words, stacks: tuple[Stack, ...]) -> Element:
    total = max(sum(stack.ticks for stack in stacks), 1)
    rows = []
    for stack in stacks:
        parts = _five(stack)
        share = stack.ticks / total
        rows.append(
            [
                Cell(text=stack.label), Cell(text=show_ticks(stack.ticks), value=stack.ticks),
                Cell(text=percent(share), value=share), *(Cell(text=show_ticks(part), value=part) for part in parts),
            ]
        )  # fmt: skip
    columns = [
        Column(label="module", numeric=False),
        Column(label="time", word="ledger"),
        Column(label="share", word="makespan_share"),
        *_part_columns(),
    ]
    return el(
        "details",
        None,
        el("summary", None, "The same as a table"),
        table(words, "Time by module, all layers added up", columns, rows),
    )


def _five(stack: Stack) -> list[int]:
    """Ticks of a stack in the columns of `PARTS`."""
    return [sum(ticks for cause, ticks in stack.parts if cause[0] in group) for group in PARTS]


def _part_columns() -> list[Column]:
    return [
        Column(label="working"),
        Column(label="dispatch"),
        Column(label="bandwidth"),
        Column(label="latency"),
        Column(label="other waiting", word="stall"),
    ]


def kernels_section(words: Words, group: Group, number: int) -> Iterator[Element]:
    """Every kernel of the fastest run: the longest in the table, all of them one search away."""
    result = group.fastest.result
    assert result is not None
    data = kernel_columns(result)
    longest = sorted(range(len(data["time"])), key=lambda kernel: (-data["time"][kernel], kernel))[:SHOWN]
    rows = [
        [
            Cell(text=str(kernel), value=kernel),
            Cell(text=data["names"][data["name"][kernel]]),
            Cell(text=data["modules"][data["module"][kernel]]),
            Cell(text=show_ticks(data["time"][kernel]), value=data["time"][kernel]),
            *(Cell(text=show_ticks(part), value=part) for part in data["parts"][data["part"][kernel]]),
        ]
        for kernel in longest
    ]
    columns = [
        Column(label="no.", word="kernel"),
        Column(label="kernel", numeric=False, word="kernel_name"),
        Column(label="module", numeric=False),
        Column(label="time", word="ticks"),
        *_part_columns(),
    ]
    caption = f"Kernels of {names(group)[group.runs.index(group.fastest)]}, the longest first"
    made = _kernel_table(words, caption, columns, rows)
    yield _families_table(words, result)
    box = f"search-{number}"
    tools = el(
        "div",
        {"class": "tools of-kernels", "hidden": True},
        el("label", {"for": box}, "Find by name or module", el("input", {"type": "search", "id": box})),
        el("span", {"role": "status"}, ""),
    )
    more = el("button", {"type": "button", "class": "more", "hidden": True}, "Show 100 more")
    yield tools
    yield made
    yield more
    yield el("script", {"type": "application/json"}, script_data(data))


def _families_table(words: Words, result: Result) -> Element:
    """Kernels of one name added up, what takes most of the time first."""
    stacks, counts = family_stacks(result, MOST_FAMILIES)
    whole = max(int(result.makespan), 1)
    rows = [
        [
            Cell(text=stack.label),
            Cell(text=f"{counts[stack.label]:,}", value=counts[stack.label]),
            Cell(text=show_ticks(stack.ticks), value=stack.ticks),
            Cell(text=percent(stack.ticks / whole), value=stack.ticks / whole),
            *(Cell(text=show_ticks(part), value=part) for part in _five(stack)),
        ]
        for stack in sorted(stacks, key=lambda stack: (-stack.ticks, stack.label))
    ]
    columns = [
        Column(label="kernels of one name", numeric=False, word="kernel_name"),
        Column(label="count", word="same_name"),
        Column(label="time", word="ledger"),
        Column(label="share", word="makespan_share"),
        *_part_columns(),
    ]
    return table(
        words,
        "By name of the kernel, with the waiting before each",
        columns,
        rows,
        attributes={"data-table": "families"},
    )


def _kernel_table(words: Words, caption: str, columns: list[Column], rows: list[list[Cell]]) -> Element:
    """Like `parts.table`, but the name is the row's head and the whole list, not only what is shown, sorts."""
    heads = []
    for column in columns:
        attributes = {"scope": "col", "class": "n" if column.numeric else None}
        first = "descending" if column.label == "time" else "none"
        heads.append(el("th", {**attributes, "aria-sort": first}, sorter(words, column)))
    body = []
    for row in rows:
        cells = [
            el("td", {"class": "n" if column.numeric else "text"}, cell.text)
            for cell, column in zip(row, columns, strict=True)
        ]
        cells[1] = el("th", {"scope": "row"}, row[1].text)
        body.append(el("tr", None, cells))
    made = el(
        "table", {"data-table": "kernels"}, el("caption", None, el("span", None, caption)),
        el("thead", None, el("tr", None, heads)), el("tbody", None, body),
    )  # fmt: skip
    return scrolled(made, caption)


def kernel_columns(result: Result) -> dict[str, list]:  # type: ignore[type-arg]
    """All kernels as columns of small integers: names, modules and ledgers stand once and are pointed at."""
    program, timeline, graph = result.program, result.timeline, result.graph
    ledger = timeline.ledger_rows[:, ENGINES.index(MAIN_ENGINE)]
    parts = np.zeros((len(ledger), len(PARTS)), np.int64)
    place = {name: index for index, group in enumerate(PARTS) for name in group}
    for column in range(ledger.shape[1]):
        entry: Entry = column_meaning(column, len(program.tiers))[0]
        parts[:, place[entry.name.lower()]] += ledger[:, column]
    names_, name = _indexed(program.kernel_names)
    modules, module = _indexed(_modules(result))
    assert len(graph.names) <= len(program)
    return {
        "names": names_, "modules": modules, "parts": parts.tolist(), "name": name, "module": module,
        "part": timeline.ledger_row.tolist(), "time": (timeline.end - timeline.start).tolist(),
        "total": int((timeline.end - timeline.start).sum()),
    }  # fmt: skip


def _modules(result: Result) -> list[str]:
    """The module of each kernel's first operator; empty for copies."""
    graph, owner = result.graph, result.program.graph_kernel
    table_, pointer = graph.operators, graph.operator_ptr.tolist()
    module = table_.module.tolist()
    found = []
    for kernel in range(len(result.program)):
        row = kernel if owner is None else int(owner[kernel])
        filled = row >= 0 and pointer[row] < pointer[row + 1]
        found.append(table_.strings[module[pointer[row]]] if filled else "")
    return found


def _indexed(values: list[str] | tuple[str, ...]) -> tuple[list[str], list[int]]:
    """Distinct values, and for each value its place among them."""
    known: dict[str, int] = {}
    places = [known.setdefault(value, len(known)) for value in values]
    return list(known), places


def design_section(words: Words, group: Group) -> Iterator[Element]:
    """Every value of the designs, with its source."""
    seen: dict[str, Result] = {}
    for run in group.runs:
        if run.result is not None:
            seen.setdefault(f"{run.facts['design']} {sorted(run.facts.get('set', {}).items())}", run.result)
    for result in seen.values():
        rows = [
            [Cell(text=el("code", None, path)), Cell(text=value), Cell(text=source or "–")]
            for path, value, source in design_rows(result.design)
        ]
        columns = [Column(label=label, numeric=False) for label in ("value", "is", "source")]
        changed = ", changed" if result.changes else ""
        title = f"{result.design.title}{changed}: every value with its source"
        made = table(words, title, columns, rows)
        yield el("details", None, el("summary", None, title), made)
