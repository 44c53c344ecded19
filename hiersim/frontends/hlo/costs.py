"""What each HLO opcode computes; the counting rules are those of `hiersim.frontends.aten`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import prod
from typing import Final

from hiersim.frontends.aten import Cost
from hiersim.frontends.aten.call import words
from hiersim.frontends.hlo.shapes import Array, arrays
from hiersim.frontends.hlo.text import Computation, Instruction, Module
from hiersim.model.operators import Kind

ONE: Final = frozenset(words(
    "add subtract multiply divide negate abs sign maximum minimum compare select and or not xor floor ceil "
    "round-nearest-afz round-nearest-even remainder shift-left shift-right-arithmetic shift-right-logical is-finite "
    "popcnt count-leading-zeros reduce-precision complex real imag stochastic-convert"
))  # fmt: skip
SPECIAL: Final = frozenset(words(
    "exponential exponential-minus-one log log-plus-one tanh erf logistic rsqrt sqrt cbrt sine cosine tan power atan2 "
    "acos asin atan acosh asinh atanh cosh sinh"
))  # fmt: skip
COPIES: Final = frozenset(words(
    "copy convert transpose reverse pad concatenate slice dynamic-slice dynamic-update-slice iota broadcast "
    "bitcast-convert"
))  # fmt: skip
RANDOM: Final = frozenset(words("rng rng-bit-generator rng-get-and-update-state"))
COLLECTIVE: Final = frozenset(words(
    "all-reduce all-gather all-to-all reduce-scatter collective-permute collective-broadcast all-reduce-start "
    "all-gather-start collective-permute-start ragged-all-to-all send recv infeed outfeed"
))  # fmt: skip


def cost_of(module: Module, row: Instruction, operands: Sequence[Array]) -> Cost:
    """The cost of an instruction on arrays; an opcode without a rule is opaque: its traffic counts.

    Parameters
    ----------
    module : Module
        Where the computations lie that the instruction applies.
    row : Instruction
        No control flow, fusion or call: these are walked through.
    operands : sequence of Array
        Shapes of its operands, those of tuples one after the other.
    """
    out = arrays(row.shape)
    size = out[0].elements if out else 0
    code = row.opcode
    if code in ONE or code == "clamp":
        return Cost(kind=Kind.POINTWISE, vector_flops=size * (2 if code == "clamp" else 1))
    if code in SPECIAL:
        return Cost(kind=Kind.POINTWISE, special_ops=size)
    if code in COPIES or code in RANDOM:
        return Cost(kind=Kind.COPY)
    if code in COLLECTIVE:
        return Cost(kind=Kind.COMM)
    if code == "dot":
        return _dot(module, row, operands)
    if code == "convolution":
        return _convolution(module, row, operands)
    if code in ("reduce", "reduce-window", "select-and-scatter", "map"):
        return _applied(module, row, operands, size)
    if code == "gather":
        return Cost(kind=Kind.GATHER)
    if code == "scatter":
        updates = operands[-1].elements if operands else 0
        return Cost(kind=Kind.SCATTER, vector_flops=updates * _work(module, row))
    if code == "sort":
        return Cost(kind=Kind.SORT)
    return _library(module, row, operands) if code == "custom-call" else Cost(kind=Kind.OPAQUE)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"-?\d+", text))


def product(module: Module, row: Instruction, left: Array, right: Array, attribute: dict[str, tuple[int, ...]]) -> Cost:
    """A product of two arrays over named dimensions: batch, contracting, and what is free on each side."""
    try:
        batch = prod(left.sizes[at] for at in attribute["lhs_batch"])
        inner = prod(left.sizes[at] for at in attribute["lhs_contracting"])
        other = prod(right.sizes[at] for at in attribute["rhs_contracting"])
    except IndexError:
        module.fail(f"'{row.name}' contracts a dimension that its operand lacks", row.line)
    if inner != other:
        module.fail(f"'{row.name}' contracts {inner} elements with {other}", row.line)
    rows, columns = (side.elements // max(1, batch * inner) for side in (left, right))
    sizes = (max(1, batch), max(1, rows), max(1, columns), max(1, inner))
    return Cost(kind=Kind.GEMM, dims=sizes, matrix_flops=2 * batch * rows * columns * inner)


def _dot(module: Module, row: Instruction, operands: Sequence[Array]) -> Cost:
    if len(operands) < 2:
        module.fail(f"'{row.name}' has {len(operands)} operands", row.line, "2")
    names = {"lhs_batch": "lhs_batch_dims", "lhs_contracting": "lhs_contracting_dims",
             "rhs_contracting": "rhs_contracting_dims"}  # fmt: skip
    attribute = {key: _numbers(row.attributes.get(name, "")) for key, name in names.items()}
    return product(module, row, operands[0], operands[1], attribute)


def _library(module: Module, row: Instruction, operands: Sequence[Array]) -> Cost:
    """Calls of vendor libraries that say what they compute: cuBLAS and oneDNN products, top-k."""
    target = row.attributes.get("custom_call_target", "").strip('"')
    config = row.attributes.get("backend_config", "").replace('\\"', '"')
    if "gemm" in target or "matmul" in target:
        found = {
            key: re.search(rf'"{name}":\[([^\]]*)\]', config)
            for key, name in {
                "lhs_batch": "lhs_batch_dimensions", "lhs_contracting": "lhs_contracting_dimensions",
                "rhs_contracting": "rhs_contracting_dimensions",
            }.items()
        }  # fmt: skip
        if found["lhs_contracting"] and found["rhs_contracting"] and len(operands) >= 2:
            attribute = {key: _numbers(match[1]) if match else () for key, match in found.items()}
            return product(module, row, operands[0], operands[1], attribute)
    if "TopK" in target:
        return Cost(kind=Kind.SORT)
    if "conv" in target and "window" in row.attributes and len(operands) >= 2:
        return _convolution(module, row, operands)
    return Cost(kind=Kind.OPAQUE)


def _convolution(module: Module, row: Instruction, operands: Sequence[Array]) -> Cost:
    """Implicit product of one group; taps on the zeros of a dilated input are not counted, as in its backward pass."""
    labels = re.match(r"(\w+)_(\w+)->(\w+)", row.attributes.get("dim_labels", ""))
    out = arrays(row.shape)
    if not labels or not out or len(operands) < 2 or len(labels[2]) != len(operands[1].sizes):
        module.fail(f"'{row.name}' has no dim_labels that suit its operands", row.line, "b01f_01io->b01f")
    window = _window(row)
    kernel, result = operands[1].sizes, out[0]
    groups = _whole(row, "feature_group_count") * _whole(row, "batch_group_count")
    inputs = kernel[labels[2].index("i")]
    outputs = kernel[labels[2].index("o")]
    taps = prod(size for size, label in zip(kernel, labels[2], strict=True) if label.isdigit())
    pixels = result.elements // max(1, outputs)
    single = max(1, prod(window.get("lhs_dilate", ())) * _lone_taps(window, labels[1], operands[0]))
    inner, seen = max(1, inputs * taps // single), max(1, taps // single)
    dims = (groups, max(1, pixels), max(1, outputs // groups), inner, seen, prod(window.get("stride", ())))
    return Cost(kind=Kind.CONV, dims=dims, matrix_flops=2 * result.elements * inner)


def _lone_taps(window: dict[str, tuple[int, ...]], labels: str, source: Array) -> int:
    """Taps of which at most one meets data: an input of one pixel under full padding is a product in disguise."""
    lone = 1
    for at, size in enumerate(window.get("size", ())):
        low, high = (window.get(key, ()) for key in ("low", "high"))
        place = labels.find(str(at))
        if place >= 0 and len(low) > at and source.sizes[place] == 1 and min(low[at], high[at]) >= size - 1:
            lone *= size
    return lone


def _whole(row: Instruction, name: str) -> int:
    return max(1, *_numbers(row.attributes.get(name, "1")))


def _window(row: Instruction) -> dict[str, tuple[int, ...]]:
    """`size=3x3 pad=1_1x0_1` → sizes by name; padding as `low` and `high`."""
    found: dict[str, tuple[int, ...]] = {}
    for key, value in re.findall(r"(\w+)=([\d_x\-]+)", row.attributes.get("window", "")):
        if key == "pad":
            sides = [_numbers(part.replace("_", " ")) for part in value.split("x")]
            found["low"], found["high"] = (tuple(side[at] for side in sides if len(side) == 2) for at in (0, 1))
        else:
            found[key] = tuple(int(part) for part in value.split("x") if part.isdigit())
    return found


def _applied(module: Module, row: Instruction, operands: Sequence[Array], size: int) -> Cost:
    """A small computation applied to every element, or to every tap of a window."""
    work = _work(module, row)
    if row.opcode == "map":
        return Cost(kind=Kind.POINTWISE, vector_flops=size * work)
    inputs = operands[0].elements if operands else 0
    if row.opcode == "reduce":
        columns = max(1, inputs // max(1, size))
        return Cost(kind=Kind.REDUCTION, dims=(max(1, size), columns), vector_flops=work * inputs)
    taps = prod(_window(row).get("size", ()))
    if row.opcode == "select-and-scatter":
        sources = operands[1].elements if len(operands) > 1 else 0
        return Cost(kind=Kind.SCATTER, vector_flops=(taps + 1) * sources)
    return Cost(kind=Kind.REDUCTION, dims=(max(1, size), max(1, taps)), vector_flops=work * taps * size)


def _work(module: Module, row: Instruction) -> int:
    """Operations of the computation that an instruction applies to each element."""
    name = row.attributes.get("to_apply")
    return operations(module.called(name, row.line)) if name else 1


def operations(computation: Computation) -> int:
    """Arithmetic instructions of a scalar computation."""
    return max(1, sum(row.opcode in ONE or row.opcode in SPECIAL for row in computation.instructions))
