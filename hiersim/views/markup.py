"""HTML and SVG as trees of elements, so that every name from a trace is escaped by the serializer and none by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Final
from xml.etree.ElementTree import Element, tostring

Node = Element | str
Child = Node | Iterable[Node] | None
_UNSEEN: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Controls, halves of characters, and what turns the direction of text: no name needs them, and they mislead."""


def el(tag: str, attributes: dict[str, Any] | None = None, /, *children: Child) -> Element:
    """An element with its children in order.

    Parameters
    ----------
    tag : str
        Name of the element.
    attributes : dict, optional
        Values are printed; True gives an attribute without a value, None and False leave it out.
    children : str, Element, or iterables of them
        None is left out.
    """
    node = Element(tag)
    for name, value in (attributes or {}).items():
        if value is not None and value is not False:
            node.set(name, "" if value is True else number(value) if isinstance(value, float) else str(value))
    for child in children:
        if child is None:
            continue
        if isinstance(child, str | Element):
            _append(node, child)
        else:
            for item in child:
                _append(node, item)
    return node


def _append(node: Element, child: Node) -> None:
    if isinstance(child, Element):
        node.append(child)
    elif len(node):
        node[-1].tail = (node[-1].tail or "") + child
    else:
        node.text = (node.text or "") + child


def number(value: float) -> str:
    """A coordinate: two decimals are finer than any screen, and the same on every platform."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("", "-0") else text


def script_data(value: object) -> str:
    """JSON that can stand in a script element: it cannot end the element or open a comment."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def to_html(node: Element) -> str:
    """The element as HTML; text that cannot be encoded or printed is replaced."""
    return _UNSEEN.sub("\ufffd", tostring(node, encoding="unicode", method="html"))


def to_fragment(node: Element) -> str:
    """The element as markup that is HTML and XML at once; for pieces without script, style and void elements."""
    return _UNSEEN.sub("\ufffd", tostring(node, encoding="unicode", short_empty_elements=False))
