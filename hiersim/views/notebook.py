"""How values show themselves in notebooks: HTML with inline SVG, without script, in the notebook's own colours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final
from xml.etree.ElementTree import Element

from hiersim.model.design import Design, Tier
from hiersim.model.trace import Trace
from hiersim.results import Result, headline
from hiersim.units import UNLIMITED, show_bandwidth, show_bytes, show_capacity, show_flops, show_ticks
from hiersim.views.figures.bars import cause_words, run_bars
from hiersim.views.figures.canvas import faint, figure, hatches, key, linear, logarithmic, plain_key, rule, text
from hiersim.views.figures.roofline import roofline_figure
from hiersim.views.markup import Child, el, to_fragment
from hiersim.views.palette import DRAM, FLASH, HBM, HOST, LINK, SRAM, WORK, tier_colour
from hiersim.views.series.roofline import roofline
from hiersim.views.series.stalls import Stack, ledger_stack
from hiersim.views.tables import comparison_rows, headings, written
from hiersim.views.traces import kind_rows, trace_facts

WIDTH: Final = 720
"""Units across: what the text column of a notebook has."""
_KINDS: Final = (HBM, SRAM, HOST, DRAM, FLASH, LINK, WORK, "#F0E442")
_LEGEND: Final = "display:flex;flex-wrap:wrap;gap:2px 16px;margin:6px 0;font-size:90%"
_CELL: Final = "text-align:right;font-variant-numeric:tabular-nums"


def result_html(result: Result) -> str:
    """Its ledger as a bar, the figures that one looks at first, and its roofline."""
    stack = ledger_stack(result.fusion, result.to_dict())
    rows = [(label, [shown]) for label, shown in headline(result).items()]
    return _shown(
        f"{result.trace.name} · {result.design.name} · {result.fusion}",
        run_bars([stack], WIDTH),
        _causes([stack]),
        _table(rows),
        roofline_figure(roofline([result]), WIDTH),
    )


def comparison_html(results: Sequence[Result]) -> str:
    """The ledgers as bars, the table of `compare`, and the first and the last run below the roofs."""
    if not results:
        return _shown("no results")
    labels = [heading.replace("\n", ", ") for heading in headings(results)]
    stacks = [ledger_stack(label, result.to_dict()) for label, result in zip(labels, results, strict=True)]
    rows = [(label, list(cells)) for label, cells in comparison_rows(results)]
    return _shown(
        " and ".join(dict.fromkeys(result.trace.name for result in results)),
        run_bars(stacks, WIDTH),
        _causes(stacks),
        _table(rows, labels),
        roofline_figure(roofline(results, labels), WIDTH),
    )


def design_html(design: Design) -> str:
    """Its tiers, as long as they are large on a logarithmic scale, with bandwidth and latency."""
    largest = max(_held(design, tier) for tier in design.memory)
    least = min(_held(design, tier) for tier in design.memory)
    scale = logarithmic(max(least / 8, 1), max(largest, 16), 110, WIDTH - 250)
    children: list[Element] = []
    for row, tier in enumerate(design.memory):
        y, size = 8 + 30 * row, _held(design, tier)
        end = scale(size)
        children.append(text(102, y + 15, written(tier.name), "end", font_weight="600"))
        bar = {"x": 110, "y": y, "width": max(end - 110, 2), "height": 20, "fill": tier_colour(tier.name)}
        children.append(el("rect", bar))
        children.append(faint(end + 8, y + 15, _tier_words(design, tier)))
    height = 8 + 30 * len(design.memory)
    words = f"{int(design.compute.cores):,} cores; tiers by capacity, on a logarithmic scale"
    label = "Memory tiers: " + ", ".join(f"{tier.name} {show_capacity(tier.capacity)}" for tier in design.memory)
    return _shown(design.title, figure(WIDTH, height, label, *children), el("p", {"style": "font-size:90%"}, words))


def trace_html(trace: Trace) -> str:
    """What its operators are: their count, their arithmetic and their bytes by kind."""
    rows = sorted(kind_rows(trace), key=lambda row: (-row["matrix_flops"] - row["vector_flops"], row["kind"]))
    bars: list[tuple[str, Callable[[dict[str, Any]], int], Callable[[int], str]]] = [
        ("operators", lambda row: int(row["operators"]), lambda count: f"{count:,}"),
        ("arithmetic", lambda row: int(row["matrix_flops"] + row["vector_flops"]), show_flops),
        ("bytes", lambda row: int(row["read_bytes"] + row["write_bytes"]), show_bytes),
    ]
    children: list[Element] = []
    for place, (label, value, show) in enumerate(bars):
        children += _mix(8 + 40 * place, label, [(row["kind"], value(row)) for row in rows], show)
    facts = trace_facts(trace)
    marks = [(plain_key(_KINDS[place % len(_KINDS)]), row["kind"]) for place, row in enumerate(rows)]
    carried = [f"{name}: {count:,} kernels" for name, count in {**facts["schedules"], **facts["groupings"]}.items()]
    about = "; ".join(filter(None, (facts["model"], facts["workload"], facts["dtype"], *carried)))
    return _shown(
        trace.name,
        figure(WIDTH, 8 + 40 * len(bars), f"Operators of {trace.name} by kind.", *children),
        _legend(marks),
        el("p", {"style": "font-size:90%"}, about) if about else None,
    )


def _mix(y: float, label: str, parts: list[tuple[str, int]], show: Callable[[int], str]) -> list[Element]:
    """A bar of shares."""
    total = max(sum(amount for _, amount in parts), 1)
    scale = linear(0, total, 110, WIDTH - 120)
    found = [text(102, y + 16, label, "end", font_weight="600"), rule(110, y + 30, WIDTH - 120, y + 30)]
    done = 0
    for place, (kind, amount) in enumerate(parts):
        begin, end = scale(done), scale(done + amount)
        done += amount
        bar = el("rect", {"x": begin, "y": y, "width": end - begin, "height": 24, "fill": _KINDS[place % len(_KINDS)]})
        bar.append(el("title", None, f"{kind}: {show(amount)}, {amount / total:.1%}"))
        found.append(bar)
    return [*found, faint(WIDTH - 110, y + 16, show(total))]


def _held(design: Design, tier: Tier) -> int:
    """Bytes of a tier, all cores' copies together."""
    copies = int(design.compute.cores) if tier in design.core_tiers else 1
    return int(tier.capacity) * copies


