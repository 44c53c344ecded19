"""The graph that ONNX Runtime makes of a model, as the schedule `ort`: which node runs which operators.

A fused node keeps the names of what it reads and writes. Its operators are therefore those of the eager graph that lie
between: from the makers of its results back to its inputs, as far as no other node makes them. No list of fused node
types is needed, and every operator runs once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, Final

from hiersim.errors import TraceError, one_line
from hiersim.frontends.aten.call import Cost
from hiersim.frontends.draft import Draft
from hiersim.frontends.integrity import check_trace
from hiersim.frontends.onnx_model.writer import GraphWriter, inferred
from hiersim.frontends.schedule_builder import ScheduleBuilder
from hiersim.frontends.tables import Access, Row, Storage, TensorKey, merged
from hiersim.model.operators import PRODUCED, Kind, Role
from hiersim.model.trace import Trace

POLICY: Final = "ort (captured)"
_ALIASES: Final = {"FusedMatMul": "MatMul", "Gemm": "MatMul", "FusedGemm": "MatMul", "FusedConv": "Conv"}
"""Node types that stand for another one when operators are looked for by type."""
_FREE: Final = (Kind.COPY, Kind.VIEW, Kind.GATHER, Kind.SCATTER, Kind.SORT)


@dataclass(slots=True, kw_only=True)
class Node:
    """A node of the optimised graph that launches something."""

    row: int
    """Of the optimised draft."""
    proto: Any
    inputs: set[str] = field(default_factory=set)
    """Names of what it reads, under every shape."""
    operators: list[int] = field(default_factory=list)
    """Rows of the eager draft that it runs."""
    views: int = 0
    """Reshapes just before it."""


def with_schedule(trace: Trace, eager: GraphWriter, model: Any) -> Trace:
    """`trace` with the schedule `ort`.

    Parameters
    ----------
    trace : Trace
        What `eager` wrote.
    eager : GraphWriter
        The model as it was given.
    model : ModelProto
        The same model as ONNX Runtime optimised it.

    Raises
    ------
    TraceError
        The optimised graph cannot be read.
    """
    writer = GraphWriter(Draft(eager.draft.file), _sized(model, eager))
    writer.take_all()
    plan = _Plan(eager, writer)
    builder = ScheduleBuilder(tensors=writer.draft.tensors)
    for node in plan.nodes:
        _append(builder, plan, node)
    for key in writer.results():
        builder.tensors.storages[key.storage].output = True
    _found_there(builder)
    if not builder.names:
        raise TraceError("is optimised to nothing by ONNX Runtime", file=eager.draft.file)
    header = replace(trace.header, notes=(*trace.header.notes, *plan.notes(builder)))
    schedules = {**trace.schedules, "ort": builder.build(POLICY)}
    return check_trace(replace(trace, header=header, schedules=schedules), eager.draft.file)


def _sized(model: Any, eager: GraphWriter) -> Any:
    """The optimised graph with all shapes: those of names that the model had, and what follows from them."""
    graph = model.graph
    have = {item.name for item in (*graph.value_info, *graph.input, *graph.output, *graph.initializer)}
    made = {name for node in graph.node for name in node.output} - have
    graph.value_info.extend(item for item in eager.graph.value_info if item.name in made)
    return inferred(model, eager.draft.file).graph


class _Plan:
    """Which node of the optimised graph runs which operators of the eager one."""

    def __init__(self, eager: GraphWriter, made: GraphWriter) -> None:
        self.eager = eager
        self.made = made
        self.unmapped: list[str] = []
        self.same = _same_values(eager)
        self.maker = {name: row for row, node in enumerate(eager.nodes) for name in node.output if name}
        self.owner: dict[int, int] = {}
        """Eager row → index of its node."""
        self.nodes = _launching(made)
        names = _names_by_storage(made)
        for index, node in enumerate(self.nodes):
            reads, writes = (
                (key.storage for key, _ in part[node.row]) for part in (made.draft.reads, made.draft.writes)
            )
            node.inputs = {self._canonical(name) for storage in reads for name in names.get(storage, ())}
            node.inputs |= {self._canonical(name) for name in node.proto.input}
            for name in (name for storage in writes for name in names.get(storage, ())):
                row = self.maker.get(self._canonical(name))
                if row is not None:
                    self.owner.setdefault(row, index)
        claimed = dict(self.owner)
        for index in range(len(self.nodes)):
            self._trace_back(index, [row for row, owner in claimed.items() if owner == index])
        for row, owner in sorted(self.owner.items()):
            if eager.draft.operators.rows[row].cost.kind is not Kind.VIEW:
                self.nodes[owner].operators.append(row)
        for index, node in enumerate(self.nodes):
            if not node.operators:
                self._by_type(index, node, claimed)

    def _canonical(self, name: str) -> str:
        return self.same.get(name, name)

    def _trace_back(self, index: int, rows: list[int]) -> None:
        """Give a node all operators between its inputs and its results that are nobody's."""
        node = self.nodes[index]
        while rows:
            for name in map(self._canonical, self.eager.nodes[rows.pop()].input):
                row = self.maker.get(name)
                if row is None or row in self.owner or name in node.inputs:
                    continue
                self.owner[row] = index
                rows.append(row)

    def _by_type(self, index: int, node: Node, claimed: dict[int, int]) -> None:
        """A node with new names takes the first operator of its type and size that was given to a later node."""
        kind = _ALIASES.get(node.proto.op_type, node.proto.op_type)
        size = sum(key.size for key, _ in self.made.draft.writes[node.row])
        for later in self.nodes[index + 1 :]:
            for row in later.operators:
                other = self.eager.nodes[row].op_type
                same = _ALIASES.get(other, other) == kind and row not in claimed
                if same and sum(key.size for key, _ in self.eager.draft.writes[row]) == size:
                    later.operators.remove(row)
                    node.operators.append(row)
                    return

    def rows(self, node: Node) -> list[Row]:
        """The operators of a node as rows of a schedule; one that was not found counts as memory traffic."""
        table = self.eager.draft.operators.rows
        if node.operators:
            return [table[row] for row in sorted(node.operators)]
        own = self.made.draft.operators.rows[node.row]
        if own.cost.kind in _FREE:
            return [own]
        self.unmapped.append(node.proto.op_type)
        return [replace(own, cost=replace(own.cost, kind=Kind.COPY, dims=(), matrix_flops=0, masked_flops=0,
                                          vector_flops=0, special_ops=0))]  # fmt: skip

    def reads(self, node: Node) -> list[Access]:
        """What a node reads: of what the eager graph knows no more than its operators read there."""
        known = {self.made.known[name].storage: self.eager.known[name].storage
                 for name in node.proto.input if name in self.eager.known and name in self.made.known}  # fmt: skip
        most: dict[int, int] = {}
        for row in node.operators:
            for key, size in self.eager.draft.reads[row]:
                most[key.storage] = max(most.get(key.storage, 0), size)
        return [(key, min(size, most.get(known.get(key.storage, -1), size)))
                for key, size in self.made.draft.reads[node.row]]  # fmt: skip

    def notes(self, builder: ScheduleBuilder) -> Iterator[str]:
        """What the schedule cannot say."""
        rows = self.eager.draft.operators.rows
        left = [row for at, row in enumerate(rows) if at not in self.owner and row.cost.kind is not Kind.VIEW]
        yield f"ort: {len(builder.names)} kernels for {sum(row.cost.kind is not Kind.VIEW for row in rows)} operators"
        flops = sum(row.cost.matrix_flops + row.cost.vector_flops + row.cost.special_ops for row in left)
        if left:
            yield f"ort: {len(left)} operators were removed as repetitions, copies or unused, with {flops} FLOPs"
        if self.unmapped:
            kinds = ", ".join(sorted(set(self.unmapped))[:8])
            yield f"ort: {len(self.unmapped)} nodes could not be mapped to operators and count as copies: {kinds}"
        draft = self.eager.draft
        moved, asked = (
            sum(size for row in (*reads, *writes) for _, size in row)
            for reads, writes in ((builder.reads, builder.writes), (draft.reads, draft.writes))
        )
        if moved > asked:
            yield f"ort: asks for {moved} bytes against {asked} of the eager graph: the optimiser inserted copies"


