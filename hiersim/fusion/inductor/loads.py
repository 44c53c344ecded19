"""What TorchInductor's code loads: every distinct region of memory that an expression reads, by number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hiersim.fusion.dependences import Dependences
from hiersim.fusion.inductor.rules import InductorRules, Part
from hiersim.fusion.patterns import classes, distinct
from hiersim.fusion.traits import Traits, largest, same_order, whole_results
from hiersim.model.networks import rows_of
from hiersim.model.operators import BoolArray, DType, IntArray, Kind, Role
from hiersim.model.trace import OperatorGraph


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Loads:
    """Reads of a graph as keys: equal where the same bytes of the same version are read in the same order."""

    key: list[int]
    """(A,) key of each read of the graph."""
    source: list[int]
    """(A,) the one operator whose result a read sees; -1 where there is none, or several."""
    size: list[int]
    """Bytes behind each key."""
    whole: list[int]
    """Per key: 1 where it is all that one operator wrote, in the order in which it was written."""
    made_ptr: list[int]
    made: list[int]
    """CSR (N + 1,): keys under which others read what each operator writes."""
    bias: dict[int, frozenset[int]]
    """Keys that whoever reads a convolution or a product loads too, where the library is called without the bias."""


def loads(
    graph: OperatorGraph,
    links: Dependences,
    facts: Traits,
    part: IntArray,
    main: BoolArray,
    saved: BoolArray,
    rules: InductorRules,
) -> Loads:
    """The loads of all operators of `graph`.

    Parameters
    ----------
    part : (N,)
        Values of `Part`.
    main : (W,)
        Writes that are results of their operators, and no sums beside one.
    saved : (N,)
        Operators whose result backward is handed: with the bias added, where they are convolutions or products.
    """
    whole = _whole(graph, links, facts, part, rules)
    key, first = _keys(graph, links, whole)
    writers = np.bincount(links.access, minlength=len(key))
    source = np.full(len(key), -1, np.int64)
    source[links.access] = np.where(main[links.write], links.source, -1)
    source[(writers != 1) | (links.initial == 1)] = -1
    made = distinct(links.source * max(len(first), 1) + key[links.access])
    made_by, made_key = made // max(len(first), 1), made % max(len(first), 1)
    keys = key.tolist()
    return Loads(
        key=keys,
        source=source.tolist(),
        size=graph.reads.size[first].tolist(),
        whole=whole[first].tolist(),
        made_ptr=np.searchsorted(made_by, np.arange(len(graph.operators) + 1)).tolist(),
        made=made_key.tolist(),
        bias=_biases(graph, _without_bias(graph, links, part, saved), keys),
    )


def _keys(graph: OperatorGraph, links: Dependences, whole: IntArray) -> tuple[IntArray, IntArray]:
    """(A,) key of each read, and for each key a read that has it."""
    reads, table = graph.reads, graph.tensors
    version = np.zeros(len(reads.tensor), np.int64)
    np.maximum.at(version, links.access, links.write + 1)
    tensor = reads.tensor
    key = classes(
        table.tensor_storage[tensor],
        version,
        table.tensor_offset[tensor],
        table.tensor_bytes[tensor],
        reads.size,
        whole,
    )
    first = np.zeros(int(key.max(initial=-1)) + 1, np.int64)
    first[key[::-1]] = np.arange(len(key))[::-1]
    return key, first


def _whole(
    graph: OperatorGraph, links: Dependences, facts: Traits, part: IntArray, rules: InductorRules
) -> IntArray:  # fmt: skip
    """(A,) 1 for reads of the whole result of one operator, in the order in which it was written.

    A window reads its operand at other places. Of a reduction over leading sides only where it is split: else its
    loops, and the writer's, may be reordered.
    """
    long = facts.points > rules.outer_reduction_length * facts.rows
    outer = facts.outer & long & (facts.rows < rules.outer_reduction_outputs)
    found = np.zeros(len(graph.reads.tensor), np.int64)
    across = _across_channels(graph, facts, part, rules)
    astray = outer | across | (part == Part.WINDOW)
    straight = (1 - astray[links.target]) & (1 - across[links.source])
    found[links.access] = whole_results(graph, links) & same_order(graph, links) & straight
    return found


def _across_channels(graph: OperatorGraph, facts: Traits, part: IntArray, rules: InductorRules) -> IntArray:
    """(N,) 1 for group norms, and for sums over height and width, of images in a model with convolutions.

    There, images lie channels last (`layout_optimization`), and neither a group of channels nor one channel is
    contiguous: their loops run through memory in another order than those of what stands before and after. One group
    of all channels is the whole image, which is contiguous in any layout; but the parts of one that is split are not.
    """
    sides = largest(graph.reads, np.diff(graph.tensors.shape_ptr))
    convolves = bool(np.any(graph.operators.kind == Kind.CONV))
    groups = np.array(["group_norm" in text for text in graph.operators.strings], np.bool_)[graph.operators.name]
    planes = (part == Part.REDUCTION) & (facts.outer == 0) & (facts.normalises == 0)
    split = (facts.rows < rules.split_reduction_outputs) & (facts.points > rules.split_reduction_length * facts.rows)
    astray = planes | ((facts.normalises == 1) & groups & (split | (facts.rows > _images(graph))))
    found: IntArray = (astray & (sides >= 4) & convolves).astype(np.int64)
    return found


def _images(graph: OperatorGraph) -> IntArray:
    """(N,) the leading side of each operator's first operand; 0 where it has none."""
    table, reads = graph.tensors, graph.reads
    leading = np.append(table.shape, 0)[np.minimum(table.shape_ptr[:-1], len(table.shape))]
    leading = np.where(np.diff(table.shape_ptr) > 0, leading, 0)
    found = np.zeros(len(graph.operators), np.int64)
    some = np.diff(reads.ptr) > 0
    found[some] = leading[reads.tensor[reads.ptr[:-1][some]]]
    return found


