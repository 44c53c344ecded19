"""Pieces that sections are made of: tables that sort, figures in two widths, legends, and words with an explanation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final
from xml.etree.ElementTree import Element

from hiersim.model.metrics import Metric, find
from hiersim.views.figures.canvas import NARROW, WIDE
from hiersim.views.markup import Child, el
from hiersim.views.report.summary import Figure, Sentence

MOST_UNSEARCHED: Final = 15
"""Tables of more rows can be searched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """Marks words that the glossary explains, and remembers which the page uses."""

    tiers: frozenset[str]
    used: dict[str, Metric] = field(default_factory=dict)

    def entry(self, word: str) -> Metric | None:
        """The glossary's entry of a word, as far as there is one; it is then listed at the end of the page."""
        found = find(word, self.tiers)
        if found is not None:
            self.used.setdefault(found.name, found)
        return found

    def term(self, label: str, word: str | None = None) -> Element | str:
        """`label` with its explanation one glance away; itself where the glossary has none."""
        found = self.entry(word or label)
        if found is None:
            return label
        return el("a", {"class": "term", "href": f"#{anchor(found.name)}"}, label)


def anchor(word: str) -> str:
    """The place of a word in the glossary of the page."""
    return "word-" + "".join(ch if ch.isalnum() else "-" for ch in word)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table."""

    label: str
    numeric: bool = True
    word: str | None = None
    """The glossary's word for it, where its label is another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What a cell shows, and the number that it is sorted by."""

    text: Child
    value: float | int | None = None


def unknown() -> Cell:
    """A figure that is not known."""
    return Cell(text="–", value=None)


def table(
    words: Words, caption: str, columns: Sequence[Column], rows: Iterable[Sequence[Cell]], total: Sequence[Cell] = (),
    attributes: dict[str, str] | None = None,
) -> Element:  # fmt: skip
    """A table with a caption; its first column names the row, and every head sorts."""
    body = [
        el("tr", None, [_cell(cell, column, index == 0) for index, (cell, column) in _pairs(row, columns)])
        for row in rows
    ]
    sortable = len(body) > 1
    heads = [_head(words, column, sortable) for column in columns]
    foot = None
    if total:
        cells = [_cell(cell, column, index == 0) for index, (cell, column) in _pairs(total, columns)]
        foot = el("tfoot", None, el("tr", None, cells))
    made = el(
        "table",
        {"class": "sortable" if sortable else None, **(attributes or {})},
        el("caption", None, el("span", None, caption)),
        el("thead", None, el("tr", None, heads)),
        el("tbody", None, body),
        foot,
    )
    held = scrolled(made, caption)
    return held if len(body) <= MOST_UNSEARCHED else el("div", {"class": "searched"}, _search(caption), held)


def _search(caption: str) -> Element:
    """A box that leaves only the rows with what is typed; the script shows it."""
    box = el("input", {"type": "search", "aria-label": f"Find in: {caption}"})
    return el(
        "div", {"class": "tools", "hidden": True}, el("label", None, "Find", box), el("span", {"role": "status"}, "")
    )


def scrolled(made: Element, label: str) -> Element:
    """A table that is wider than the screen scrolls by itself, by keyboard as well."""
    return el("div", {"class": "scroll", "tabindex": 0, "role": "group", "aria-label": label}, made)


def _pairs(row: Sequence[Cell], columns: Sequence[Column]) -> Iterable[tuple[int, tuple[Cell, Column]]]:
    return enumerate(zip(row, columns, strict=True))


def _head(words: Words, column: Column, sortable: bool) -> Element:
    """A column's head: a button that sorts, and beside it the way to the word's explanation."""
    attributes = {"scope": "col", "class": "n" if column.numeric else None}
    if not sortable:
        return el("th", attributes, words.term(column.label, column.word))
    return el("th", {**attributes, "aria-sort": "none"}, sorter(words, column))


def sorter(words: Words, column: Column) -> Element:
    """The button that sorts by a column; pointing at it shows what the column is."""
    found = words.entry(column.word or column.label)
    word = anchor(found.name) if found is not None else None
    return el(
        "button",
        {"type": "button", "data-word": word, "aria-describedby": f"{word}-text" if word else None},
        column.label,
    )


def _cell(cell: Cell, column: Column, first: bool) -> Element:
    value = "" if cell.value is None else repr(cell.value)
    attributes = {"class": "n" if column.numeric else None, "data-value": value if column.numeric else None}
    if first:
        return el("th", {**attributes, "scope": "row"}, cell.text)
    return el("td", {**attributes, "class": attributes["class"] or "text"}, cell.text)


def drawn(draw: Callable[[float], Element | None], caption: Child, name: str, *below: Child) -> Element | None:
    """A figure for wide and for narrow screens, with its caption; None where there is nothing to draw."""
    wide, narrow = draw(WIDE), draw(NARROW)
    if wide is None or narrow is None:
        return None
    return el(
        "figure",
        {"data-figure": name},
        el("div", {"class": "wide"}, wide),
        el("div", {"class": "narrow"}, narrow),
        *below,
        el("figcaption", None, caption),
    )


def legend(items: Iterable[tuple[Element, Child]]) -> Element:
    """Keys with their words."""
    return el("ul", {"class": "legend"}, [el("li", None, mark, el("span", None, label)) for mark, label in items])


def sentence_html(sentence: Sentence) -> Element:
    """A sentence of the summary; each figure carries the number that it was rounded from."""
    parts: list[Element | str] = []
    for part in sentence:
        if isinstance(part, Figure):
            parts.append(el("data", {"value": repr(part.value), "data-key": part.key}, part.text))
        else:
            parts.append(part)
    return el("p", None, parts)
