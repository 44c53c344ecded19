"""Costs of ATen operators by name and shapes, without torch.

The rules. Matrix FLOPs follow PyTorch's flop counter: 2 per multiply-add, attention over the full square.
Other work is counted in primitives: a pointwise primitive is 1 FLOP per output element, a sum or maximum 1 per
input element, `var_mean` 4 per input element, a conversion or copy 0; exp, log, tanh, erf, rsqrt, … are one
special operation each and no FLOP. An operator that eager mode runs as one kernel but TorchInductor
decomposes (GELU, layer norm, softmax, …) costs exactly what its decomposition costs, so that eager and
compiled runs of one model do the same arithmetic.

An operator that is not listed is `Kind.OPAQUE`: its traffic counts, its arithmetic does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Final

from hiersim.frontends.aten.call import Call, Cost, Operand, Rule, words
from hiersim.frontends.aten.contractions import groups_in_use
from hiersim.frontends.aten.rules import RULES
from hiersim.model.operators import DType, Kind

__all__ = ["Call", "Cost", "Operand", "arithmetic_dtype", "cost_of", "functional", "limited", "packet"]

OPAQUE: Final = Cost(kind=Kind.OPAQUE)


def packet(name: str) -> str:
    """The operator without namespace and overload: `aten.add_.Tensor` and `aten::add_` give `add_`."""
    name = name.replace("::", ".")
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[0] in ("aten", "prims", "prim") else parts[0]


def functional(name: str) -> str:
    """The packet of the variant that does not mutate: `add_` becomes `add`."""
    base = packet(name)
    return base[:-1] if base.endswith("_") and not base.endswith("__") else base


def cost_of(call: Call) -> Cost:
    """The cost of one call; `OPAQUE` where the operator is unknown or called in an unknown form."""
    name = functional(call.name)
    if name.startswith("_foreach_"):
        return _foreach(call, RULES.get(name.removeprefix("_foreach_")))
    rule = RULES.get(name)
    if rule is None:
        return OPAQUE
    try:
        return rule(call)
    except (IndexError, TypeError, ValueError, AttributeError):
        return OPAQUE


def _foreach(call: Call, rule: Rule | None) -> Cost:
    """A multi-tensor operator: the same pointwise work for every element of its first list."""
    tensors = call.args[0] if call.args else ()
    if rule is None or not isinstance(tensors, tuple):
        return OPAQUE
    total = Cost(kind=Kind.POINTWISE)
    for index, tensor in enumerate(tensors):
        args = tuple(arg[index] if isinstance(arg, tuple) and len(arg) == len(tensors) else arg for arg in call.args)
        one = rule(Call(name=call.name, args=args, kwargs=call.kwargs, outputs=(tensor,)))
        total = Cost(
            kind=one.kind,
            vector_flops=total.vector_flops + one.vector_flops,
            special_ops=total.special_ops + one.special_ops,
        )
    return total


def limited(cost: Cost, call: Call, points: int) -> tuple[Cost, bool]:
    """The cost of evaluating at most `points` elements of an operator (0: all), and whether that is all of it."""
    reduced = prod(cost.dims) if cost.kind is Kind.REDUCTION and "pool" not in call.name else 0
    elements = max(call.size, reduced)
    if points == 0 or elements <= points or cost.kind not in (Kind.POINTWISE, Kind.REDUCTION, Kind.COPY):
        return cost, True
    dims = (max(1, points // cost.dims[1]), cost.dims[1]) if cost.kind is Kind.REDUCTION else ()
    return (
        Cost(
            kind=cost.kind,
            dims=dims,
            vector_flops=cost.vector_flops * points // elements,
            special_ops=cost.special_ops * points // elements,
        ),
        False,
    )


def arithmetic_dtype(kind: Kind, operands: tuple[Operand, ...], outputs: tuple[Operand, ...]) -> DType:
    """The type that the arithmetic runs in.

    Matrix units take their operands as they are. Elsewhere PyTorch computes 16-bit floats in FP32, eagerly and
    in generated code.
    """
    tensors = operands or outputs
    if not tensors:
        return DType.FP32
    floats = [tensor.dtype for tensor in tensors if tensor.dtype in _FLOATS]
    first = floats[0] if floats else tensors[0].dtype
    if kind in (Kind.POINTWISE, Kind.REDUCTION) and first in (DType.FP16, DType.BF16, DType.FP8):
        return DType.FP32
    return first


_FLOATS: Final = (DType.FP64, DType.FP32, DType.TF32, DType.FP16, DType.BF16, DType.FP8, DType.FP4)

NOT_OPERATORS: Final = frozenset(
    words(
        "empty empty_like empty_strided new_empty new_empty_strided empty_permuted detach detach_ lift lift_fresh "
        "alias resize_ set_ device sym_size is_same_size _local_scalar_dense"
    )
)
"""Packets that allocate or annotate: nothing runs for them and the host pays next to nothing."""

VIEWS: Final = frozenset(
    words(
        "view _unsafe_view reshape _reshape_alias t transpose permute expand slice select unsqueeze squeeze split "
        "split_with_sizes chunk unbind as_strided view_as diagonal narrow unfold movedim expand_as numpy_T real imag "
        "view_as_real view_as_complex unsafe_split unsafe_split_with_sizes swapaxes flatten unflatten"
    )
)

SHAPE_ONLY: Final = frozenset(
    words("zeros_like ones_like full_like rand_like randn_like randint_like new_zeros new_ones new_full")
)
"""Packets that take a tensor for its shape and never read it."""

OVERWRITES: Final = frozenset(words("fill zero copy normal uniform random bernoulli exponential"))
"""Functional packets whose in-place form writes its first argument without reading it."""

TABLE_READS: Final[Mapping[str, int]] = {
    "embedding": 0, "index": 0, "_unsafe_index": 0, "index_select": 0, "gather": 0, "take": 0, "nll_loss_forward": 0,
    "nll_loss2d_forward": 0, "_grouped_mm": 1,
}  # fmt: skip
"""Packet -> position of the table of which only the gathered elements are read (weights of experts: those in use)."""

PARTIAL_WRITES: Final[Mapping[str, int]] = {
    "index_copy": 3, "index_put": 2, "_index_put_impl": 2, "_unsafe_index_put": 2, "scatter": 2, "scatter_add": 2,
    "index_add": 3, "index_fill": 2, "scatter_reduce": 2, "masked_scatter": 2,
}  # fmt: skip
"""Packet -> position (or, for scatters, of the index) that bounds what the in-place form writes."""

ACCUMULATES: Final = frozenset({"scatter_add", "index_add", "scatter_reduce"})
"""Of these the in-place form also reads what it writes."""


def gathered_elements(call: Call) -> int:
    """Elements read from the table of a gather: one per result, or one per target of a loss."""
    name = functional(call.name)
    if name.startswith("nll_loss"):
        elements: int = call.args[1].elements
        return elements
    if name == "_grouped_mm":
        weight = call.shape(1)
        return groups_in_use(call)[0] * prod(weight[1:]) if len(weight) == 3 else prod(weight)
    return call.size


def scattered_elements(call: Call) -> int:
    """Elements that an in-place scatter touches in its destination."""
    argument = call.args[PARTIAL_WRITES[functional(call.name)]]
    if not isinstance(argument, Operand):
        return call.size
    indices = call.args[1] if len(call.args) > 1 and isinstance(call.args[1], tuple) else ()
    broadcast = [index.elements for index in indices if isinstance(index, Operand)]
    return max([1, *broadcast]) if argument.elements == 1 else argument.elements


def accumulates(call: Call) -> bool:
    """True where an in-place scatter adds to what is there."""
    name = functional(call.name)
    return name in ACCUMULATES or ("index_put" in name and bool(call.arg(3, "accumulate", False)))
