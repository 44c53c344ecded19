"""Decisions as small HTML tables, for Jupyter; the colours are the notebook's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def html_table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose first column is to the left and the others to the right; every cell is shown as it is."""
    top = "".join(f"<th>{escape(head)}</th>" for head in heads)
    body = "".join(f"<tr>{''.join(_cell(place, text) for place, text in enumerate(row))}</tr>" for row in rows)
    return f"<table><caption>{escape(caption)}</caption><tr>{top}</tr>{body}</table>"


def _cell(place: int, text: str) -> str:
    return f"<td style='text-align:{'right' if place else 'left'}'>{escape(text)}</td>"


def signed_percent(share: float | None) -> str:
    """A share with its sign, in per cent; a dash where there is none."""
    return "–" if share is None else f"{100 * share:+.1f} %"


def times(factor: float | None) -> str:
    """A factor; a dash where there is none."""
    return "–" if factor is None else f"{factor:.2f} x"
