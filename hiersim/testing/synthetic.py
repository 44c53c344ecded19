"""Large inputs made in milliseconds, for benchmarks and tests of scale. Needs no hypothesis.

    from hiersim.testing.synthetic import layered_trace, tile_program

    trace = layered_trace(62_500)          # 10^6 operators
    program = tile_program(1_000_000)      # one kernel of 10^6 tiles

Nothing here is random: the same arguments give the same arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from hiersim.model.operators import Accesses, DType, Flag, IntArray, Kind, OperatorTable, Phase, Role, TensorTable, csr
from hiersim.model.program import Access, Program, Resource
from hiersim.model.trace import OperatorGraph, Trace, TraceHeader

ELEMENT: Final = 2
"""Bytes of a BF16 element."""
OPERATORS_PER_LAYER: Final = 16
STORAGES_PER_LAYER: Final = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class _Operator:
    """One operator of the layer; names stand for storages."""

    name: str
    kind: Kind
    reads: tuple[str, ...]
    write: str
    dims: tuple[int, ...] = ()
    matrix: int = 0
    masked: int = 0
    vector: int = 0
    special: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sizes:
    """Widths of the layer."""

    tokens: int
    width: int
    hidden: int
    heads: int

    def weights(self) -> dict[str, tuple[int, int]]:
        """Name → shape of what a layer owns."""
        square, wide = (self.width, self.width), (self.width, self.hidden)
        return {
            "norm1": (1, self.width), "wq": square, "wk": square, "wv": square, "wo": square,
            "norm2": (1, self.width), "gate": wide, "up": wide, "down": wide[::-1],
        }  # fmt: skip

    def activations(self) -> dict[str, tuple[int, int]]:
        """Name → shape of what a layer makes; the last is the input of the next layer."""
        narrow = ("h1", "q", "k", "v", "rq", "rk", "a", "o", "x1", "h2")
        inner, outer = ("g", "u", "s", "m"), ("d", "out")
        return {
            **dict.fromkeys(narrow, (self.tokens, self.width)),
            **dict.fromkeys(inner, (self.tokens, self.hidden)),
            **dict.fromkeys(outer, (self.tokens, self.width)),
        }


def _product(read: str, weight: str, write: str, m: int, n: int, k: int) -> _Operator:
    return _Operator(
        name="aten.mm.default", kind=Kind.GEMM, reads=(read, weight), write=write,
        dims=(1, m, n, k), matrix=2 * m * n * k,
    )  # fmt: skip


def _pointwise(name: str, reads: tuple[str, ...], write: str, flops: int, special: int = 0) -> _Operator:
    return _Operator(
        name=f"aten.{name}.default", kind=Kind.POINTWISE, reads=reads, write=write, vector=flops, special=special
    )


def _norm(read: str, weight: str, write: str, size: _Sizes) -> _Operator:
    return _Operator(
        name="aten.rms_norm.default", kind=Kind.REDUCTION, reads=(read, weight), write=write,
        dims=(size.tokens, size.width), vector=4 * size.tokens * size.width, special=size.tokens,
    )  # fmt: skip


def _layer(size: _Sizes) -> tuple[_Operator, ...]:
    """The operators of one layer; `x` is what the layer before it left."""
    m, n, hidden = size.tokens, size.width, size.hidden
    work = 4 * m * m * n
    attention = _Operator(
        name="aten.scaled_dot_product_attention.default", kind=Kind.ATTENTION, reads=("rq", "rk", "v"), write="a",
        dims=(1, size.heads, size.heads, m, m, n // size.heads, 1), matrix=work, masked=work * (m - 1) // (2 * m),
        special=size.heads * m * m // 2,
    )  # fmt: skip
    return (
        _norm("x", "norm1", "h1", size),
        _product("h1", "wq", "q", m, n, n),
        _product("h1", "wk", "k", m, n, n),
        _product("h1", "wv", "v", m, n, n),
        _pointwise("rope", ("q",), "rq", 3 * m * n),
        _pointwise("rope", ("k",), "rk", 3 * m * n),
        attention,
        _product("a", "wo", "o", m, n, n),
        _pointwise("add", ("x", "o"), "x1", m * n),
        _norm("x1", "norm2", "h2", size),
        _product("h2", "gate", "g", m, hidden, n),
        _product("h2", "up", "u", m, hidden, n),
        _pointwise("silu", ("g",), "s", 3 * m * hidden, m * hidden),
        _pointwise("mul", ("s", "u"), "m", m * hidden),
        _product("m", "down", "d", m, n, hidden),
        _pointwise("add", ("x1", "d"), "out", m * n),
    )


def layered_trace(
    layers: int, *, tokens: int = 128, width: int = 1024, hidden: int = 4096, heads: int = 8, name: str = "layered"
) -> Trace:
    """A stack of `layers` equal transformer layers of 16 operators, in BF16.

    Normalisation, three projections, rotary embedding, causal attention, output projection, residual sum; then
    normalisation, SwiGLU and residual sum. Each layer has weights of its own; activations are freed after their
    last use. The columns of one layer are tiled with NumPy: 10^6 operators take about a second.

    Parameters
    ----------
    layers : int
        At least 1; the trace has 16 · `layers` operators, all of which launch a kernel.
    tokens, width, hidden, heads : int
        Rows of the activations, their width, width of the feed-forward block, attention heads (a divisor of `width`).
    name : str
        Name of the trace.

    Raises
    ------
    ValueError
        When a size is below 1 or `heads` does not divide `width`.
    """
    if min(layers, tokens, width, hidden, heads) < 1 or width % heads:
        raise ValueError("layers and sizes must be at least 1, and heads must divide width")
    size = _Sizes(tokens=tokens, width=width, hidden=hidden, heads=heads)
    operators = _layer(size)
    ids = {label: index for index, label in enumerate(("x", *size.weights(), *size.activations()))}
    tensors = _tensors(size, operators, ids, layers)
    graph = OperatorGraph(
        tensors=tensors,
        operators=_operators(operators, layers),
        reads=_accesses([[ids[read] for read in item.reads] for item in operators], tensors, layers),
        writes=_accesses([[ids[item.write]] for item in operators], tensors, layers),
    )
    header = TraceHeader(
        name=name,
        model=f"{layers} transformer layers of width {width}",
        workload=f"1 x {tokens} tokens, prefill",
        dtype="bf16",
        notes=("synthetic, made by hiersim.testing",),
    )
    return Trace(header=header, graph=graph)


def _steps(layers: int, step: int) -> IntArray:
    """(layers, 1) what to add to the ids of the first layer."""
    return (np.arange(layers, dtype=np.int64) * step)[:, None]


def _tensors(size: _Sizes, operators: tuple[_Operator, ...], ids: dict[str, int], layers: int) -> TensorTable:
    """One storage and one tensor for each name in each layer; storage 0 is the input of the model.

    With S storages a layer, those of layer l are S·l + 1 … S·l + S, and its input is S·l: the output of layer l - 1.
    """
    shapes = np.array([*size.weights().values(), *size.activations().values()], np.int64)
    weights, count = len(size.weights()), layers * len(shapes) + 1
    used = {ids[read]: row for row, item in enumerate(operators) for read in item.reads}
    free = np.array([-1] * weights + [used.get(i, -1) for i in range(weights + 1, len(shapes) + 1)], np.int64)
    free[-1] = OPERATORS_PER_LAYER + used[0]  # the output is last used as the input of the next layer
    frees = np.where(free < 0, -1, free + _steps(layers, OPERATORS_PER_LAYER)).reshape(-1)
    frees[-1] = -1
    role = np.array([Role.WEIGHT] * weights + [Role.ACTIVATION] * (len(shapes) - weights), np.int64)
    output = np.zeros(count, np.int64)
    output[-1] = 1
    first = np.array([[size.tokens, size.width]], np.int64)
    shape = np.concatenate([first, np.tile(shapes, (layers, 1))])
    bytes_ = shape.prod(axis=1) * ELEMENT
    return TensorTable(
        storage_names=("",) * count,
        storage_bytes=bytes_,
        storage_role=np.concatenate([[int(Role.INPUT)], np.tile(role, layers)]),
        storage_free=np.concatenate([[-1], frees]),
        storage_output=output,
        tensor_storage=np.arange(count, dtype=np.int64),
        tensor_dtype=np.full(count, DType.BF16, np.int64),
        tensor_bytes=bytes_,
        tensor_offset=np.zeros(count, np.int64),
        shape_ptr=np.arange(count + 1, dtype=np.int64) * 2,
        shape=shape.reshape(-1),
    )


def _operators(operators: tuple[_Operator, ...], layers: int) -> OperatorTable:
    names = tuple(dict.fromkeys(item.name for item in operators))
    dims_ptr, dims = csr([list(item.dims) for item in operators])

    def column(values: list[int]) -> IntArray:
        return np.tile(np.array(values, np.int64), layers)

    rows = len(operators)
    return OperatorTable(
        strings=(*names, *(f"layers.{layer}" for layer in range(layers))),
        name=column([names.index(item.name) for item in operators]),
        module=np.repeat(np.arange(layers, dtype=np.int64), rows) + len(names),
        kind=column([item.kind for item in operators]),
        phase=column([Phase.FORWARD] * rows),
        flags=column([Flag.NONE] * rows),
        dtype=column([DType.BF16] * rows),
        matrix_flops=column([item.matrix for item in operators]),
        masked_flops=column([item.masked for item in operators]),
        vector_flops=column([item.vector for item in operators]),
        special_ops=column([item.special for item in operators]),
        dims_ptr=_tiled_ptr(dims_ptr, layers),
        dims=np.tile(dims, layers),
    )


def _accesses(rows: list[list[int]], tensors: TensorTable, layers: int) -> Accesses:
    ptr, ids = csr(rows)
    tensor = (ids + _steps(layers, STORAGES_PER_LAYER)).reshape(-1)
    return Accesses(ptr=_tiled_ptr(ptr, layers), tensor=tensor, size=tensors.tensor_bytes[tensor])


def _tiled_ptr(ptr: IntArray, layers: int) -> IntArray:
    return np.concatenate([[0], (ptr[1:] + _steps(layers, int(ptr[-1]))).reshape(-1)])


def tile_program(
    tiles: int, *, kernels: int = 1, tiers: int = 2, contended: bool = False, depth: int = 4, nests: int = 1
) -> Program:
    """`kernels` kernels in a stream, each a loop of `tiles` equal tiles: load through every tier, compute, store.

    A tile has 2 · `tiers` + 1 stages. Loads from the farthest tier set the pace.

    Parameters
    ----------
    tiles, kernels : int
        At least 1.
    tiers : int
        Shared tiers with a port, at least 1; there is a core tier for the buffers besides.
    contended : bool
        False: every tier has a port for reads and one for writes, so that each port serves the tiles in order.
        True: one port for both, so that loads and stores of different tiles compete and an arbiter has to choose.
    depth : int
        Tiles in flight.
    nests : int
        Distinct loop nests; kernel `k` runs nest `k` modulo `nests`. They differ by a tick of compute.

    Raises
    ------
    ValueError
        When a number is below 1, or there are more nests than kernels.
    """
    if min(tiles, kernels, tiers, depth, nests) < 1 or nests > kernels:
        raise ValueError("all numbers must be at least 1, and there are no more nests than kernels")
    stages = np.concatenate([_chain(tiers, contended, nest) for nest in range(nests)])
    length = 2 * tiers + 1
    each = np.arange(nests + 1, dtype=np.int64)
    columns = ("resource", "access", "ticks", "latency", "bytes", "useful", "padding", "tail")
    return Program(
        tiers=("smem", *(f"tier{level}" for level in range(tiers))),
        resources=_ports(tiers, contended),
        queue=1024,
        kernel_names=tuple(f"kernel{index}" for index in range(kernels)),
        host_ticks=np.full(kernels, 10, np.int64),
        host_sync=np.zeros(kernels, np.int64),
        launch_latency=np.full(kernels, 5, np.int64),
        start_ticks=np.full(kernels, 1, np.int64),
        needs_ptr=np.maximum(np.arange(kernels + 1, dtype=np.int64) - 1, 0),
        needs=np.arange(kernels - 1, dtype=np.int64),
        nest=np.arange(kernels, dtype=np.int64) % nests,
        depth=np.full(nests, depth, np.int64),
        buffer_tier=np.zeros(nests, np.int64),
        loop_ptr=each,
        loop_repeat=np.full(nests, tiles, np.int64),
        body_ptr=each,
        body_count=np.ones(nests, np.int64),
        body_tile=each[:-1],
        stage_ptr=each * length,
        release_stage=np.full(nests, tiers + 1, np.int64),
        complete_stage=np.full(nests, tiers + 1, np.int64),
        **dict[str, Any]({f"stage_{name}": stages[:, index].copy() for index, name in enumerate(columns)}),
        free_bytes=np.zeros((2, tiers + 1), np.int64),
        peak_bytes=np.zeros(tiers + 1, np.int64),
        flops=(0, 0),
        peak_ticks=(0, 0),
        compulsory_bytes=0,
        warnings=(),
    )


def _ports(tiers: int, contended: bool) -> tuple[Resource, ...]:
    """The matrix unit, then one or two ports for each tier, nearest first."""
    kinds = ("",) if contended else (".read", ".write")
    ports = (Resource(name=f"tier{level}{kind}", tier=level + 1) for level in range(tiers) for kind in kinds)
    return (Resource(name="matrix", tier=-1), *ports)


def _chain(tiers: int, contended: bool, nest: int) -> IntArray:
    """(2 · tiers + 1, 8) stage columns of one tile: loads from far to near, compute, stores from near to far."""
    ports = 1 if contended else 2
    size, compute = 4096, 40 + nest % 7
    rows = [(0, Access.COMPUTE, compute, 3, 0, compute, 0, 0)]
    for level in range(tiers):
        read, latency = 23 + 25 * (level + 1) // tiers, 30 + 40 * level
        rows.insert(0, (1 + ports * level, Access.READ, read, latency, size, 0, 0, 0))
        rows.append((ports * (level + 1), Access.WRITE, 7 + 2 * level, latency, size // 4, 0, 0, 0))
    return np.array(rows, np.int64)
