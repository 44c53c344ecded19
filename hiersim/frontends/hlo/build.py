"""An HLO module becomes a trace: its instructions one by one, and its fusions as the schedule `xla`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from hiersim.frontends.hlo.shapes import Array
from hiersim.frontends.hlo.text import Module, read_module
from hiersim.frontends.hlo.values import Item, Value, flat
from hiersim.frontends.hlo.walk import Walk
from hiersim.frontends.integrity import check_trace
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import Flag, Role
from hiersim.model.trace import OperatorGraph, Trace, TraceHeader
from hiersim.version import __version__

POLICY: Final = "xla (captured)"
WEIGHTS: Final = ("params", "param", "variables", "weights", "model")
"""Arguments of these names are weights, and so is all inside them."""
_OPTIMIZER: Final = re.compile(r"(^|[^a-z])(opt|opt_state|optimizer|optimizer_state|mu|nu|momentum|velocity)([^a-z]|$)")
_CACHE: Final = re.compile(
    r"(^|[^a-z])(kv|past|cache|[kv]_cache|key_cache|value_cache|kv_cache|past_key_values)([^a-z]|$)"
)


def import_hlo(path: str | Path, *, name: str = "", weights: Sequence[str] = WEIGHTS) -> Trace:
    """The trace of an HLO text file.

    Parameters
    ----------
    path : str or Path
        Text of a module, before or after XLA's passes, plain or gzip.
    name : str
        Of the trace; by default that of the file.
    weights : sequence of str
        Names of arguments that are weights, beside which others are inputs.

    Returns
    -------
    Trace
        Eager: every instruction by itself, those inside fusions too. Where the module has fusions, they are its
        schedule `xla`.

    Raises
    ------
    TraceError
        Not HLO text, or a module that cannot be walked; names the line.
    """
    module = read_module(path)
    name = name or Path(path).name.partition(".")[0]
    header = TraceHeader(
        name=name, model=module.name, producer=f"hiersim {__version__}, HLO text",
        command=f"hiersim import hlo {Path(path).name} -o {name}.npz",
    )  # fmt: skip
    return trace_of(header, module, module if has_fusions(module) else None, weights)


def trace_of(header: TraceHeader, plain: Module, compiled: Module | None, weights: Sequence[str] = WEIGHTS) -> Trace:
    """A trace of a module as it was asked for and, beside it, as XLA compiled it."""
    eager, notes = _walked(plain, False, weights)
    schedules, estimates = {}, {}
    if compiled is not None:
        fused, more = _walked(compiled, True, weights)
        schedules["xla"] = fused.builder.build(POLICY)
        estimate = fused.builder.estimate()
        if estimate is not None:
            estimates["xla"] = estimate
        notes |= more | _compare(eager, fused)
    graph = _graph(eager.builder.build("eager"))
    named = TraceHeader(
        name=header.name, model=header.model, workload=header.workload, producer=header.producer,
        command=header.command, dtype=header.dtype or _dtype(graph), notes=(*header.notes, *sorted(notes)),
    )  # fmt: skip
    return check_trace(Trace(header=named, graph=graph, schedules=schedules, estimates=estimates))


def has_fusions(module: Module) -> bool:
    """Whether XLA's fusion pass has seen the module."""
    return any(row.opcode == "fusion" for part in module.computations.values() for row in part.instructions)


def _walked(module: Module, fuse: bool, weights: Sequence[str]) -> tuple[Walk, set[str]]:
    walk = Walk(module=module, fuse=fuse)
    entry = module.computations[module.entry]
    arguments = _arguments(walk, weights)
    result = walk.run(entry, arguments, entry.instructions[0].line)
    for at, value in enumerate(flat(result)):
        whole = walk.stored(value, entry.instructions[-1])
        if whole.key is not None:
            held = flat(arguments[module.donated[at]]) if module.donated.get(at, -1) in range(len(arguments)) else []
            if len(held) == 1 and held[0].key is not None:
                _take_over(walk, whole.key.storage, held[0].key.storage)
            if whole.owned:
                walk.builder.tensors.storages[whole.key.storage].output = True
    if not walk.builder.names:
        module.fail("computes nothing", entry.instructions[0].line, "a module with operators")
    notes = set(walk.notes)
    if walk.opaque:
        notes.add(f"operators without a cost formula: {', '.join(sorted(walk.opaque))}")
    return walk, notes


