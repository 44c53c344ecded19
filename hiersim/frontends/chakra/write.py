"""A trace as a Chakra execution trace.

The standard fields say what any reader of Chakra understands: operators, data dependences, tensors with their storage,
FLOPs as `num_ops`, bytes as `tensor_size`. Beside them each node carries its row of the readable trace form
(`hiersim.row`), so that the way back loses nothing but captured schedules and measured times.
"""

from __future__ import annotations

import gzip
import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from hiersim.errors import TraceError
from hiersim.frontends.archive import write_whole
from hiersim.frontends.chakra.build import OWN
from hiersim.frontends.chakra.schema import Arguments, Node, NodeType, message_of, put_attribute
from hiersim.frontends.row_writer import rows_of
from hiersim.model.operators import BITS, Accesses, DType, Kind
from hiersim.model.trace import OperatorGraph, Trace
from hiersim.wire import delimited, put_bytes

VERSION: Final = "0.0.4"
_TORCH: Final = {
    DType.FP64: "double", DType.FP32: "float", DType.TF32: "float", DType.FP16: "c10::Half",
    DType.BF16: "c10::BFloat16", DType.FP8: "c10::Float8_e4m3fn", DType.FP4: "c10::Float4_e2m1fn_x2",
    DType.INT64: "long int", DType.INT32: "int", DType.INT16: "short int", DType.INT8: "signed char",
    DType.BOOL: "bool", DType.COMPLEX64: "c10::complex<float>",
}  # fmt: skip


def export_chakra(trace: Trace, path: str | os.PathLike[str]) -> None:
    """Write the eager operators of `trace` (`.et`, `.et.gz`), whole or not at all.

    Raises
    ------
    TraceError
        The name has another ending, or cannot be written.
    """
    name = Path(path).name.lower()
    if not name.endswith((".et", ".et.gz")):
        raise TraceError("has an unknown form", file=str(path), expected="a name that ends in .et or .et.gz")
    data = chakra_bytes(trace)
    write_whole(path, gzip.compress(data, mtime=0) if name.endswith(".gz") else data)


def chakra_bytes(trace: Trace) -> bytes:
    """The protobuf form: metadata, then one node per operator."""
    graph = trace.graph
    rows = rows_of(graph)
    tensors, operators = rows[: len(graph.tensors.tensor_storage)], rows[len(graph.tensors.tensor_storage) :]
    head = {item.name: getattr(trace.header, item.name) for item in fields(trace.header)}
    frees = bool((graph.tensors.storage_free >= 0).any())
    own = json.dumps({"header": head, "tensors": tensors, "frees": frees}, sort_keys=True, separators=(",", ":"))
    metadata = put_bytes(1, VERSION.encode()) + put_bytes(2, put_attribute(OWN, own))
    out = [delimited(metadata)]
    writers: dict[int, int] = {}
    for row, text in enumerate(operators):
        out.append(delimited(message_of(_node(graph, row, text, writers))))
    return b"".join(out)


def _node(graph: OperatorGraph, row: int, text: dict[str, Any], writers: dict[int, int]) -> Node:
    """One operator; `writers` says which row wrote a storage last."""
    read, written = (_span(part, row) for part in (graph.reads, graph.writes))
    storage = graph.tensors.tensor_storage
    deps = {writers[int(storage[tensor])] + 1 for tensor, _ in read if int(storage[tensor]) in writers}
    for tensor, _ in written:
        writers[int(storage[tensor])] = row
    operators = graph.operators
    moved = sum(size for _, size in (*read, *written))
    work = int(operators.matrix_flops[row] + operators.vector_flops[row] + operators.special_ops[row])
    collective = operators.kind[row] == Kind.COMM
    attributes = {"is_cpu_op": False, "num_ops": work, "tensor_size": moved}
    if collective:
        attributes["comm_size"] = sum(size for _, size in read)
    return Node(
        id=row + 1, name=operators.label(row), type=NodeType.COMM_COLL_NODE if collective else NodeType.COMP_NODE,
        data_deps=tuple(sorted(deps)), inputs=_arguments(graph, read), outputs=_arguments(graph, written),
        attributes={**attributes, OWN: json.dumps(text, sort_keys=True, separators=(",", ":"))},
    )  # fmt: skip


def _span(part: Accesses, row: int) -> list[tuple[int, int]]:
    span = slice(int(part.ptr[row]), int(part.ptr[row + 1]))
    return list(zip(part.tensor[span].tolist(), part.size[span].tolist(), strict=True))


def _arguments(graph: OperatorGraph, accesses: list[tuple[int, int]]) -> Arguments:
    tensors = graph.tensors
    values, shapes, types = [], [], []
    for tensor, _ in accesses:
        dtype = DType(int(tensors.tensor_dtype[tensor]))
        shape = tensors.shape[int(tensors.shape_ptr[tensor]) : int(tensors.shape_ptr[tensor + 1])].tolist()
        width = max(1, BITS[dtype] // 8)
        elements = 8 * int(tensors.tensor_bytes[tensor]) // BITS[dtype]
        offset = int(tensors.tensor_offset[tensor]) // width
        values.append([tensor, int(tensors.tensor_storage[tensor]), offset, elements, width, "cuda:0"])
        shapes.append(shape)
        types.append(f"Tensor({_TORCH[dtype]})")
    return Arguments(values=tuple(values), shapes=tuple(shapes), types=tuple(types))
