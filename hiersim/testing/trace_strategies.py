"""Random small `Trace`s: DAGs of operators of all kinds, with views, in-place writes, frees and outputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

from hypothesis import strategies as st

from hiersim.frontends.aten.call import Cost
from hiersim.frontends.integrity import check_trace
from hiersim.frontends.tables import Access, OperatorBuilder, Row, Storage, TensorBuilder, TensorKey, accesses
from hiersim.model.operators import BITS, DIMS, DType, Flag, Kind, Phase, Role
from hiersim.model.trace import OperatorGraph, Trace, TraceHeader

_DTYPES = (DType.FP32, DType.BF16, DType.INT8)
_OUTSIDE = (Role.INPUT, Role.WEIGHT, Role.CONSTANT, Role.KV_CACHE, Role.OPTIMIZER_STATE)
_INSIDE = (Role.ACTIVATION, Role.GRADIENT)
_LAUNCHING = tuple(kind for kind in Kind if kind not in (Kind.VIEW, Kind.SYNC))


@dataclass(slots=True)
class _Draft:
    """A trace under construction."""

    tensors: TensorBuilder = field(default_factory=TensorBuilder)
    live: list[TensorKey] = field(default_factory=list)
    """Tensors that may still be read."""
    rows: list[Row] = field(default_factory=list)
    reads: list[list[Access]] = field(default_factory=list)
    writes: list[list[Access]] = field(default_factory=list)


@st.composite
def traces(draw: st.DrawFn, max_operators: int = 6) -> Trace:
    """A sound trace of at most `max_operators` operators, the last of which launches a kernel."""
    draft = _Draft()
    for _ in range(draw(st.integers(1, 2))):
        _new_tensor(draw, draft, _shape(draw), draw(st.sampled_from(_DTYPES)), draw(st.sampled_from(_OUTSIDE)))
    count = draw(st.sampled_from(range(1, max_operators + 1)))
    for index in range(count):
        kinds = _LAUNCHING if index == count - 1 else tuple(Kind)
        _operator(draw, draft, draw(st.sampled_from(kinds)))
        _free(draw, draft, index)
    reads, writes = accesses(draft.reads, draft.tensors), accesses(draft.writes, draft.tensors)
    graph = OperatorGraph(
        tensors=draft.tensors.build(), operators=OperatorBuilder(draft.rows).build(), reads=reads, writes=writes
    )
    return check_trace(Trace(header=TraceHeader(name="random", notes=("made by hiersim.testing",)), graph=graph))


def _shape(draw: st.DrawFn) -> tuple[int, ...]:
    """Up to three sides; some of them zero."""
    return tuple(draw(st.lists(st.sampled_from((0, 1, 2, 7, 16, 64)), max_size=3)))


def _new_tensor(draw: st.DrawFn, draft: _Draft, shape: tuple[int, ...], dtype: DType, role: Role) -> TensorKey:
    """A tensor in a storage of its own, with some room behind it."""
    size = -(-prod(shape) * BITS[dtype] // 8)
    room = draw(st.sampled_from((0, 0, 64)))
    output = role in _INSIDE and draw(st.booleans())
    name = draw(st.sampled_from(("", f"tensor{len(draft.tensors.storages)}")))
    storage = draft.tensors.storage(Storage(size=size + room, role=role, name=name, output=output))
    key = TensorKey(storage=storage, dtype=dtype, shape=shape, offset=draw(st.sampled_from((0, room))), size=size)
    draft.live.append(key)
    return key


def _operator(draw: st.DrawFn, draft: _Draft, kind: Kind) -> None:
    """One operator that reads what is live and writes a new tensor, or one that it reads (in place)."""
    dtype = draw(st.sampled_from(_DTYPES))
    dims = _dims(draw, kind)
    reads = draw(st.lists(st.sampled_from(draft.live), max_size=3)) if draft.live else []
    flags, written = Flag.NONE, []
    if kind in (Kind.GEMM, Kind.CONV):
        sides = (dims[1] * dims[3], dims[2] * dims[3])
        reads = [*reads[:1], *(_operand(draw, draft, dims[0] * side, dtype) for side in sides)]
    if kind is Kind.VIEW:
        draft.live += [_view(draw, key) for key in reads[:1]]
    elif kind is not Kind.SYNC:
        if reads and draw(st.integers(0, 3)) == 0:
            written, flags = [reads[-1]], Flag.MUTATES
        else:
            shape = (dims[0], dims[1], dims[2]) if kind in (Kind.GEMM, Kind.CONV) else _shape(draw)
            role = draw(st.sampled_from((Role.ACTIVATION, Role.ACTIVATION, Role.GRADIENT, Role.KV_CACHE)))
            written = [_new_tensor(draw, draft, shape, dtype, role)]
    draft.rows.append(
        Row(
            name=f"aten.{kind.name.lower()}.default",
            module=draw(st.sampled_from(("", "layers.0"))),
            phase=draw(st.sampled_from(Phase)),
            flags=flags,
            dtype=dtype,
            cost=_cost(draw, kind, dims),
        )
    )
    draft.reads.append([(key, _moved(draw, kind, key)) for key in reads])
    draft.writes.append([(key, _moved(draw, kind, key)) for key in written])


def _moved(draw: st.DrawFn, kind: Kind, key: TensorKey) -> int:
    """All bytes of the tensor; a gather or scatter moves a part."""
    return draw(st.integers(0, key.size)) if kind in (Kind.GATHER, Kind.SCATTER) else key.size


def _operand(draw: st.DrawFn, draft: _Draft, elements: int, dtype: DType) -> TensorKey:
    """An operand of that many elements: one that is live, or a new weight."""
    fitting = [key for key in draft.live if prod(key.shape) == elements and key.dtype is dtype]
    again = draw(st.booleans())
    if fitting and again:
        return draw(st.sampled_from(fitting))
    return _new_tensor(draw, draft, (elements,), dtype, Role.WEIGHT)


def _view(draw: st.DrawFn, key: TensorKey) -> TensorKey:
    """The first or the last part of a tensor, seen flat."""
    elements = draw(st.integers(0, prod(key.shape)))
    size = min(key.size, -(-elements * BITS[key.dtype] // 8))
    offset = key.offset + (key.size - size) * draw(st.integers(0, 1))
    return TensorKey(storage=key.storage, dtype=key.dtype, shape=(elements,), offset=offset, size=size)


def _dims(draw: st.DrawFn, kind: Kind) -> tuple[int, ...]:
    sides = st.sampled_from((1, 1, 3, 16, 40))
    if kind is Kind.GEMM:
        return (draw(st.integers(1, 3)), draw(sides), draw(sides), draw(sides))
    if kind is Kind.CONV:
        return (draw(st.integers(1, 5)), draw(sides), draw(sides), draw(sides), draw(st.sampled_from((1, 9))), 1)
    if kind is Kind.ATTENTION:
        kv_heads = draw(st.integers(1, 2))
        groups = draw(st.integers(1, 2))
        causal = draw(st.integers(0, 1))
        return (draw(st.integers(1, 2)), kv_heads * groups, kv_heads, draw(sides), draw(sides), draw(sides), causal)
    return tuple(draw(st.integers(1, 9)) for _ in DIMS.get(kind, ()))


def _cost(draw: st.DrawFn, kind: Kind, dims: tuple[int, ...]) -> Cost:
    matrix = masked = 0
    if kind in (Kind.GEMM, Kind.CONV):
        matrix = 2 * prod(dims[:4]) * draw(st.sampled_from((1, 1, 1, 0) if kind is Kind.GEMM else (1, 2)))
    elif kind is Kind.ATTENTION:
        batch, heads, _, queries, keys, width, causal = dims
        matrix = 4 * batch * heads * queries * keys * width
        masked = matrix // 2 if causal else 0
    work = 0 if kind in (Kind.VIEW, Kind.SYNC, Kind.OPAQUE) else draw(st.sampled_from((0, 1, 100, 5000)))
    special = draw(st.sampled_from((0, work // 4)))
    return Cost(kind=kind, dims=dims, matrix_flops=matrix, masked_flops=masked, vector_flops=work, special_ops=special)


def _free(draw: st.DrawFn, draft: _Draft, index: int) -> None:
    """Free one produced storage that is no output, sometimes."""
    storages = draft.tensors.storages
    produced = sorted({key.storage for key in draft.live if storages[key.storage].role in _INSIDE})
    produced = [storage for storage in produced if not storages[storage].output]
    some = draw(st.booleans())
    if produced and some:
        chosen = draw(st.sampled_from(produced))
        storages[chosen].free = index
        draft.live = [key for key in draft.live if key.storage != chosen]