def _tier_words(design: Design, tier: Tier) -> str:
    copies = f"{int(design.compute.cores):,} × " if tier in design.core_tiers else ""
    words = [f"{copies}{show_capacity(tier.capacity)}"]
    rate = tier.bandwidth or tier.read_bandwidth
    if rate is not None and rate < UNLIMITED:
        words.append(show_bandwidth(rate))
    if tier.latency:
        words.append(show_ticks(tier.latency))
    return " · ".join(words)


def _causes(stacks: Iterable[Stack]) -> Element:
    causes = dict.fromkeys(cause for stack in stacks for cause, _ in stack.parts)
    return _legend([(key(*cause), cause_words(cause)) for cause in causes])


def _legend(items: Iterable[tuple[Element, str]]) -> Element:
    place = {"style": "display:flex;align-items:center;gap:6px"}
    return el("div", {"style": _LEGEND}, [el("span", place, mark, label) for mark, label in items])


def _table(rows: Sequence[tuple[str, list[str]]], heads: Sequence[str] = ()) -> Element:
    """Labels and figures; heads where there are several columns."""
    head = el("tr", None, el("th", None), [el("th", {"scope": "col", "style": _CELL}, label) for label in heads])
    indent = "text-align:left;padding-left:1.6em;font-weight:400"
    body = [
        el(
            "tr",
            None,
            el("th", {"scope": "row", "style": indent if label.startswith(" ") else "text-align:left"}, label.strip()),
            [el("td", {"style": _CELL}, cell) for cell in cells],
        )
        for label, cells in rows
    ]
    return el("table", None, head if heads else None, body)


def _shown(title: str, *parts: Child) -> str:
    """The pieces below a title, as wide as a figure at most."""
    style = {"style": f"max-width:{WIDTH}px"}
    heading = el("div", {"style": "font-weight:600;margin-bottom:6px"}, title)
    patterns = hatches()
    patterns.set("style", "position:absolute")
    return to_fragment(el("div", style, patterns, heading, *parts))
