"""Reuse in many runs of as many kernels each that stand in one graph, none of which touches a storage of another's.

What a run finds in a cache, and what becomes of its dirty bytes, follows from its own kernels alone: from one touch of
a byte to the next no other run goes by, freed memory is reused within a run, and a run ends with its last kernel. So
one walk measures all of them, each as `residency` measures a graph that is one run.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from hiersim.lowering.classes import Ragged
from hiersim.lowering.pieces import cut, numbered
from hiersim.lowering.residency import ReuseProfile, check_graph
from hiersim.lowering.reuse import Walk
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import Accesses, IntArray, gather

NOBODY = -1
"""Instead of the run that touches a storage."""


def run_of_storages(graph: KernelGraph, kernels: int) -> IntArray | None:
    """(S,) the run, of so many `kernels` each, that touches each storage; None where one does not have exactly one.

    None also where views of a storage are objects of their own.
    """
    storages = len(graph.tensors.storage_bytes)
    first, last = np.full(storages, len(graph), np.int64), np.full(storages, NOBODY, np.int64)
    for access in (graph.reads, graph.writes):
        storage = graph.tensors.tensor_storage[access.tensor]
        run = np.repeat(np.arange(len(graph)) // kernels, np.diff(access.ptr))
        np.minimum.at(first, storage, run)
        np.maximum.at(last, storage, run)
    free = graph.tensors.storage_free
    inside = (free < 0) | (free // kernels == first)
    return first if bool((first == last).all() and inside.all()) and graph.derived(cut) is None else None


def profile_runs(graph: KernelGraph, kernels: int, run: IntArray) -> ReuseProfile:
    """Reuse of each run, of so many `kernels`, that begins with an empty cache; `run` as of `run_of_storages`.

    Raises
    ------
    FusionError
        For a graph that no frontend would let through.
    """
    check_graph(graph)
    return _walked(graph, kernels, run)


def profile_second_runs(graph: KernelGraph, kernels: int, run: IntArray) -> ReuseProfile:
    """Reuse of each run that begins with what the same run left before: all of them twice, the second time alone.

    Of chunks those of the first time, which the second time overwrites. See `residency.profile_second_run`.
    """
    check_graph(graph)
    rows = np.tile(np.arange(len(graph)).reshape(-1, kernels), (1, 2)).reshape(-1)
    free = graph.tensors.storage_free
    where = np.where(free < 0, -1, 2 * free - free % kernels)
    both = dataclasses.replace(
        graph, names=graph.names * 2, tensors=dataclasses.replace(graph.tensors, storage_free=where),
        reads=_taken(graph.reads, rows), writes=_taken(graph.writes, rows),
    )  # fmt: skip
    profile = _walked(both, kernels, run)
    again = np.repeat(np.arange(len(rows)) // kernels % 2, np.diff(both.reads.ptr))
    pieces = [Ragged(profile.read_ptr, of).rows(np.flatnonzero(again)) for of in _pieces(profile)]
    made = np.flatnonzero(profile.chunk_kernel // kernels % 2 == 0)
    dirty = Ragged(profile.chunk_ptr, profile.chunk_intervals).rows(made)
    writes, _ = gather(graph.writes.ptr, rows, np.arange(len(graph.writes.tensor)))
    kernel = profile.chunk_kernel[made]
    return dataclasses.replace(
        profile,
        read_ptr=pieces[0].ptr,
        piece_interval=pieces[0].values,
        piece_bytes=pieces[1].values,
        chunk_write=profile.chunk_write[made] - writes[kernel] + graph.writes.ptr[rows[kernel]],
        chunk_kernel=rows[kernel],
        chunk_bytes=profile.chunk_bytes[made],
        chunk_flush=profile.chunk_flush[made],
        chunk_ptr=dirty.ptr,
        chunk_intervals=dirty.values,
    )


def _walked(graph: KernelGraph, kernels: int, run: IntArray) -> ReuseProfile:
    size = numbered(graph.tensors.storage_bytes)
    kind = numbered(run * (len(size) + 1) + size)
    return ReuseProfile(**Walk(graph, kind).run(graph.tensors.storage_output == 1, runs=len(graph) // kernels))


def _pieces(profile: ReuseProfile) -> tuple[IntArray, IntArray]:
    return profile.piece_interval, profile.piece_bytes


def _taken(access: Accesses, rows: IntArray) -> Accesses:
    """The access lists of `rows`, in that order."""
    ptr, tensor = gather(access.ptr, rows, access.tensor)
    return Accesses(ptr=ptr, tensor=tensor, size=gather(access.ptr, rows, access.size)[1])
