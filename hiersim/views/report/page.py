"""The report as one HTML page: its style and script are inside, and nothing is ever loaded."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final
from xml.etree.ElementTree import Element

from hiersim.model.metrics import LABELS, Metric
from hiersim.sweeps.table import Sweep
from hiersim.version import __version__
from hiersim.views.figures.canvas import hatches
from hiersim.views.markup import el, to_html
from hiersim.views.report import detail, sections
from hiersim.views.report.parts import Words, anchor
from hiersim.views.report.runs import Group
from hiersim.views.report.sweep import sweep_sections

_HERE: Final = Path(__file__).parent


def report_html(groups: Sequence[Group], title: str | None = None, sweeps: Sequence[Sweep] = ()) -> str:
    """The page of some groups of runs; the same runs give the same bytes.

    Parameters
    ----------
    groups : sequence of Group
        At least one, see `runs.of_results` and `runs.of_saved`.
    title : str, optional
        Its heading; default: what was run.
    sweeps : sequence of Sweep, optional
        Shown before the groups, which then are what to look at closely.
    """
    parts: list[Element | str] = [title] if title else _heading(groups, sweeps)
    heading = "".join(part if isinstance(part, str) else part.text or "" for part in parts)
    style, script = ((_HERE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    words = Words(tiers=frozenset(_tiers(groups)))
    swept = [el("section", {"class": "sweep"}, list(sweep_sections(words, sweep))) for sweep in sweeps]
    body = [
        _group(words, group, number, alone=len(groups) == 1 and not sweeps)
        for number, group in enumerate(groups, start=1)
    ]
    glance = [sections.all_groups(words, groups)] if len(groups) > 1 else []
    page = el(
        "html",
        {"lang": "en"},
        _head(heading, style, script),
        el(
            "body",
            None,
            el("a", {"class": "skip", "href": "#main"}, "Skip to the report"),
            hatches(),
            el(
                "header",
                {"class": "top"},
                el("p", {"class": "eyebrow"}, "hiersim report"),
                el("h1", None, parts),
            ),
            el("main", {"id": "main", "tabindex": -1}, swept, glance, body, _glossary(words)),
            _footer(),
            el("div", {"id": "tip", "role": "tooltip", "hidden": True}),
            el("script", None, script),
        ),
    )
    return "<!DOCTYPE html>\n" + to_html(page) + "\n"


def _heading(groups: Sequence[Group], sweeps: Sequence[Sweep]) -> list[Element | str]:
    """What was run, names in one piece."""
    if sweeps:
        count = sum(len(sweep) for sweep in sweeps)
        return [f"{count:,} points of {'a sweep' if len(sweeps) == 1 else f'{len(sweeps)} sweeps'}"]
    designs = list(dict.fromkeys(str(run.facts["design"]) for group in groups for run in group.runs))
    names = [el("span", {"class": "name"}, name) for name in designs[:2]]
    on: list[Element | str] = [f"{len(designs)} designs"] if len(designs) > 2 else [names[0]]
    on += [" and ", names[1]] if len(designs) == 2 else []
    what = el("span", {"class": "name"}, groups[0].trace) if len(groups) == 1 else f"{len(groups)} models"
    return [what, " on ", *on]


def _tiers(groups: Sequence[Group]) -> Iterable[str]:
    return (tier for group in groups for run in group.runs for tier in run.facts["traffic_bytes"])


def _head(heading: str, style: str, script: str) -> Element:
    """No page of names from traces may load or run anything but its own style and script, named by their digests."""
    own = f"style-src '{_digest(style)}'; script-src '{_digest(script)}'"
    policy = f"default-src 'none'; {own}; base-uri 'none'; form-action 'none'"
    return el(
        "head",
        None,
        el("meta", {"charset": "utf-8"}),
        el("meta", {"http-equiv": "Content-Security-Policy", "content": policy}),
        el("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        el("meta", {"name": "color-scheme", "content": "light dark"}),
        el("meta", {"name": "generator", "content": f"hiersim {__version__}"}),
        el("title", None, f"{heading} · hiersim"),
        el("style", None, style),
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


Section = tuple[str, str, Callable[[], Iterator[Element]]]


def _group(words: Words, group: Group, number: int, alone: bool) -> Element:
    """A group of runs: its summary, then a section for each question."""
    level = 2 if alone else 3
    parts = [(name, title, list(made())) for name, title, made in _sections(words, group, number)]
    parts = [(name, title, content) for name, title, content in parts if content]
    links = [el("li", None, el("a", {"href": f"#{name}-{number}"}, title)) for name, title, _ in parts]
    head = None if alone else el("h2", {"id": f"group-{number}"}, group.trace)
    return el(
        "section",
        {"class": "group"},
        head,
        list(sections.overview(words, group)),
        el("nav", {"aria-label": f"Sections on {group.trace}"}, el("ul", None, links)),
        [
            el("section", {"class": name}, el(f"h{level}", {"id": f"{name}-{number}"}, title), content)
            for name, title, content in parts
        ],
    )


def _sections(words: Words, group: Group, number: int) -> Iterator[Section]:
    """Name, title and content of each section, what matters most first."""
    replayed = group.fastest.result is not None
    yield "time", "Where the time goes", lambda: sections.time_section(words, group)
    if group.what_ifs:
        yield "what-ifs", "What a better part would return", lambda: detail.what_if_section(words, group)
    if replayed:
        yield "roofline", "How far from the roofs", lambda: detail.roofline_section(words, group)
    yield "bytes", "Which memory carries what", lambda: sections.bytes_section(words, group)
    if replayed:
        yield "memory", "What memory holds over time", lambda: detail.memory_section(words, group)
        yield "knees", "How large a cache would have to be", lambda: detail.knees_section(words, group)
        yield "layers", "Which layers", lambda: detail.layers_section(words, group)
        yield "kernels", "Which kernels", lambda: detail.kernels_section(words, group, number)
    yield "bounds", "How much faster it could be at all", lambda: sections.bounds_section(words, group)
    if any(run.facts.get("warnings") for run in group.runs):
        yield "warnings", "What to know before trusting it", lambda: sections.warnings_section(group)
    yield "provenance", "Where it comes from", lambda: _provenance(words, group)


def _provenance(words: Words, group: Group) -> Iterator[Element]:
    yield from sections.provenance_section(words, group)
    yield from detail.design_section(words, group)


def _glossary(words: Words) -> Element:
    called = {word: label for label, word in reversed(list(LABELS.items())) if "_" in word}
    named = sorted(
        ((called.get(item.name, item.name.replace("_", " ")), item) for item in words.used.values()),
        key=lambda pair: (pair[0].lower(), pair[1].name),
    )
    entries = [_entry(label, item) for label, item in named]
    return el(
        "section",
        None,
        el("h2", {"id": "glossary"}, "Words"),
        el("dl", {"class": "glossary"}, entries),
    )


def _entry(label: str, item: Metric) -> Element:
    """A word of the glossary: as the page says it, as JSON does, and what it means."""
    key = el("code", None, item.name) if item.name != label else None
    meaning = item.meaning + ("" if item.unit == "-" else f" Unit: {item.unit}.")
    texts = [el("code", None, part) if index % 2 else part for index, part in enumerate(meaning.split("`"))]
    place = anchor(item.name)
    return el("div", {"id": place}, el("dt", None, label, key), el("dd", {"id": f"{place}-text"}, texts))


def _footer() -> Element:
    return el(
        "footer",
        None,
        el(
            "p",
            None,
            f"Made by hiersim {__version__}. Times are predictions of a simulator, not measurements. The page is "
            "whole in itself and loads nothing.",
        ),
    )