def _without_bias(graph: OperatorGraph, links: Dependences, part: IntArray, saved: BoolArray) -> BoolArray:
    """(N,) convolutions and products whose library is called without the bias, which their readers add.

    cuDNN always; of products those whose readers are all pointwise, in full precision: in half precision the sum would
    be rounded once more (unfuse_bias_add_to_pointwise, keep_addmm_fused_for_half_dtypes).
    """
    table, tensors = graph.operators, graph.tensors
    names = [text.partition(".")[2] for text in table.strings]
    moves = np.array([name.startswith(("cat", "stack")) for name in names], np.bool_)[table.name]
    other = ~np.isin(table.kind, [int(Kind.POINTWISE), int(Kind.COPY)]) | moves | (part == Part.EAGER)
    asked = np.zeros(len(table), np.bool_)
    asked[links.source[other[links.target]]] = True
    written = tensors.storage_output[tensors.tensor_storage[graph.writes.tensor]] == 1
    asked[rows_of(graph.writes)[written]] = True
    half = np.isin(table.dtype, [int(DType.BF16), int(DType.FP16)])
    product = (table.kind == Kind.GEMM) & ~half & ~asked
    found: BoolArray = ((table.kind == Kind.CONV) | product) & ~saved
    return found


def _biases(graph: OperatorGraph, without: BoolArray, keys: list[int]) -> dict[int, frozenset[int]]:
    """Operator → keys of the bias that its library is called without."""
    storage = graph.tensors.tensor_storage[graph.reads.tensor]
    sides = np.diff(graph.tensors.shape_ptr)[graph.reads.tensor]
    row = rows_of(graph.reads)
    chosen = without[row] & (sides == 1) & (graph.tensors.storage_role[storage] == Role.WEIGHT)
    found: dict[int, frozenset[int]] = {}
    for place in np.flatnonzero(chosen).tolist():
        found[int(row[place])] = found.get(int(row[place]), frozenset()) | {keys[place]}
    return found
