"""Grouped: kernels as a trace carries them by name, and how a policy's kernels are written back into a trace."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache

import numpy as np

from hiersim.errors import FusionError
from hiersim.fusion.build import kernel_graph, partition_of
from hiersim.fusion.registry import BUILT_IN
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import HOST_ONLY
from hiersim.model.partition import Partition
from hiersim.model.trace import Trace


@cache
def grouped(name: str) -> Callable[[Trace], KernelGraph]:
    """What makes the kernels of the grouping `name` of a trace; the same function for the same name."""

    def make(trace: Trace) -> KernelGraph:
        return kernel_graph(trace, trace.groupings[name], f"{name} (grouped)")

    return make


def written_back(trace: Trace, kernels: KernelGraph, name: str, exact: bool = True) -> Trace:
    """`trace` with `kernels` under `name`: as a grouping of its operators, or else as a schedule.

    Parameters
    ----------
    trace : Trace
        Whose operators were grouped.
    kernels : KernelGraph
        What a policy made of it.
    name : str
        An identifier; `--fusion` of that name replays them. No policy may have it.
    exact : bool
        False: eager kernels become a grouping too, in which a tensor that an operator names twice is read once, and
        activations live until their last use.

    Returns
    -------
    Trace
        Kernels that hold other operators than the trace's own (captured ones, recognised attention) are kept as a
        schedule with its own reads and writes.

    Raises
    ------
    FusionError
        The name is taken, or cannot be one.
    """
    if not name.isidentifier() or name in BUILT_IN:
        taken = "is the name of a policy" if name in BUILT_IN else "is no name"
        raise FusionError(f"'{name}' {taken}", expected="letters, digits and '_', such as 'mine'")
    partition = kernels.derived(partition_of) or _singles(trace, kernels, exact)
    groupings = {key: made for key, made in trace.groupings.items() if key != name}
    schedules = {key: made for key, made in trace.schedules.items() if key != name}
    if partition is None:
        schedules[name] = kernels
    else:
        groupings[name] = partition
    estimates = {key: held for key, held in trace.estimates.items() if key != name}
    return dataclasses.replace(trace, schedules=schedules, groupings=groupings, estimates=estimates)


def _singles(trace: Trace, kernels: KernelGraph, exact: bool) -> Partition | None:
    """One kernel per operator, where that gives `kernels`, as of nearly all eager ones."""
    if kernels.policy != "eager":
        return None
    rows = np.flatnonzero(~np.isin(trace.graph.operators.kind, [int(kind) for kind in HOST_ONLY]))
    partition = Partition(
        ptr=np.arange(len(rows) + 1, dtype=np.int64), operators=rows, copy=np.zeros(len(rows), np.int64),
        generated=np.zeros(len(rows), np.int64), eager=np.ones(len(rows), np.int64),
    )  # fmt: skip
    again = kernel_graph(trace, partition, kernels.policy)
    pairs: list[tuple[object, object, str]] = [(again.tensors, kernels.tensors, "storage_free")]
    pairs += [(again, kernels, key) for key in ("host_views", "host_syncs")]
    pairs += [(again.reads, kernels.reads, key) for key in ("ptr", "tensor", "size")]
    pairs += [(again.writes, kernels.writes, key) for key in ("ptr", "tensor", "size")]
    alike = all(np.array_equal(getattr(one, key), getattr(other, key)) for one, other, key in pairs)
    return partition if alike or not exact else None
