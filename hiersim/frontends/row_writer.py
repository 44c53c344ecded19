"""The tensor and operator rows of a graph in the readable trace form; the inverse of `hiersim.frontends.rows`."""

from __future__ import annotations

from math import prod
from typing import Any, Final

from hiersim.model.operators import BITS, DIMS, Accesses, DType, Flag, Kind, Phase, Role, TensorTable
from hiersim.model.trace import OperatorGraph

_FLOPS: Final = {
    "matrix": "matrix_flops", "masked": "masked_flops", "vector": "vector_flops", "special": "special_ops",
}  # fmt: skip


def rows_of(graph: OperatorGraph, *, unseen: bool = False) -> list[dict[str, Any]]:
    """Rows from which `rows.trace_of` makes the same graph, storages renumbered: first (T) tensors, then (N) operators.

    Storages that no tensor shows are left out, or (`unseen`) become tensors of bytes that nobody touches; where no
    storage is freed, the first operator says so with an empty list. A tensor is named after its storage where that has
    a name.
    """
    names = _tensor_names(graph.tensors)
    owners: dict[int, str] = {}
    rows = [_tensor(graph.tensors, index, name, owners) for index, name in enumerate(names)]
    rows += _unseen(graph.tensors, owners, set(names)) if unseen else []
    freed: dict[int, list[str]] = {}
    for storage, owner in owners.items():
        freed.setdefault(int(graph.tensors.storage_free[storage]), []).append(owner)
    operators = [_operator(graph, row, names, freed.get(row, [])) for row in range(len(graph.operators))]
    if operators and not any("frees" in row for row in operators):
        operators[0]["frees"] = []
    return rows + operators


def _unseen(tensors: TensorTable, owners: dict[int, str], taken: set[str]) -> list[dict[str, Any]]:
    """Rows of storages that no tensor shows; they take memory all the same."""
    rows = []
    for storage in range(len(tensors.storage_bytes)):
        if storage in owners:
            continue
        name = tensors.storage_names[storage] or f"storage#{storage}"
        while name in taken:
            name += "'"
        taken.add(name)
        owners[storage] = name
        role = Role(int(tensors.storage_role[storage])).name.lower()
        size = [int(tensors.storage_bytes[storage])]
        row: dict[str, Any] = {"tensor": name, "shape": size, "dtype": "int8", "role": role}
        rows.append(row | ({"output": True} if tensors.storage_output[storage] else {}))
    return rows


def _tensor_names(tensors: TensorTable) -> list[str]:
    names: list[str] = []
    taken: set[str] = set()
    for index, storage in enumerate(tensors.tensor_storage.tolist()):
        name = tensors.storage_names[storage]
        if not name or name in taken:
            name = f"{name.partition('#')[0] or 'tensor'}#{index}"
        while name in taken:
            name += "'"
        taken.add(name)
        names.append(name)
    return names


def _tensor(tensors: TensorTable, index: int, name: str, owners: dict[int, str]) -> dict[str, Any]:
    storage, dtype = int(tensors.tensor_storage[index]), DType(int(tensors.tensor_dtype[index]))
    shape = tensors.shape[int(tensors.shape_ptr[index]) : int(tensors.shape_ptr[index + 1])].tolist()
    size, offset = int(tensors.tensor_bytes[index]), int(tensors.tensor_offset[index])
    full = -(-prod(shape) * BITS[dtype] // 8)
    row: dict[str, Any] = {"tensor": name, "shape": shape, "dtype": dtype.name.lower()}
    if storage in owners:
        row["storage"] = owners[storage]
    else:
        owners[storage] = name
        row["role"] = Role(int(tensors.storage_role[storage])).name.lower()
        if tensors.storage_output[storage]:
            row["output"] = True
        if int(tensors.storage_bytes[storage]) != offset + full:
            row["storage_bytes"] = int(tensors.storage_bytes[storage])
    if offset:
        row["offset"] = offset
    if size != full:
        row["bytes"] = size
    return row


def _operator(graph: OperatorGraph, row: int, names: list[str], freed: list[str]) -> dict[str, Any]:
    table = graph.operators
    kind, flags = Kind(int(table.kind[row])), Flag(int(table.flags[row]))
    sides = table.dims[int(table.dims_ptr[row]) : int(table.dims_ptr[row + 1])].tolist()
    flops = {key: int(getattr(table, column)[row]) for key, column in _FLOPS.items()}
    found: dict[str, Any] = {
        "operator": table.label(row), "kind": kind.name.lower(), "dtype": DType(int(table.dtype[row])).name.lower(),
        "dims": dict(zip(DIMS.get(kind, ()), sides, strict=True)),
        "reads": _accesses(graph, graph.reads, row, names), "writes": _accesses(graph, graph.writes, row, names),
        "flops": {key: value for key, value in flops.items() if value or key == "matrix"},
        "module": table.strings[int(table.module[row])],
        "flags": [flag.name.lower() for flag in Flag if flag.name and flag in flags], "frees": freed,
    }  # fmt: skip
    if table.phase[row] != Phase.FORWARD:
        found["phase"] = Phase(int(table.phase[row])).name.lower()
    return {key: value for key, value in found.items() if value not in ([], {}, "")}


def _accesses(graph: OperatorGraph, column: Accesses, row: int, names: list[str]) -> list[Any]:
    span = slice(int(column.ptr[row]), int(column.ptr[row + 1]))
    whole = graph.tensors.tensor_bytes
    return [
        names[tensor] if moved == int(whole[tensor]) else {"tensor": names[tensor], "bytes": moved}
        for tensor, moved in zip(column.tensor[span].tolist(), column.size[span].tolist(), strict=True)
    ]