def _take_over(walk: Walk, made: int, given: int) -> None:
    """Let a result lie in the memory of the argument that was donated for it, where nobody needs the old contents."""
    builder = walk.builder
    sizes = [builder.tensors.storages[storage].size for storage in (made, given)]
    reads, writes = ([kernel for kernel, row in enumerate(part) if any(key.storage == storage for key, _ in row)]
                     for part, storage in ((builder.reads, given), (builder.writes, made)))  # fmt: skip
    if made == given or sizes[0] != sizes[1] or not writes or max(reads, default=-1) > min(writes):
        return
    for part in (builder.reads, builder.writes):
        for row in part:
            row[:] = [(replace(key, storage=given) if key.storage == made else key, size) for key, size in row]
    builder.tensors.storages[made].size = 0
    builder.tensors.storages[given].output = True


def _arguments(walk: Walk, weights: Sequence[str]) -> list[Item]:
    """The parameters of the entry by number; each array in a storage of its own."""
    module = walk.module
    rows = [row for row in module.computations[module.entry].instructions if row.opcode == "parameter"]
    found: dict[int, Item] = {}
    taken: set[str] = set()
    for row in rows:
        number = int(row.literal) if row.literal.isdigit() else len(found)
        name = argument_name(row.scope) or row.name.rstrip("0123456789.")
        free = number in module.donated.values()

        def argument(shape: object, path: str, free: bool = free) -> Item:
            if isinstance(shape, tuple):
                return tuple(argument(part, f"{path}.{at}") for at, part in enumerate(shape))
            if not isinstance(shape, Array):
                return None
            unique = path
            while unique in taken:
                unique += "'"
            taken.add(unique)
            value = walk.new(shape, role_of(unique, weights), unique)
            return Value(array=value.array, key=value.key, owned=free)

        found[number] = argument(row.shape, name)
    missing = next((number for number in range(len(rows)) if number not in found), None)
    if missing is not None:
        module.fail(f"parameter {missing} is not among {len(rows)} parameters", rows[0].line)
    return [found[number] for number in range(len(rows))]


def argument_name(scope: str) -> str:
    """`params['layer_0']['w'].value` → `params.layer_0.w.value`."""
    return re.sub(r"\.{2,}", ".", re.sub(r"[\[\]'\"]+", ".", scope)).strip(".")


def role_of(name: str, weights: Sequence[str]) -> Role:
    """What an argument is for, by its name."""
    if _CACHE.search(name):
        return Role.KV_CACHE
    first = re.split(r"[._]{2,}|\.", name)[0]
    if _OPTIMIZER.search(first):
        return Role.OPTIMIZER_STATE
    return Role.WEIGHT if first in weights else Role.INPUT


def _graph(schedule: KernelGraph) -> OperatorGraph:
    """One operator per kernel: the eager graph."""
    return OperatorGraph(
        tensors=schedule.tensors, operators=schedule.operators, reads=schedule.reads, writes=schedule.writes
    )


def _dtype(graph: OperatorGraph) -> str:
    """Element type of most bytes of weights."""
    from hiersim.model.operators import DType

    table = graph.tensors
    weights = table.storage_role[table.tensor_storage] == Role.WEIGHT
    sizes = np.bincount(table.tensor_dtype[weights], table.tensor_bytes[weights]) if weights.any() else np.zeros(0)
    return DType(int(sizes.argmax())).name.lower() if sizes.size else ""


def _compare(eager: Walk, fused: Walk) -> set[str]:
    """How the matrix work of both compares; XLA turns some products into sums."""
    before, after = (
        sum(row.cost.matrix_flops for row in walk.builder.operators.rows if not row.flags & Flag.RECOMPUTED)
        for walk in (eager, fused)
    )
    if before == after:
        return set()
    return {f"xla: {after} matrix FLOPs against {before} as asked for: products became sums, or were shared"}