def _launching(made: GraphWriter) -> list[Node]:
    """The nodes of the optimised graph that launch something, in order."""
    found: list[Node] = []
    views = 0
    for row, proto in enumerate(made.nodes):
        if made.draft.operators.rows[row].cost.kind is Kind.VIEW:
            views += 1
        elif made.draft.reads[row] or made.draft.writes[row]:
            found.append(Node(row=row, proto=proto, views=views))
            views = 0
    return found


def _names_by_storage(writer: GraphWriter) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for name, key in writer.known.items():
        found.setdefault(key.storage, []).append(name)
    return found


def _same_values(writer: GraphWriter) -> dict[str, str]:
    """Names of values that repeat an earlier one: the same node type on the same inputs, with the same attributes."""
    same: dict[str, str] = {}
    first: dict[tuple[Any, ...], Any] = {}
    for node in writer.nodes:
        if "Random" in node.op_type or node.op_type == "Bernoulli":
            continue
        attributes = tuple(sorted(item.SerializeToString(deterministic=True) for item in node.attribute))
        inputs = tuple(same.get(name, name) for name in node.input)
        held = first.setdefault((node.domain, node.op_type, inputs, attributes, len(node.output)), node)
        if held is not node:
            same.update(zip(node.output, held.output, strict=True))
    return same


