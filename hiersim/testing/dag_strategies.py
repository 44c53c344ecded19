"""Random `Trace`s whose operators fit each other: DAGs that fusion policies find something in.

`traces()` draws any sound trace, whose shapes seldom match; here all tensors are rows x columns, a row or a column,
so that chains, diamonds, norms, products and in-place updates really meet.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

from hypothesis import strategies as st

from hiersim.frontends.aten.call import Cost
from hiersim.frontends.integrity import check_trace
from hiersim.frontends.tables import Access, OperatorBuilder, Row, Storage, TensorBuilder, TensorKey, accesses
from hiersim.model.operators import DType, Flag, Kind, Phase, Role
from hiersim.model.trace import OperatorGraph, Trace, TraceHeader

ROWS, COLUMNS = 24, 16
_STEPS = (
    "unary", "unary", "binary", "binary", "binary", "cast", "sum", "scale", "norm", "product", "inplace", "slice",
    "transpose", "gather", "scatter", "cat", "random", "sync", "window", "column_sum",
)  # fmt: skip


@dataclass(slots=True)
class _Draft:
    """A trace under construction."""

    tensors: TensorBuilder = field(default_factory=TensorBuilder)
    full: list[TensorKey] = field(default_factory=list)
    """Tensors of rows x columns."""
    narrow: list[TensorKey] = field(default_factory=list)
    """Tensors of rows x 1."""
    rows: list[Row] = field(default_factory=list)
    reads: list[list[Access]] = field(default_factory=list)
    writes: list[list[Access]] = field(default_factory=list)

    def make(self, shape: tuple[int, ...], role: Role = Role.ACTIVATION, dtype: DType = DType.FP32) -> TensorKey:
        """A tensor in a storage of its own."""
        size = prod(shape) * (2 if dtype is DType.BF16 else 4)
        storage = self.tensors.storage(Storage(size=size, role=role))
        return TensorKey(storage=storage, dtype=dtype, shape=shape, size=size)

    def row(
        self, name: str, kind: Kind, reads: list[TensorKey], writes: list[Access], *, dims: tuple[int, ...] = (),
        flags: Flag = Flag.NONE, matrix: int = 0, work: int = ROWS * COLUMNS, size: int | None = None,
    ) -> None:  # fmt: skip
        """One operator; `size` bytes of its last operand are moved, by default all."""
        vector = 0 if kind in (Kind.VIEW, Kind.SYNC, Kind.COPY, Kind.GATHER) else work
        cost = Cost(kind=kind, dims=dims, matrix_flops=matrix, vector_flops=vector)
        self.rows.append(
            Row(name=f"aten.{name}.default", module="", phase=Phase.FORWARD, flags=flags, dtype=DType.FP32, cost=cost)
        )
        moved = [(key, key.size) for key in reads]
        if size is not None and moved:
            moved[-1] = (moved[-1][0], size)
        self.reads.append(moved)
        self.writes.append(writes)


@st.composite
def dags(draw: st.DrawFn, max_operators: int = 14) -> Trace:
    """A sound trace of at most `max_operators` operators over tensors of few shapes."""
    steps = draw(st.lists(st.tuples(st.sampled_from(_STEPS), st.integers(0, 99)), min_size=1, max_size=max_operators))
    keep = draw(st.integers(0, 2**max_operators - 1))
    draft = _Draft()
    draft.full.append(draft.make((ROWS, COLUMNS), Role.INPUT))
    draft.narrow.append(draft.make((ROWS, 1), Role.INPUT))
    for step, pick in steps:
        _append(draft, step, pick)
    _append(draft, "unary", 0)
    for place, storage in enumerate(draft.tensors.storages):
        storage.output = storage.role is Role.ACTIVATION and (keep >> place % max_operators) % 4 == 1
    draft.tensors.storages[draft.full[-1].storage].output = True
    graph = OperatorGraph(
        reads=accesses(draft.reads, draft.tensors),
        writes=accesses(draft.writes, draft.tensors),
        tensors=draft.tensors.build(),
        operators=OperatorBuilder(draft.rows).build(),
    )
    return check_trace(Trace(header=TraceHeader(name="dag", notes=("made by hiersim.testing",)), graph=graph))


def _append(draft: _Draft, step: str, pick: int) -> None:
    """One operator of that sort; `pick` chooses its operands, the latest ones for small numbers."""
    one = draft.full[-1 - pick % min(len(draft.full), 4)]
    other = draft.full[-1 - pick // 4 % min(len(draft.full), 5)]
    column = draft.narrow[-1 - pick % len(draft.narrow)]
    square = (ROWS, COLUMNS)
    if step == "sync":
        draft.row("_local_scalar_dense", Kind.SYNC, [], [])
    elif step == "sum":
        _result(draft, "sum", Kind.REDUCTION, [one], (ROWS, 1), dims=(ROWS, COLUMNS))
    elif step == "column_sum":
        out = draft.make((COLUMNS,))
        draft.row("sum", Kind.REDUCTION, [one], [(out, out.size)], dims=(COLUMNS, ROWS))
    elif step == "scale":
        _result(draft, "mul", Kind.POINTWISE, [one, column], square)
    elif step == "norm":
        weight = draft.make((COLUMNS,), Role.WEIGHT)
        _result(draft, "native_layer_norm", Kind.REDUCTION, [one, weight], square, dims=(ROWS, COLUMNS))
    elif step == "product":
        weight = draft.make((COLUMNS, COLUMNS), Role.WEIGHT)
        flops = 2 * ROWS * COLUMNS * COLUMNS
        dims = (1, ROWS, COLUMNS, COLUMNS)
        _result(draft, "mm", Kind.GEMM, [one, weight], square, dims=dims, matrix=flops, work=0)
    elif step == "inplace":
        draft.row("relu_", Kind.POINTWISE, [one], [(one, one.size)], flags=Flag.MUTATES)
    elif step == "slice":
        first, second = (
            TensorKey(
                storage=one.storage, dtype=one.dtype, shape=(ROWS // 2, COLUMNS), offset=offset, size=one.size // 2
            )
            for offset in (0, one.size // 2)
        )
        out = draft.make(first.shape)
        draft.row("neg", Kind.POINTWISE, [second], [(out, out.size)])
        _result(draft, "cat", Kind.COPY, [out, first], square)
    elif step == "transpose":
        seen = TensorKey(storage=one.storage, dtype=one.dtype, shape=(COLUMNS, ROWS), size=one.size)
        draft.row("t", Kind.VIEW, [], [])
        out = draft.make((COLUMNS, ROWS), dtype=one.dtype)
        draft.row("exp", Kind.POINTWISE, [seen], [(out, out.size)])
    elif step == "gather":
        table = draft.make((4 * ROWS, COLUMNS), Role.WEIGHT)
        _result(draft, "embedding", Kind.GATHER, [column, table], square, size=table.size // 4)
    elif step == "scatter":
        cache = draft.make((4 * ROWS, COLUMNS), Role.KV_CACHE)
        draft.row("index_copy_", Kind.SCATTER, [one], [(cache, one.size)], flags=Flag.MUTATES)
        _result(draft, "slice_copy", Kind.GATHER, [cache], square)
    elif step == "cast":
        out = draft.make(square, dtype=DType.BF16 if one.dtype is DType.FP32 else DType.FP32)
        draft.row("_to_copy", Kind.COPY, [one], [(out, out.size)])
        draft.full.append(out)
    elif step == "random":
        _result(draft, "bernoulli", Kind.POINTWISE, [one], square, flags=Flag.RANDOM)
    elif step == "window":
        _result(draft, "avg_pool2d", Kind.REDUCTION, [one], square, dims=(ROWS * COLUMNS, 9))
    else:
        operands = [one] if step == "unary" else [one, other]
        _result(draft, "add" if len(operands) > 1 else "gelu", Kind.POINTWISE, operands, square)


def _result(
    draft: _Draft, name: str, kind: Kind, reads: list[TensorKey], shape: tuple[int, ...], *, dims: tuple[int, ...] = (),
    flags: Flag = Flag.NONE, matrix: int = 0, work: int = ROWS * COLUMNS, size: int | None = None,
) -> None:  # fmt: skip
    """An operator with a new result, which others may read."""
    out = draft.make(shape)
    draft.row(name, kind, reads, [(out, out.size)], dims=dims, flags=flags, matrix=matrix, work=work, size=size)
    (draft.full if shape == (ROWS, COLUMNS) else draft.narrow).append(out)
