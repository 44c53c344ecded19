"""Convolutions and attention on cores that run threads: what is laid out anew, and what takes turns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from build import design_from, trace_of
from hiersim.fusion.build import kernel_graph
from hiersim.fusion.eager import eager
from hiersim.fusion.partition import of_groups
from hiersim.lowering.machine import Machine
from hiersim.lowering.tiling import Loom
from hiersim.lowering.workload import prepare
from hiersim.model.constants import Constants
from hiersim.model.design import Design
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import DType
from hiersim.model.trace import Trace
from hiersim.run import replay, simulate

CORE = {"scope": "core", "management": "scratchpad"}


def gpu(special: str = "1000 TFLOP/s", set_up: str = "0 ns") -> Design:
    """Four cores of 1 GHz with threads, registers and a scratchpad; 1 TFLOP/s of products, a free far tier."""
    far = {"scope": "shared", "management": "scratchpad", "capacity": "64 GB", "bandwidth": "unlimited"}
    memory = {"registers": {**CORE, "capacity": "256 KiB"}, "smem": {**CORE, "capacity": "128 KiB"}, "dram": far}
    return design_from(
        memory=memory, compute__matrix={"tile": [8, 8, 8], "peak": {"bf16": "1 TFLOP/s"}}, compute__threads=1024,
        compute__window_set_up=set_up, compute__start_up="500 ns",
        compute__vector={"peak": {"fp32": "1000 TFLOP/s"}, "special": special},
    )  # fmt: skip


def convolution(
    images: int, channels: int, filters: int, window: int, side: int, folder: Path, groups: int = 1
) -> Trace:
    """One convolution of stride 1 in BF16 that keeps the side."""
    return trace_of(convolution_rows(images, channels, filters, window, side, groups), folder)


def convolution_rows(
    images: int, channels: int, filters: int, window: int, side: int, groups: int = 1, name: str = ""
) -> list[dict[str, object]]:
    own = channels // groups
    dims = {
        "groups": groups, "m": images * side**2, "n": filters // groups, "k": own * window**2, "window": window**2,
        "stride": 1,
    }  # fmt: skip
    x, w, y = "x" + name, "w" + name, "y" + name
    return [
        {"tensor": x, "shape": [images, channels, side, side], "dtype": "bf16", "role": "input"},
        {"tensor": w, "shape": [filters, own, window, window], "dtype": "bf16", "role": "weight"},
        {"tensor": y, "shape": [images, filters, side, side], "dtype": "bf16", "role": "activation", "output": True},
        {"operator": "aten.convolution.default", "kind": "conv", "dims": dims, "reads": [x, w], "writes": [y]},
    ]


def moved(trace: Trace, design: Design) -> int:
    """Bytes at the far tier."""
    return sum(simulate(trace, design).traffic["dram"].values())


def test_an_implicit_product_copies_its_tensors_before_and_after(tmp_path: Path) -> None:
    """Input, weight and result are read and written once more than by a compiled kernel, which needs no copies."""
    trace = convolution(8, 64, 128, 3, 16, tmp_path)
    design = gpu()
    compiled = replay(trace, compiled_graph(trace), design).traffic["dram"]
    tensors = 2 * (8 * 64 * 16**2 + 128 * 64 * 9 + 8 * 128 * 16**2)
    assert moved(trace, design) - sum(compiled.values()) == 2 * tensors


def compiled_graph(trace: Trace) -> KernelGraph:
    """The same kernels as a compiler launches them."""
    each = np.arange(len(trace.graph.operators))
    return kernel_graph(trace, replace(of_groups(trace.graph, each), eager=0 * each), "compiled")


def test_what_goes_around_a_product_takes_its_squares_and_its_launches(tmp_path: Path) -> None:
    """Each element of a square of 32 x 32, there or not, is an access; three launches and the set-up come on top."""
    images, channels, filters, side = 8, 48, 128, 20
    trace = convolution(images, channels, filters, 3, side, tmp_path)
    squares = images * 2 * 13 + filters * 2 + images * 4 * 13
    squares_ticks = squares * 1024 / (Constants().narrow_loads * 4) * 1000
    with_set_up, without = (simulate(trace, gpu(set_up=time)).makespan for time in ("7 us", "0 ns"))
    assert with_set_up - without == pytest.approx(7_000_000, abs=squares_ticks / 16)
    product = 2 * images * side**2 * filters * channels * 9
    least = product + squares_ticks + 3 * 500_000
    assert without == pytest.approx(least, rel=0.03)


@pytest.mark.parametrize(("images", "side", "plain"), [(8, 16, True), (8, 7, False), (1, 7, True), (8, 1, True)])
def test_a_plain_product_takes_rows_of_an_image_as_they_lie(
    images: int, side: int, plain: bool, tmp_path: Path
) -> None:
    """Nothing is set up and laid out; not so for odd rows of several images, unless there is one place."""
    trace = convolution(images, 64, 64, 1, side, tmp_path)
    with_set_up, without = (simulate(trace, gpu(set_up=time)).makespan for time in ("7 us", "0 ns"))
    assert (with_set_up == without) == plain


@pytest.mark.parametrize("window", [3, 7])
def test_a_filter_per_channel_pays_every_tap_and_an_address_for_each_result(window: int, tmp_path: Path) -> None:
    """A tap is two accesses, two conversions and a multiply-add; integers run at half the rate."""
    images, channels, side = 8, 64, 32
    trace = convolution(images, channels, channels, window, side, tmp_path, groups=channels)
    constants = Constants()
    tap = 2 * constants.access + 2 * constants.handling + 2
    least = images * channels * side**2 * (tap * window**2 + 2 * constants.address)  # ticks at 1 TFLOP/s
    ticks = simulate(trace, gpu().replace({"compute.vector.peak.fp32": "1 TFLOP/s"})).makespan
    assert least <= ticks <= 1.1 * least + 1_000_000


def slow_gpu(address: float) -> Design:
    """A vector unit of 1 TFLOP/s, half of it for integers, beside fast products."""
    return gpu().replace(
        {"compute.vector.peak.fp32": "1 TFLOP/s", "compute.matrix.peak.bf16": "1000 TFLOP/s",
         "constants.address": address}
    )  # fmt: skip


def test_groups_are_spread_over_whole_squares_with_an_address_for_each_element(tmp_path: Path) -> None:
    """Of input, weight and result, before and after the product."""
    images, groups, own, side = 4, 8, 24, 32
    trace = convolution(images, groups * own, groups * own, 3, side, tmp_path, groups=groups)
    less, more = (simulate(trace, slow_gpu(address)).makespan for address in (70, 170))
    squares = 2 * images * 6 * 32 + groups * own
    assert more - less == pytest.approx(squares * 1024 * 2 * 100, rel=0.05)  # ends overlap


def test_groups_whose_channels_are_last_are_spread_by_a_lookup_for_each_element(tmp_path: Path) -> None:
    """Input and weight as they are, and the result with the padding of each group; the product looks up lines too.

    A compiler puts channels last for the sake of a larger convolution beside it, which is a plain product.
    """
    images, groups, own, side = 4, 8, 24, 32
    rows = convolution_rows(images, groups * own, groups * own, 3, side, groups)
    trace = trace_of(rows + convolution_rows(images, 512, 512, 1, side, name="plain"), tmp_path)
    places = images * side**2
    copied = groups * own * (places + own * 9) + groups * 32 * places
    lines = places * 9 * groups // 2 + 64 * 9 * groups // 2 * (places // 64)
    ticks = replay(trace, compiled_graph(trace), slow_gpu(70)).makespan
    each = 2 * Constants().lookup
    assert copied * each <= ticks <= (copied + lines) * each + 5 * 500_000 + 5_000_000


def attention(heads: int, length: int, masked: bool, folder: Path) -> Trace:
    """One prompt in BF16, head dimension 64."""
    flops = 4 * heads * length**2 * 64
    rows = [
        {"tensor": name, "shape": [1, heads, length, 64], "dtype": "bf16", "role": "input"} for name in ("q", "k", "v")
    ]
    return trace_of(
        [
            *rows,
            {"tensor": "o", "shape": [1, heads, length, 64], "dtype": "bf16", "role": "activation", "output": True},
            {"operator": "aten._scaled_dot_product_flash_attention.default", "kind": "attention",
             "dims": {"batch": 1, "heads": heads, "kv_heads": heads, "queries": length, "keys": length, "head_dim": 64,
                      "causal": int(masked)},
             "reads": ["q", "k", "v"], "writes": ["o"],
             "flops": {"matrix": flops, "masked": flops // 2 if masked else 0, "special": heads * length**2}},
        ],
        folder,
    )  # fmt: skip


def test_softmax_and_products_of_attention_take_turns(tmp_path: Path) -> None:
    """Exponentials add to the time of the products, though the slower of both could hide the other."""
    heads, length = 16, 1024
    trace = attention(heads, length, False, tmp_path)
    free, bound = (simulate(trace, gpu(special)).makespan for special in ("1000 TFLOP/s", "10 GFLOP/s"))
    exponentials = heads * length**2 * 100  # ticks at 10 per ns
    assert free >= 4 * heads * length**2 * 64
    assert bound - free == pytest.approx(exponentials, rel=0.02)


def test_a_mask_ends_with_its_longest_block(tmp_path: Path) -> None:
    """All waves run at the mean of whole blocks of 128 keys, and the last one as long as a block with all keys."""
    heads, length = 16, 1024
    design = gpu()
    trace = attention(heads, length, True, tmp_path)
    loom = Loom(prepare(eager(trace)).classes, Machine(design).figures([DType.BF16], [DType.BF16]))
    loom.weave()
    waves = loom.shape(0)["waves"]
    full = simulate(attention(heads, length, False, tmp_path), design).makespan
    half = simulate(trace, design).makespan
    start, mean = 500_000, (128 + length) / 2
    expected = (full - start) * (mean * (waves - 1) + length) / (length * waves)
    assert half - start == pytest.approx(expected, rel=0.02)
