"""Does a kernel graph compute what the eager operators compute? Played by hand, value by value.

An oracle for partitions that shares no code with `hiersim.fusion.build`: every write makes a new version of its
storage, a kernel sees memory as it was when the kernel began plus what it wrote itself, and only the writes that the
kernel graph lists survive it. Every operator must see the versions that it saw eagerly.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import HOST_ONLY, PRODUCED, Accesses, Flag, TensorTable
from hiersim.model.trace import Trace

Version = tuple[int, ...]
"""Operators whose writes may be visible in a storage, oldest first; a write of the whole storage hides the others."""


def check_legal(trace: Trace, graph: KernelGraph, operators: Sequence[int]) -> None:
    """`AssertionError` where `graph` is no legal fusion of `trace`.

    Parameters
    ----------
    trace : Trace
        The eager operators.
    graph : KernelGraph
        What a policy made of them.
    operators : sequence of int
        (N,) the eager operator of each row of `graph.operators`.
    """
    check_cover(trace, graph, operators)
    eager_sees, final = _eager(trace)
    table, part = trace.graph.tensors, trace.graph
    memory: dict[int, Version] = {}
    for kernel in range(len(graph)):
        local: dict[int, Version] = {}
        read = _storages(table, graph.reads, kernel)
        for at in range(int(graph.operator_ptr[kernel]), int(graph.operator_ptr[kernel + 1])):
            row = operators[at]
            for storage in _storages(table, part.reads, row):
                seen = local.get(storage, memory.get(storage, ()))
                wanted = eager_sees[row][storage]
                where = f"operator {row} in kernel {kernel} '{graph.names[kernel]}', storage {storage}"
                assert seen == wanted, f"{where}: sees {seen} and eagerly {wanted}"
                if storage not in local or _needs_memory(trace, wanted, storage, operators, graph, kernel):
                    assert storage in read or not wanted, f"{where}: is read from outside and not listed"
            for storage, whole in _written(table, part.writes, row):
                local[storage] = _after(local.get(storage, memory.get(storage, ())), row, whole)
        for storage in _storages(table, graph.writes, kernel):
            assert storage in local, f"kernel {kernel} lists a write of storage {storage} that no operator makes"
            memory[storage] = local[storage]
        for storage in _outputs(table):
            assert storage not in local or memory.get(storage, ()) == local[storage], f"kernel {kernel} keeps {storage}"
    for storage in _outputs(table):
        assert memory.get(storage, ()) == final.get(storage, ()), f"storage {storage} ends as another version"


def check_cover(trace: Trace, graph: KernelGraph, operators: Sequence[int]) -> None:
    """Every launching operator has one row, and others only where their work is marked as repeated."""
    launching = {row for row, kind in enumerate(trace.graph.operators.kind.tolist()) if kind not in HOST_ONLY}
    assert set(operators) == launching, "kernels cover the launching operators"
    again = (trace.graph.operators.flags & Flag.RECOMPUTED) > 0
    seen: set[int] = set()
    for at, row in enumerate(operators):
        assert int(graph.recomputed[at]) == int(row in seen or bool(again[row])), f"operator {row} repeats work"
        seen.add(row)


def _needs_memory(
    trace: Trace, version: Version, storage: int, operators: Sequence[int], graph: KernelGraph, kernel: int
) -> bool:
    """Whether part of `version` was not written by the kernel itself."""
    rows = set(operators[int(graph.operator_ptr[kernel]) : int(graph.operator_ptr[kernel + 1])])
    return not set(version) <= rows


def _eager(trace: Trace) -> tuple[list[dict[int, Version]], dict[int, Version]]:
    """What each operator sees of each storage that it reads, and the versions at the end."""
    table, part = trace.graph.tensors, trace.graph
    memory: dict[int, Version] = {}
    sees: list[dict[int, Version]] = []
    for row in range(len(part.operators)):
        sees.append({storage: memory.get(storage, ()) for storage in _storages(table, part.reads, row)})
        for storage, whole in _written(table, part.writes, row):
            memory[storage] = _after(memory.get(storage, ()), row, whole)
    return sees, memory


def _after(version: Version, row: int, whole: bool) -> Version:
    return (row,) if whole else (*(other for other in version if other != row), row)


def _storages(table: TensorTable, access: Accesses, row: int) -> set[int]:
    return set(table.tensor_storage[access.tensor[access.ptr[row] : access.ptr[row + 1]]].tolist())


def _written(table: TensorTable, access: Accesses, row: int) -> list[tuple[int, bool]]:
    """Storages that a row writes, and whether it covers them."""
    places = range(int(access.ptr[row]), int(access.ptr[row + 1]))
    found: dict[int, bool] = {}
    for place in places:
        storage = int(table.tensor_storage[access.tensor[place]])
        whole = int(access.size[place]) >= int(table.storage_bytes[storage])
        found[storage] = found.get(storage, False) or whole
    return list(found.items())


def _outputs(table: TensorTable) -> Iterable[int]:
    """Storages whose contents outlive the run."""
    roles = table.storage_role.tolist()
    kept = table.storage_output.tolist()
    return [storage for storage, role in enumerate(roles) if kept[storage] or role not in PRODUCED]
