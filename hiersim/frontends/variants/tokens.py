"""Many tokens: decode steps one after the other, in one trace.

What is there from the start (weights, KV cache, inputs) is one storage for all steps; what a step makes is its own.
The token that a step yields is the next one's input: choosing it is not part of the model and takes no time here. The
results of all steps but the last are freed where their step ends.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from hiersim.frontends.variants.calls import in_turn
from hiersim.frontends.variants.parts import Part
from hiersim.model.kernels import Entries, KernelGraph
from hiersim.model.operators import PRODUCED, Accesses, BoolArray, IntArray, OperatorTable, TensorTable
from hiersim.model.trace import OperatorGraph


def in_sequence(steps: Sequence[Part]) -> Part:
    """One part that runs `steps` in order; they differ in sizes only."""
    first = steps[0]
    rows, count = len(first.reads.ptr) - 1, len(steps)
    tensors = len(first.tensors.tensor_storage)
    changes: dict[str, object] = {
        "tensors": _tensors([step.tensors for step in steps], rows),
        "operators": _operators([step.operators for step in steps]),
        "reads": _accesses([step.reads for step in steps], tensors),
        "writes": _accesses([step.writes for step in steps], tensors),
    }
    if isinstance(first, OperatorGraph):
        changes["regions"] = in_turn([step for step in steps if isinstance(step, OperatorGraph)])
    if isinstance(first, KernelGraph):
        changes |= {
            "entries": _entries(first.entries, count),
            "operator_ptr": _pointers([step.operator_ptr for step in steps]),
            "names": first.names * count,
            **{
                name: np.tile(getattr(first, name), count)
                for name in ("recomputed", "launch", "host_views", "host_syncs")
            },
        }
    return dataclasses.replace(first, **changes)  # type: ignore[arg-type]


def _entries(entries: Entries | None, count: int) -> Entries | None:
    """Every step enters the regions of the first."""
    if entries is None:
        return None
    return Entries(**{item.name: np.tile(getattr(entries, item.name), count) for item in dataclasses.fields(entries)})


def _pointers(pointers: Sequence[IntArray]) -> IntArray:
    """Offsets of CSR lists that stand one after the other."""
    lengths = np.concatenate([np.diff(ptr) for ptr in pointers])
    return np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)


def _accesses(steps: Sequence[Accesses], tensors: int) -> Accesses:
    return Accesses(
        ptr=_pointers([step.ptr for step in steps]),
        tensor=np.concatenate([step.tensor + index * tensors for index, step in enumerate(steps)]),
        size=np.concatenate([step.size for step in steps]),
    )


def _tensors(steps: Sequence[TensorTable], rows: int) -> TensorTable:
    """Storages of the first step, then what each later one makes; every step has its own views."""
    first, count = steps[0], len(steps)
    made: BoolArray = np.isin(first.storage_role, [int(role) for role in PRODUCED])
    storages, own = len(made), int(made.sum())
    place = np.arange(storages)
    places = [place]
    for index in range(1, count):
        later = place.copy()
        later[made] = storages + (index - 1) * own + np.arange(own)
        places.append(later)
    later_steps = steps[1:]
    free = [_freed(first, made, rows, index, last=index == count - 1) for index in range(count)]
    output = [first.storage_output * (~made if index < count - 1 else 1) for index in range(count)]
    return TensorTable(
        storage_names=first.storage_names + tuple(np.array(first.storage_names, object)[made]) * (count - 1),
        storage_bytes=np.concatenate([first.storage_bytes, *(step.storage_bytes[made] for step in later_steps)]),
        storage_role=np.concatenate([first.storage_role, *(step.storage_role[made] for step in later_steps)]),
        storage_free=np.concatenate([free[0], *(column[made] for column in free[1:])]),
        storage_output=np.concatenate([output[0], *(column[made] for column in output[1:])]),
        tensor_storage=np.concatenate([later[first.tensor_storage] for later in places]),
        tensor_dtype=np.tile(first.tensor_dtype, count),
        tensor_bytes=np.concatenate([step.tensor_bytes for step in steps]),
        tensor_offset=np.concatenate([step.tensor_offset for step in steps]),
        shape_ptr=_pointers([step.shape_ptr for step in steps]),
        shape=np.concatenate([step.shape for step in steps]),
    )


def _freed(table: TensorTable, made: BoolArray, rows: int, index: int, *, last: bool) -> IntArray:
    """(S,) last row of each storage's life, as the step `index` of a sequence has it."""
    kept = table.storage_free < 0
    end = np.where(kept & made & (not last), rows - 1, table.storage_free)
    return np.where(end < 0, -1, end + index * rows)


def _operators(steps: Sequence[OperatorTable]) -> OperatorTable:
    """Operators of all steps; the module of each says which token it belongs to."""
    first, count = steps[0], len(steps)
    modules = np.flatnonzero(np.bincount(first.module))
    at = np.searchsorted(modules, first.module)
    strings = list(first.strings)
    for index in range(count):
        strings += [f"token.{index}.{first.strings[module]}".rstrip(".") for module in modules.tolist()]
    offset = len(first.strings) + np.arange(count) * len(modules)
    columns = ("kind", "phase", "flags", "dtype", "matrix_flops", "masked_flops", "vector_flops", "special_ops", "dims")
    return OperatorTable(
        strings=tuple(strings),
        name=np.tile(first.name, count),
        module=np.concatenate([at + start for start in offset.tolist()]).astype(np.int64),
        dims_ptr=_pointers([step.dims_ptr for step in steps]),
        **{name: np.concatenate([getattr(step, name) for step in steps]) for name in columns},
    )
