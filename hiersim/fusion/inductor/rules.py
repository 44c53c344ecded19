"""The numbers behind TorchInductor's decisions, as of one release, and which operators they apply to.

Sources: torch 2.13.0 (July 2026), `torch/_inductor/config.py` for the values, `graph.py` (run_node), `ir.py`
(StorageBox), `lowering.py` (needs_realized_inputs, cat), `scheduler.py`, `choices.py` and `codegen/simd.py` for the
rules that use them. Only what a GPU compilation with default options does: no max-autotune templates, so that
products are calls of cuBLAS and cuDNN, into which nothing is fused.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np

from hiersim.fusion.regions import outside
from hiersim.model.operators import Flag, IntArray, Kind, Phase
from hiersim.model.trace import OperatorGraph


@dataclass(frozen=True, slots=True, kw_only=True)
class InductorRules:
    """Thresholds by their names in `torch._inductor.config`."""

    release: str = "2.13"
    """The torch release that the defaults are those of."""
    realize_reads_threshold: int = 4
    """A value with several users that reads more buffers than this is stored instead of computed again."""
    realize_opcount_threshold: int = 30
    """So is a value whose computation takes more operations than this."""
    realize_acc_reads_threshold: int = 8
    """A value that reads more buffers than this is stored, whoever uses it."""
    unroll_reductions_threshold: int = 8
    """Reductions of fewer elements than this are written out as pointwise code."""
    split_reduction_outputs: int = 264
    """A long reduction with fewer results than this is split over blocks, whose parts a second kernel adds up: twice
    the multiprocessors of a large GPU (ir.py, Reduction.num_splits)."""
    split_reduction_length: int = 8192
    """Elements from which on it is long."""
    outer_reduction_length: int = 32
    """A reduction over leading sides of more elements than this is split over blocks, …"""
    outer_reduction_outputs: int = 8448
    """… if it has fewer results than this, 64 times the multiprocessors (ir.py, Reduction.num_splits). One that is not
    split has its loops reordered to those of what it reads (loop_ordering_after_fusion)."""
    recompute: bool = True
    """Backward computes again what is cheaper to compute than to keep, as AOTAutograd's partitioner decides; without,
    it reads all that eager mode keeps."""
    ban_recompute_used_far_apart: bool = True
    """Not what uses a value behind a library call that an earlier user of the value comes before; and …"""
    ban_recompute_materialized_backward: bool = True
    """… not what a library call reads in backward (both as in torch._functorch.config)."""
    max_fusion_size: int = 64
    """Buffers in one kernel."""
    max_fusion_buffer_group_pairwise_attempts: int = 64
    """Later users of a buffer that each of its users is compared with."""
    max_distance: int = 64
    """Buffers between two that only read the same: farther apart, they are not fused (are_long_distant_nodes)."""
    score_fusion_memory_threshold: int = 10
    """Bytes that fusing two buffers which only read the same must save."""
    fusion_rounds: int = 10
    """Passes over all pairs (Scheduler.fuse_nodes)."""


class Part(IntEnum):
    """What TorchInductor makes of an operator."""

    NONE = 0
    """A view or a host sync: no code."""
    EXTERN = 1
    """A call of a library: products, convolutions, attention, sorting, communication, what it does not know."""
    POINTWISE = 2
    """Code per element, inlined into its users unless its result is stored."""
    WINDOW = 3
    """Code per element over a window of stored operands: pooling, upsampling."""
    REDUCTION = 4
    SCATTER = 5
    """Writes at computed places: stored, and its values are inlined."""
    EAGER = 6
    """Not compiled: the optimizer, the loss's own gradient, which autograd makes, and what runs between regions."""


LIBRARY: Final = (Part.EXTERN, Part.EAGER)
"""Parts that run as they are."""
_EXTERN: Final = (Kind.GEMM, Kind.CONV, Kind.ATTENTION, Kind.FLASH, Kind.SORT, Kind.COMM, Kind.OPAQUE)
_WINDOWS: Final = ("max_pool", "avg_pool2d", "avg_pool3d", "upsample_nearest2d", "_upsample_nearest_exact2d")
_TWICE: Final = (
    "silu", "gelu", "hardswish", "mish", "elu", "softplus", "leaky_relu", "log_sigmoid", "hardtanh", "celu", "selu",
)  # fmt: skip
"""Operators whose decomposition uses their operand more than once, so that one of them counts as several users."""


def parts(graph: OperatorGraph, rules: InductorRules) -> IntArray:
    """(N,) values of `Part`."""
    table = graph.operators
    kind = table.kind
    found = np.full(len(kind), Part.POINTWISE, np.int64)
    found[np.isin(kind, [int(item) for item in _EXTERN])] = Part.EXTERN
    reduces = kind == Kind.REDUCTION
    found[reduces] = Part.REDUCTION
    columns = table.dims[np.minimum(table.dims_ptr[:-1] + 1, max(len(table.dims) - 1, 0))] if len(table.dims) else kind
    found[reduces & (columns < rules.unroll_reductions_threshold)] = Part.POINTWISE
    found[kind == Kind.SCATTER] = Part.SCATTER
    names = [text.partition(".")[2] for text in table.strings]
    window = np.array([name.startswith(_WINDOWS) and "backward" not in name for name in names], np.bool_)
    found[window[table.name] & np.isin(kind, [int(Kind.REDUCTION), int(Kind.POINTWISE), int(Kind.GATHER)])] = (
        Part.WINDOW
    )
    found[(table.phase == Phase.OPTIMIZER) | outside(graph)] = Part.EAGER
    begin = np.flatnonzero((table.phase == Phase.BACKWARD) & ~np.isin(kind, [int(Kind.VIEW), int(Kind.SYNC)]))[:1]
    found[[row for row in begin.tolist() if names[int(table.name[row])].startswith("ones_like")]] = Part.EAGER
    found[np.isin(kind, [int(Kind.VIEW), int(Kind.SYNC)])] = Part.NONE
    return found


def uses(graph: OperatorGraph) -> IntArray:
    """(N,) how many users of its operands an operator counts as: 2 where its decomposition reads them twice."""
    names = [text.partition(".")[2].partition(".")[0].rstrip("_") for text in graph.operators.strings]
    twice = np.array([name.removesuffix("_backward") in _TWICE for name in names], np.int64)
    found: IntArray = 1 + twice[graph.operators.name]
    return found


def random(graph: OperatorGraph) -> IntArray:
    """(N,) 1 for operators that draw random numbers, which are drawn once."""
    return ((graph.operators.flags & Flag.RANDOM) > 0).astype(np.int64)