def _append(builder: ScheduleBuilder, plan: _Plan, node: Node) -> None:
    """A node as one kernel; attention with its projections as the two launches that it consists of."""
    reads, writes = plan.reads(node), merged(plan.made.draft.writes[node.row])
    name = one_line(node.proto.name or node.proto.op_type)
    before, core = _projections(plan, node)
    attention = _attention(plan, node, core)
    if attention is None:
        builder.kernel(name, _once(plan.rows(node)), merged(reads), writes, views=node.views)
        return
    held: list[Access] = []
    if before:
        given = {plan.made.known[item].storage for item in node.proto.input[:3] if item in plan.made.known}
        outside = [part for part in reads if part[0].storage in given]
        reads = [part for part in reads if part[0].storage not in given]
        rows = [plan.eager.draft.operators.rows[row] for row in before]
        held = [_packed(builder, plan, before)]
        builder.kernel(f"{name}.projections", _once(_joined(rows)), merged(outside), held, views=node.views)
    views = 0 if before else node.views
    builder.kernel(name, _once([attention]), merged([*held, *reads]), writes, views=views)


def _projections(plan: _Plan, node: Node) -> tuple[list[int], list[int]]:
    """The operators of a node that project its input with weights, bias included, and all others."""
    eager, rows = plan.eager, sorted(node.operators)
    before: list[int] = []
    made: set[str] = set()
    for row in rows:
        proto = eager.nodes[row]
        weighs = eager.draft.operators.rows[row].cost.kind is Kind.GEMM and bool(eager.static & set(proto.input))
        if weighs or (made & set(proto.input) and made | eager.static >= set(proto.input)):
            before.append(row)
            made |= set(proto.output)
    return before, [row for row in rows if row not in before]


def _attention(plan: _Plan, node: Node, core: Sequence[int]) -> Row | None:
    """Two products of activations with what lies between them as one operator; None: that is not what `core` is."""
    if "Attention" not in node.proto.op_type:
        return None
    rows = [plan.eager.draft.operators.rows[row] for row in core]
    products = [row for row in rows if row.cost.kind is Kind.GEMM]
    heads = next((int(item.i) for item in node.proto.attribute if item.name == "num_heads"), 0)
    if len(products) != 2 or heads < 1 or products[0].cost.dims[0] % heads:
        return None
    batch, queries, keys, width = products[0].cost.dims
    cost = Cost(
        kind=Kind.ATTENTION, dims=(batch // heads, heads, heads, queries, keys, width, 0),
        matrix_flops=sum(row.cost.matrix_flops for row in rows),
        vector_flops=sum(row.cost.vector_flops for row in rows),
        special_ops=sum(row.cost.special_ops for row in rows),
    )  # fmt: skip
    return replace(products[0], name=f"onnx.{node.proto.op_type}", cost=cost)


def _packed(builder: ScheduleBuilder, plan: _Plan, rows: Sequence[int]) -> Access:
    """Memory for the results of projections, one behind the other."""
    draft = plan.eager.draft
    kept = [key for row in rows if draft.operators.rows[row].cost.kind is Kind.GEMM for key, _ in draft.writes[row]]
    size = sum(key.size for key in kept)
    storage = builder.tensors.storage(Storage(size=size))
    shape = (sum(prod(key.shape) for key in kept),)
    return TensorKey(storage=storage, dtype=kept[0].dtype, shape=shape, size=size), size


def _joined(rows: list[Row]) -> list[Row]:
    """Products of one input with several weights as one product with all of them; others stay as they are."""
    products = [row for row in rows if row.cost.kind is Kind.GEMM]
    batch, m, _, k = products[0].cost.dims
    if any((row.cost.dims[0], row.cost.dims[1], row.cost.dims[3]) != (batch, m, k) for row in products):
        return rows
    flops = sum(row.cost.matrix_flops for row in products)
    work = sum(row.cost.vector_flops for row in products)
    dims = (batch, m, sum(row.cost.dims[2] for row in products), k)
    one = replace(products[0], cost=Cost(kind=Kind.GEMM, dims=dims, matrix_flops=flops, vector_flops=work))
    return [one, *(row for row in rows if row.cost.kind is not Kind.GEMM)]


def _once(rows: Iterable[Row]) -> list[tuple[Row, bool]]:
    return [(row, False) for row in rows]


def _found_there(builder: ScheduleBuilder) -> None:
    """What is read and never written before is an input, whatever the file calls it."""
    written: set[int] = set()
    for reads, writes in zip(builder.reads, builder.writes, strict=True):
        for key, _ in reads:
            storage = builder.tensors.storages[key.storage]
            if storage.role in PRODUCED and key.storage not in written:
                storage.role = Role.INPUT
        written |= {key.storage for key, _ in writes}
