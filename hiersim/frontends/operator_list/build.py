"""A table of operators, as a paper prints it or a spreadsheet saves it: CSV or YAML, one operator per row.

    name,kind,dims,shape,dtype,inputs
    fc1,gemm,m=64 n=512 k=256,,bf16,x:input w1:weight
    act,pointwise,,64x512,bf16,fc1
    fc2,gemm,m=64 n=256 k=512,,bf16,act w2:weight

A row's result has the row's name; later rows read it by that name. docs/trace-format.md lists every column. Every
fault names file, line and column.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path
from typing import Any, Final, NamedTuple

from hiersim.errors import nearest
from hiersim.frontends.aten import cost_of, functional
from hiersim.frontends.aten.call import Call, Cost, Operand, Shape
from hiersim.frontends.aten.contractions import attention_cost
from hiersim.frontends.aten.rules import RULES
from hiersim.frontends.draft import Draft, operand_of
from hiersim.frontends.operator_list.reader import Listing
from hiersim.frontends.tables import TensorKey
from hiersim.model.operators import DIMS, DType, Kind, Phase, Role
from hiersim.model.trace import Trace, TraceHeader
from hiersim.units import LARGEST

MAX_OPERATORS: Final = 1_000_000
MAX_REPEATED: Final = 50_000
"""Of a table; operators beyond the first of their rows."""
_ALIASES: Final = {
    "matmul": "gemm", "linear": "gemm", "mm": "gemm", "convolution": "conv", "conv2d": "conv",
    "elementwise": "pointwise", "sdpa": "attention", "reduce": "reduction", "memcpy": "copy",
}  # fmt: skip
_DEFAULTS: Final[Mapping[Kind, Mapping[str, int]]] = {
    Kind.GEMM: {"batch": 1},
    Kind.CONV: {"groups": 1, "window": 1, "stride": 1},
    Kind.ATTENTION: {"batch": 1, "heads": 1, "causal": 0},
}
_EXACT: Final[Mapping[Kind, tuple[int, ...]]] = {Kind.GEMM: (0, 1), Kind.CONV: (1,), Kind.ATTENTION: (0, 1, 2)}
"""Inputs whose elements follow from the sizes (those of a convolution's first do not: padding)."""
_SIDES: Final = re.compile(r"\d{1,19}(?:\s*[x×*,]\s*\d{1,19})*")


def import_table(
    source: str | os.PathLike[str] | Iterable[Mapping[str, object]], *, name: str = "", dtype: str = "bf16"
) -> Trace:
    """Read a table of operators (`.csv`, `.tsv`, `.yaml`, `.yml`, or rows that an importer of yours made) as a trace.

    Parameters
    ----------
    source : path, or rows
        The table, whose ending decides the form; or one mapping of column to cell for each operator.
    name : str
        Name of the trace; default: that in the table, else that of the file.
    dtype : str
        Element type of rows that give none, in a table that gives none.

    Raises
    ------
    TraceError
        With file, line (or number of the row) and column of the first fault.

    Examples
    --------
    >>> import hiersim as hs
    >>> product = {"name": "fc", "kind": "gemm", "dims": "m=64 n=512 k=256"}
    >>> rows = [product, {"name": "act", "op": "aten.gelu", "shape": "64x512", "inputs": "fc"}]
    >>> len(hs.import_table(rows, name="mlp").graph.operators)
    2
    """
    given = None if isinstance(source, str | os.PathLike) else source
    path = "rows" if given is not None else str(source)
    table = _Table(path, dtype, given)
    for row in table.listing.rows():
        table.take(row)
    table.at(None)
    header = TraceHeader(
        name=name or table.listing.title or Path(path).name.partition(".")[0] or "table",
        producer="hiersim import csv",
        command=f"hiersim import csv {Path(path).name}",
        dtype=table.dtype.name.lower(),
        notes=("a table of operators",),
    )
    return table.draft.finish(header)


class _What(NamedTuple):
    dtype: DType
    kind: Kind | None
    """None where an ATen rule decides it."""
    dims: Shape
    implied: list[Shape]
    """Shapes that the sizes say, of the operands and, last, of the result."""
    shape: Shape
    phase: Phase


class _Table:
    """Rows become operators of a draft."""

    def __init__(self, file: str, dtype: str, given: Iterable[Mapping[str, object]] | None = None) -> None:
        self.listing = Listing(file, given=given)
        self.draft = Draft(file)
        self.dtype = self.named(dtype, "dtype", DType)
        self.known: dict[str, TensorKey] = {}
        self.repeated = 0

    def at(self, line: int | None) -> None:
        """Stand at a line."""
        self.listing.line = self.draft.line = line

    def named(self, text: str, key: str, kinds: Any) -> Any:
        names = {item.name.lower(): item for item in kinds}
        if text.lower() not in names:
            raise self.draft.fault(f"'{text[:60]}' is not a {key}", key, nearest(text.lower(), names))
        return names[text.lower()]

    def whole(self, text: str, key: str, least: int = 0) -> int:
        digits = text.replace("_", "")
        if not digits.isascii() or not digits.isdigit() or len(digits) > 19 or not least <= int(digits) < LARGEST:
            raise self.draft.fault(f"'{text[:40]}' is not a whole number", key, f"a whole number, {least} … 2^62")
        return int(digits)

    def sides(self, text: str, key: str) -> Shape:
        """`64x512`; `scalar` or `[]` for none."""
        bare = text.strip("[]() ")
        if bare in ("", "scalar"):
            return ()
        if not _SIDES.fullmatch(bare):
            raise self.draft.fault(f"'{text[:40]}' is no shape", key, "sides as in 64x512")
        return tuple(self.whole(side.strip(), key) for side in re.split(r"[x×*,]", bare))

    def take(self, row: Mapping[str, str]) -> None:
        """One row, `count` times."""
        self.at(self.listing.line)
        if self.listing.dtype:
            self.dtype = self.named(self.listing.dtype, "dtype", DType)
        name = row.get("name", "")
        if not name or ":" in name or any(ch.isspace() for ch in name):
            raise self.draft.fault(f"'{name[:40]}' is no name", "name", "a name without blanks and colons")
        if name in self.known:
            raise self.draft.fault(f"'{name[:40]}' is there already", "name", "each name once")
        count = self.whole(row["count"], "count", 1) if row.get("count") else 1
        self.repeated += count - 1
        if self.repeated > MAX_REPEATED or len(self.draft) + count > MAX_OPERATORS:
            most = f"at most {MAX_REPEATED} repetitions and {MAX_OPERATORS} operators in all"
            raise self.draft.fault(f"{count} is too many", "count", most)
        what = self._what(row)
        for number in range(count):
            self._operator(row, what, name, f"{name}#{number + 1}" if count > 1 else name, own=number > 0)

    def _what(self, row: Mapping[str, str]) -> _What:
        """What a row says of its operator, however often it is there."""
        dtype = self.named(row["dtype"], "dtype", DType) if row.get("dtype") else self.dtype
        kind = self._kind(row)
        dims = self._dims(row.get("dims", ""), kind) if kind is not None else ()
        implied = _implied(kind, dims)
        phase = self.named(row["phase"], "phase", Phase) if row.get("phase") else Phase.FORWARD
        if row.get("shape"):
            shape = self.sides(row["shape"], "shape")
        elif implied:
            shape = implied[-1]
        elif kind is Kind.REDUCTION:
            shape = (dims[0],)
        else:
            raise self.draft.fault("is missing", "shape", "sides of the result, as in 64x512")
        return _What(dtype, kind, dims, implied, shape, phase)

    def _operator(self, row: Mapping[str, str], what: _What, name: str, label: str, *, own: bool) -> None:
        dtype, kind, dims, implied, shape, phase = what
        inputs = self._inputs(row.get("inputs", ""), dtype, implied, own)
        result = self.draft.tensor(shape, dtype, name=label)
        cost = self._cost(row, kind, dims, inputs, result)
        self._check_fit(kind, inputs, implied)
        kept = [(key, key.size) for key in inputs]
        if cost.kind is Kind.GATHER and kept:
            kept[0] = (kept[0][0], min(kept[0][1], result.size))
        if cost.kind is Kind.VIEW:
            source = inputs[0] if inputs else result
            self.known[name] = self.draft.view(source, shape)
            self.draft.operator(row.get("op") or "view", cost, [], [], dtype=dtype)
            return
        self.known[name] = result
        writes = [] if cost.kind is Kind.SYNC else [(result, result.size)]
        self.draft.operator(
            row.get("op") or f"{cost.kind.name.lower()}.{name}", cost, kept, writes,
            dtype=None if row.get("op") else dtype, module=row.get("module", ""), phase=phase,
        )  # fmt: skip

    def _kind(self, row: Mapping[str, str]) -> Kind | None:
        """The kind, or None where an ATen rule decides it."""
        text = row.get("kind", "").lower()
        if row.get("op"):
            if functional(row["op"]) not in RULES:
                raise self.draft.fault(
                    f"'{row['op'][:60]}' has no cost rule", "op", nearest(functional(row["op"]), RULES)
                )
            return None
        if not text:
            raise self.draft.fault("is missing", "kind", f"one of {', '.join(kind.name.lower() for kind in Kind)}")
        kind: Kind = self.named(_ALIASES.get(text, text), "kind", Kind)
        return kind

    def _dims(self, text: str, kind: Kind) -> Shape:
        wanted = DIMS.get(kind, ())
        given = dict(_DEFAULTS.get(kind, {}))
        told: set[str] = set()
        for word in re.split(r"[\s;,]+", text.strip()) if text.strip() else []:
            key, equals, value = word.partition("=")
            key = key.lower()
            if not equals or key not in wanted:
                hint = nearest(key, wanted) if wanted else "no dims for this kind"
                raise self.draft.fault(f"'{word[:40]}' is no size of a {kind.name.lower()}", "dims", hint)
            if key in told:
                raise self.draft.fault(f"{key} is there twice", "dims", "each size once")
            told.add(key)
            given[key] = self.whole(value, f"dims.{key}")
        if kind is Kind.ATTENTION:
            given.setdefault("kv_heads", given["heads"])
        for key in wanted:
            if key not in given:
                raise self.draft.fault(f"{key} is missing", "dims", f"{' '.join(f'{name}=…' for name in wanted)}")
        if kind is Kind.ATTENTION and given["causal"] > 1:
            raise self.draft.fault(f"causal={given['causal']}", "dims", "causal=0 or causal=1")
        return tuple(given[key] for key in wanted)

    def _inputs(self, text: str, dtype: DType, implied: list[Shape], own: bool) -> list[TensorKey]:
        found: list[TensorKey] = []
        for place, word in enumerate(text.replace(";", " ").split()):
            name, *rest = word.split(":")
            if not name or len(rest) > 2:
                raise self.draft.fault(f"'{word[:40]}' is no input", "inputs", "name, name:role or name:role:64x512")
            fresh = own and bool(rest) and self.named(rest[0], "role", Role) is Role.WEIGHT
            if name in self.known and not fresh:
                found.append(self.known[name])
                continue
            if not rest:
                hint = nearest(name, self.known) if self.known else "name:role"
                raise self.draft.fault(
                    f"there is no '{name[:40]}' above", "inputs", f"{hint}, or a role: {name[:40]}:input"
                )
            role = self.named(rest[0], "role", Role)
            if len(rest) == 2:
                shape = self.sides(rest[1], "inputs")
            elif place < len(implied) - 1:
                shape = implied[place]
            else:
                raise self.draft.fault(f"'{name[:40]}' has no shape", "inputs", f"{name[:40]}:{rest[0]}:64x512")
            found.append(self.draft.tensor(shape, dtype, role, name))
            self.known[name] = found[-1]
        if not found and implied:
            roles = (Role.INPUT, Role.WEIGHT) if len(implied) == 3 else (Role.INPUT,) * 3
            found = [self.draft.tensor(shape, dtype, role) for shape, role in zip(implied[:-1], roles, strict=True)]
        return found

    def _check_fit(self, kind: Kind | None, inputs: list[TensorKey], implied: list[Shape]) -> None:
        """The operands of a product hold as many elements as its sizes say."""
        for place in _EXACT.get(kind, ()) if kind is not None else ():
            if place >= len(inputs):
                raise self.draft.fault(f"has {len(inputs)}", "inputs", f"at least {len(implied) - 1} for this kind")
            if prod(inputs[place].shape) != prod(implied[place]):
                have, want = (" x ".join(map(str, sides)) for sides in (inputs[place].shape, implied[place]))
                raise self.draft.fault(f"input {place + 1} is {have or 'a scalar'}", "inputs", f"{want}, as dims say")

    def _cost(
        self, row: Mapping[str, str], kind: Kind | None, dims: Shape, inputs: list[TensorKey], result: TensorKey
    ) -> Cost:
        operands = tuple(operand_of(key) for key in inputs)
        if kind is None:
            cost = cost_of(Call(name=row["op"], args=operands, outputs=(operand_of(result),)))
            if cost.kind is Kind.OPAQUE:
                raise self.draft.fault(f"'{row['op'][:60]}' does not suit these inputs", "op", "the tensors it takes")
        else:
            cost = _kind_cost(kind, dims, operands, prod(result.shape))
        vector = self.whole(row["flops"], "flops") if row.get("flops") else cost.vector_flops
        special = self.whole(row["special"], "special") if row.get("special") else cost.special_ops
        return Cost(
            kind=cost.kind, dims=cost.dims, matrix_flops=cost.matrix_flops, masked_flops=cost.masked_flops,
            vector_flops=vector, special_ops=special,
        )  # fmt: skip


def _implied(kind: Kind | None, dims: Shape) -> list[Shape]:
    """Shapes of the operands and, last, of the result, where sizes say them; a batch of 1 is left out."""
    if kind is Kind.GEMM:
        batch, m, n, k = dims
        lead = (batch,) if batch != 1 else ()
        return [(*lead, m, k), (*lead, k, n), (*lead, m, n)]
    if kind is Kind.CONV:
        groups, m, n, k, window, stride = dims
        pixels = m * stride
        return [(pixels, groups * (k // max(1, window))), (groups * n, k), (m, groups * n)]
    if kind is Kind.ATTENTION:
        batch, heads, kv_heads, queries, keys, width, _ = dims
        q, kv = (batch, heads, queries, width), (batch, kv_heads, keys, width)
        return [q, kv, kv, q]
    return []


def _kind_cost(kind: Kind, dims: Shape, operands: tuple[Operand, ...], elements: int) -> Cost:
    """Cost of a kind: products by their sizes, one FLOP per result for each further operand (a bias)."""
    if kind in (Kind.GEMM, Kind.CONV):
        more = max(0, len(operands) - 2)
        return Cost(kind=kind, dims=dims, matrix_flops=2 * prod(dims[:4]), vector_flops=more * elements)
    if kind is Kind.ATTENTION:
        batch, heads, kv_heads, queries, keys, width, causal = dims
        q, k = (batch, heads, queries, width), (batch, kv_heads, keys, width)
        return attention_cost(q, k, k, bool(causal), backward=False, bias=len(operands) > 3)
    if kind is Kind.REDUCTION:
        return Cost(kind=kind, dims=dims, vector_flops=prod(dims))
    return Cost(kind=kind, vector_flops=elements if kind is Kind.POINTWISE else 0)
