"""The rows of a table of operators, as CSV or YAML spells them: (line, text by column)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from hiersim.errors import TraceError, nearest

MAX_BYTES: Final = 32 * 2**20
MAX_YAML: Final = 2**18
"""YAML is read slowly; larger tables come as CSV."""
COLUMNS: Final[Mapping[str, str]] = {
    "name": "name of the row and of its result; required, each once",
    "kind": "gemm conv attention pointwise reduction gather scatter copy sort comm view opaque; or give op",
    "op": "an ATen operator (`aten.addmm`): its cost rule counts the FLOPs, kind may be left out",
    "dims": "sizes by kind, `m=64 n=512 k=256`",
    "shape": "sides of the result, `64x512`; follows from dims for gemm, conv and attention",
    "dtype": "element type of the row's tensors",
    "inputs": "names separated by blanks: rows above, or new tensors as `name:role` or `name:role:64x512`",
    "flops": "vector FLOPs; without it 1 per element (pointwise), 1 per element read (reduction), bias of products",
    "special": "evaluations of exp, tanh, rsqrt, …",
    "count": "the row stands for this many operators, each with weights of its own; default 1",
    "module": "path of the module",
    "phase": "forward backward optimizer",
}
_HEAD: Final = ("name", "dtype", "operators")
YAML_ENDINGS: Final = (".yaml", ".yml")


@dataclass(slots=True)
class Listing:
    """A file under reading; `line` is where it stands."""

    file: str
    line: int | None = None
    title: str = ""
    dtype: str = ""
    """Element type that the head of a YAML table gives."""
    given: Iterable[Mapping[str, object]] | None = None
    """Rows that are no file; lines count them from 1."""

    def fault(self, problem: str, key: str | None = None, expected: str | None = None) -> TraceError:
        """The error to raise at the present line."""
        return TraceError(problem, file=self.file, line=self.line, key=key, expected=expected)

    def rows(self) -> Iterator[dict[str, str]]:
        """Rows in order, `line` set to that of each.

        Raises
        ------
        TraceError
            With file and line of the first fault.
        """
        if self.given is not None:
            return self._given(self.given)
        path = Path(self.file)
        text = self._text(path)
        return self._yaml(text) if path.suffix.lower() in YAML_ENDINGS else self._csv(text)

    def _given(self, rows: Iterable[Mapping[str, object]]) -> Iterator[dict[str, str]]:
        """Cells as a file would spell them."""
        for number, row in enumerate(rows, start=1):
            self.line = number
            if not isinstance(row, Mapping):
                raise self.fault(f"{row!r:.60} is no row", expected="a table of columns and cells, as in a CSV file")
            self.columns([str(key) for key in row])
            yield {key: "" if cell is None else str(cell).strip() for key, cell in row.items()}

    def _text(self, path: Path) -> str:
        limit = MAX_YAML if path.suffix.lower() in YAML_ENDINGS else MAX_BYTES
        try:
            with path.open("rb") as stream:
                data = stream.read(limit + 1)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise self.fault(f"cannot be read: {reason}", expected="a table of operators (CSV, YAML)") from None
        if len(data) > limit:
            raise self.fault(f"is larger than {limit // 1024} KiB", expected="a smaller table (YAML: as CSV)")
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            self.line = data.count(b"\n", 0, error.start) + 1
            raise self.fault("is not UTF-8 text", expected="CSV or YAML in UTF-8") from None

    def columns(self, found: list[str]) -> list[str]:
        """`found`, when all are known and each is there once."""
        for index, key in enumerate(found):
            if key not in COLUMNS:
                raise self.fault(f"'{key[:60]}' is not a column", expected=nearest(key, COLUMNS))
            if key in found[:index]:
                raise self.fault("is there twice", key, "each column once")
        return found

    def _csv(self, text: str) -> Iterator[dict[str, str]]:
        """Blank lines and lines that begin with `#` are skipped."""
        heading = next((line for line in text.splitlines() if line.strip() and not line.startswith("#")), "")
        delimiter = max(",;\t", key=heading.count)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
        columns: list[str] = []
        try:
            for cells in reader:
                self.line = reader.line_num
                if not any(cell.strip() for cell in cells) or cells[0].startswith("#"):
                    continue
                if not columns:
                    columns = self.columns([cell.strip().lower() for cell in cells])
                    if "name" not in columns:
                        raise self.fault("has no column 'name'", expected="a heading with name, and kind or op")
                    continue
                if len(cells) > len(columns):
                    raise self.fault(f"has {len(cells)} cells", expected=f"{len(columns)}, as in the heading")
                yield {key: cell.strip() for key, cell in zip(columns, cells, strict=False)}
        except csv.Error as error:
            self.line = reader.line_num
            raise self.fault(f"is no CSV: {error}", expected="quoted cells that end") from None
        if not columns:
            self.line = None
            raise self.fault("is empty", expected=f"a heading with {', '.join(COLUMNS)}")

    def _yaml(self, text: str) -> Iterator[dict[str, str]]:
        """A list of rows, or `operators:` below `name:` and `dtype:`. Nodes are read as text: no tag acts."""
        nodes = _Nodes(self)
        root = nodes.compose(text)
        if root is not None and root.id == "mapping":
            head = nodes.mapping(root)
            for key, node in head.items():
                if key not in _HEAD:
                    raise nodes.fault(node, "is not a key of a table", key, nearest(key, _HEAD))
            self.title = nodes.text(head["name"], "name") if "name" in head else ""
            self.dtype = nodes.text(head["dtype"], "dtype") if "dtype" in head else ""
            root = head.get("operators")
        if root is None or root.id != "sequence":
            raise self.fault("holds no list of operators", expected="a list, or a table with `operators:`")
        nodes.once(root)
        for item in root.value:
            row = nodes.mapping(item)
            for key, node in row.items():
                nodes.at(node)
                self.columns([key])
            cells = {key: nodes.text(node, key) for key, node in row.items()}
            nodes.at(item)
            yield cells


@dataclass(slots=True)
class _Nodes:
    """Reads composed YAML nodes as text, each once (a second visit is an alias)."""

    listing: Listing
    seen: set[int] = field(default_factory=set)

    def compose(self, text: str) -> Any:
        """The root node; None where there is none."""
        from ruamel.yaml import YAML
        from ruamel.yaml.error import MarkedYAMLError, YAMLError

        try:
            return YAML(typ="safe", pure=True).compose(io.StringIO(text))
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            self.listing.line = mark.line + 1 if mark else None
            raise self.listing.fault(f"is no YAML: {error.problem}", expected="a list of operators") from None
        except (YAMLError, RecursionError, ValueError) as error:
            raise self.listing.fault(f"is no YAML: {error}", expected="a list of operators") from None

    def at(self, node: Any) -> None:
        """Stand at a node."""
        self.listing.line = node.start_mark.line + 1

    def fault(self, node: Any, problem: str, key: str | None, expected: str) -> TraceError:
        """The error to raise at a node."""
        self.at(node)
        return self.listing.fault(problem, key, expected)

    def once(self, node: Any) -> None:
        """Refuse a node that was read before."""
        if id(node) in self.seen:
            raise self.fault(node, "is an alias", None, "values written out")
        self.seen.add(id(node))

    def mapping(self, node: Any) -> dict[str, Any]:
        """A table of nodes by key."""
        self.once(node)
        if node.id != "mapping":
            raise self.fault(node, "is no table of keys", None, "`name: …`, `kind: …` per operator")
        found: dict[str, Any] = {}
        for key, value in node.value:
            text = self.text(key, None)
            if text in found:
                raise self.fault(key, "is there twice", text, "each key once")
            found[text] = value
        return found

    def text(self, node: Any, key: str | None) -> str:
        """A scalar as written; a list joined by blanks (a shape by x); a flat table as `key=value` words."""
        if node.id == "scalar":
            self.once(node)
            return str(node.value).strip() if node.value not in ("null", "~") else ""
        parts: Mapping[str, Any] = {}
        if node.id == "mapping":
            parts = self.mapping(node)
        else:
            self.once(node)
        inner = [*parts.values()] if parts else node.value
        if any(isinstance(item, tuple) or item.id != "scalar" for item in inner):
            raise self.fault(node, "is nested", key, "words or numbers")
        if parts:
            return " ".join(f"{name}={self.text(value, key)}" for name, value in parts.items())
        return ("x" if key == "shape" else " ").join(self.text(item, key) for item in inner)
