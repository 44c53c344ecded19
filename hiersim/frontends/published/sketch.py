"""A case of measured times written down from sizes: tensors and ATen calls, whose cost the capture's rules give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Final

from hiersim.frontends.aten import arithmetic_dtype, cost_of
from hiersim.frontends.aten.call import Call, Cost, Operand, Shape
from hiersim.frontends.measured import Case
from hiersim.model.operators import BITS, DIMS, HOST_ONLY, DType, Kind

ACTIVATION: Final = "activation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A tensor of a sketch: its name, and what it is."""

    name: str
    shape: Shape
    dtype: DType
    bytes: int
    """Distinct bytes: of an expanded view, those of what is repeated."""

    @property
    def operand(self) -> Operand:
        """As the cost rules see it."""
        return Operand(shape=self.shape, dtype=self.dtype)


def turned(sheet: Sheet) -> Sheet:
    """The tensor with its last two sides exchanged, for the cost of a product."""
    return replace(sheet, shape=(*sheet.shape[:-2], sheet.shape[-1], sheet.shape[-2]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A call or a view as it was written down."""

    operator: str
    reads: tuple[Sheet, ...]
    """Of a view: what it is a view of."""
    writes: tuple[Sheet, ...]
    arguments: tuple[Any, ...]


class Sketch:
    """Collects rows of the readable trace form; the last results that nobody reads are outputs."""

    def __init__(self, dtype: DType) -> None:
        self.dtype = dtype
        self.taken: list[Taken] = []
        """All calls and views, in order."""
        self._tensors: dict[str, dict[str, Any]] = {}
        self._operators: list[dict[str, Any]] = []
        self._costs: list[Cost] = []
        self._outside: dict[str, int] = {}
        self._read: set[str] = set()

    def given(self, name: str, shape: Shape, role: str = "input", dtype: DType | None = None) -> Sheet:
        """A tensor that is there from the start."""
        sheet = self._tensor(name, shape, role, dtype)
        self._outside[name] = sheet.bytes
        return sheet

    def run(
        self, operator: str, reads: Sequence[Sheet], shape: Shape, *, arguments: Sequence[Any] | None = None,
        name: str = "", dtype: DType | None = None, cost: Cost | None = None, arithmetic: DType | None = None,
        moved: Mapping[str, int] | None = None, phase: str = "forward", module: str = "",
        more: Sequence[tuple[Shape, DType]] = (),
    ) -> Sheet:  # fmt: skip
        """One call; gives its first result.

        Parameters
        ----------
        arguments : sequence, optional
            All arguments in the operator's order, tensors as sheets; default: the tensors alone.
        cost : Cost, optional
            Where the rules need more than is known.
        moved : mapping, optional
            Bytes read of a tensor, where that is a part.
        more : sequence
            Shapes and types of further results.
        """
        result = self._tensor(name or f"t{len(self._operators)}", shape, ACTIVATION, dtype)
        others = [
            self._tensor(f"{result.name}.{place}", form[0], ACTIVATION, form[1])
            for place, form in enumerate(more, start=1)
        ]  # fmt: skip
        given = tuple(reads if arguments is None else arguments)
        known = [arg.operand if isinstance(arg, Sheet) else arg for arg in given]
        if cost is None:
            cost = cost_of(Call(name=operator, args=tuple(known), outputs=(result.operand,)))
        operands = tuple(sheet.operand for sheet in reads)
        chosen = arithmetic or arithmetic_dtype(cost.kind, operands, (result.operand,))
        self._add(operator, cost, reads, [result, *others], chosen, moved or {}, phase, module)
        self.taken.append(
            Taken(operator=operator, reads=tuple(reads), writes=(result, *others), arguments=given)
        )  # fmt: skip
        return result

    def view(
        self, of: Sheet, shape: Shape, name: str = "", operator: str = "aten.view.default", phase: str = "forward"
    ) -> Sheet:
        """The same memory seen in another shape: an operator that costs the host, and neither reads nor writes."""
        name = name or f"t{len(self._operators)}"
        size = min(prod(shape) * BITS[of.dtype] // 8, of.bytes)
        owner = self._tensors[of.name].get("storage", of.name)
        self._tensors[name] = {
            "tensor": name, "shape": list(shape), "dtype": of.dtype.name.lower(), "storage": owner, "bytes": size,
        }  # fmt: skip
        sheet = Sheet(name=name, shape=tuple(shape), dtype=of.dtype, bytes=size)
        self._add(operator, Cost(kind=Kind.VIEW), (), (), of.dtype, {}, phase, "")
        self.taken.append(Taken(operator=operator, reads=(of,), writes=(sheet,), arguments=(of,)))
        return sheet

    def role(self, sheet: Sheet) -> str:
        """What the memory of a tensor is for."""
        owner = self._tensors[sheet.name].get("storage", sheet.name)
        role: str = self._tensors[owner]["role"]
        return role

    def case(
        self, *, suite: str, name: str, params: Mapping[str, int], line: int = 0, results: Sequence[Sheet] = ()
    ) -> Case:
        """The case; `results` are outputs beside what nobody reads."""
        outputs = {sheet.name for sheet in results}
        for row in self._operators:
            outputs |= {tensor for tensor in row["writes"] if tensor not in self._read}
        owners = {self._tensors[tensor].get("storage", tensor) for tensor in outputs}
        for owner in owners:
            if self._tensors[owner]["role"] == ACTIVATION:
                self._tensors[owner]["output"] = True
        dtype = self.dtype.name.lower()
        sizes = ",".join(f"{key}={value}" for key, value in params.items())
        flops = {
            key: sum(getattr(cost, column) for cost in self._costs)
            for key, column in _FLOPS.items()
        }  # fmt: skip
        return Case(
            case="/".join(filter(None, (suite, name, dtype, sizes))),
            suite=suite,
            name=name,
            dtype=dtype,
            kind=self._kind(),
            params=dict(params),
            read_bytes=sum(self._outside[owner] for owner in self._outside if owner in self._read),
            written_bytes=sum(self._bytes(owner) for owner in owners),
            flops={key: value for key, value in flops.items() if value},
            rows=(*self._tensors.values(), *self._operators),
            line=line,
        )

    def _tensor(self, name: str, shape: Shape, role: str, dtype: DType | None) -> Sheet:
        kind = self.dtype if dtype is None else dtype
        self._tensors[name] = {"tensor": name, "shape": list(shape), "dtype": kind.name.lower(), "role": role}
        return Sheet(name=name, shape=tuple(shape), dtype=kind, bytes=-(-prod(shape) * BITS[kind] // 8))

    def _bytes(self, name: str) -> int:
        row = self._tensors[name]
        return -(-prod(map(int, row["shape"])) * BITS[DType[row["dtype"].upper()]] // 8)

    def _add(
        self, operator: str, cost: Cost, reads: Sequence[Sheet], writes: Sequence[Sheet], dtype: DType,
        moved: Mapping[str, int], phase: str, module: str,
    ) -> None:  # fmt: skip
        flops = {key: getattr(cost, column) for key, column in _FLOPS.items()}
        names = list(dict.fromkeys(sheet.name for sheet in reads))
        self._read |= {self._tensors[name].get("storage", name) for name in names} | set(names)
        row = {
            "operator": operator, "kind": cost.kind.name.lower(), "dtype": dtype.name.lower(),
            "dims": dict(zip(DIMS.get(cost.kind, ()), cost.dims, strict=True)) if cost.kind in DIMS else {},
            "reads": [{"tensor": name, "bytes": moved[name]} if name in moved else name for name in names],
            "writes": [sheet.name for sheet in writes], "flops": flops, "phase": phase, "module": module,
        }  # fmt: skip
        self._operators.append(row)
        self._costs.append(cost)

    def _kind(self) -> Kind | None:
        """Kind of the operator with the most matrix FLOPs; without any, of the one that moves most."""
        launched = [
            (cost.matrix_flops, self._moved(row), -place, cost.kind)
            for place, (row, cost) in enumerate(zip(self._operators, self._costs, strict=True))
            if cost.kind not in HOST_ONLY
        ]
        return max(launched)[-1] if launched else None

    def _moved(self, row: Mapping[str, Any]) -> int:
        names = [entry if isinstance(entry, str) else entry["tensor"] for entry in (*row["reads"], *row["writes"])]
        return sum(self._bytes(name) for name in names)


_FLOPS: Final = {
    "matrix": "matrix_flops", "masked": "masked_flops", "vector": "vector_flops", "special": "special_ops",
}  # fmt: skip
