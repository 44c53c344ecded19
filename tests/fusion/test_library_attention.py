"""Does TorchInductor's replacement of written-out attention, and its split of long reductions, shape the kernels?"""

from __future__ import annotations

import pytest

from hiersim.config.load import load_design
from hiersim.frontends.published.flashattention import written_out
from hiersim.frontends.published.operations import attention
from hiersim.frontends.published.sketch import Sketch, turned
from hiersim.fusion.inductor.policy import inductor_rules
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import DType, Kind
from hiersim.run import simulate


def kernels(sketch: Sketch) -> KernelGraph:
    return inductor_rules(sketch.case(suite="s", name="n", params={}).trace())


def test_plain_attention_is_a_call_of_a_library_that_keeps_scores_and_weights() -> None:
    batch, heads, length, head = 2, 4, 256, 64
    sketch = written_out(DType.BF16, batch, heads, length, head, passes="fwd", mask=False)
    found = kernels(sketch)
    assert found.names == ("aten.scaled_dot_product_attention",)
    assert found.operators.kind.tolist() == [Kind.ATTENTION]
    assert found.operators.dims.tolist() == [batch * heads, 1, 1, length, length, head, 0]
    line = 2 * batch * heads * length * head
    assert sorted(found.reads.size.tolist()) == [line] * 3
    assert found.writes.size.tolist() == [line], "neither scores nor weights leave it"
    called = attention(DType.BF16, batch, heads, heads, length, length, head, causal=False)
    (operator,) = (row for row in called.case(suite="s", name="n", params={}).rows if "operator" in row)
    assert int(found.operators.matrix_flops[0]) == operator["flops"]["matrix"]


@pytest.mark.parametrize(("passes", "mask", "names"), [("fwd", True, 3), ("fwd+bwd", False, 10)])
def test_a_mask_and_a_backward_pass_leave_attention_written_out(passes: str, mask: bool, names: int) -> None:
    found = kernels(written_out(DType.BF16, 2, 4, 256, 64, passes=passes, mask=mask))
    assert Kind.ATTENTION not in found.operators.kind.tolist()
    assert len(found) == names


def masked(dtype: DType, laid_out: bool, scale: str = "div") -> Sketch:
    """Attention as BERT writes it out: the scores divided, and a mask that is made of an input added to them."""
    sketch = Sketch(dtype)
    line, square = (8, 128, 64), (8, 128, 128)
    q, k, v = (sketch.given(name, line) for name in "qkv")
    if laid_out:
        q, k, v = (sketch.run("aten.clone.default", (x,), line) for x in (q, k, v))
    mask = sketch.run("aten.mul.Tensor", (sketch.given("keep", (2, 1, 1, 128)),), (2, 1, 1, 128))
    scores = sketch.run("aten.bmm.default", (q, k), square, arguments=(q, turned(k)))
    scores = sketch.run(f"aten.{scale}.Tensor", (scores,), square)
    scores = sketch.run("aten.add.Tensor", (scores, mask), square)
    weights = sketch.run("aten._softmax.default", (scores,), square, arguments=(scores, -1, False))
    result = sketch.run("aten.bmm.default", (weights, v), line)
    if laid_out:
        sketch.run("aten.clone.default", (result,), line)
    return sketch


def of_release(sketch: Sketch, release: tuple[int, int] | None) -> KernelGraph:
    return inductor_rules(sketch.case(suite="s", name="n", params={}).trace(release=release))


@pytest.mark.parametrize(
    ("dtype", "release", "called"),
    [
        (DType.BF16, (2, 1), False),
        (DType.BF16, (2, 2), True),
        (DType.BF16, None, True),
        (DType.FP32, (2, 7), True),
        (DType.FP32, (2, 8), False),
        (DType.FP32, None, False),
    ],
)
def test_which_releases_call_a_library_for_masked_attention(
    dtype: DType, release: tuple[int, int] | None, called: bool
) -> None:
    found = of_release(masked(dtype, laid_out=False), release)
    assert (Kind.ATTENTION in found.operators.kind.tolist()) is called


def test_the_call_reads_a_mask_that_is_made_before_and_needs_no_copies() -> None:
    found = of_release(masked(DType.BF16, laid_out=True), None)
    assert found.names[-1] == "aten.scaled_dot_product_attention"
    assert len(found) == 2, "the mask, and the call"
    reads = found.reads.size[found.reads.ptr[1] : found.reads.ptr[2]]
    line, mask = 2 * 8 * 128 * 64, 2 * 2 * 128
    assert sorted(reads.tolist()) == [mask, line, line, line]


def test_a_mask_on_scores_that_are_multiplied_is_no_known_form() -> None:
    found = of_release(masked(DType.BF16, laid_out=False, scale="mul"), None)
    assert Kind.ATTENTION not in found.operators.kind.tolist()


@pytest.mark.parametrize(("rows", "columns", "count"), [(8, 65536, 2), (8, 4096, 1), (512, 65536, 1)])
def test_what_goes_over_a_split_reduction_again_is_a_kernel_of_its_own(rows: int, columns: int, count: int) -> None:
    """Few results of many elements: `num_splits` of torch/_inductor/ir.py."""
    sketch = Sketch(DType.FP32)
    x = sketch.given("x", (rows, columns))
    total = sketch.run("aten.sum.dim_IntList", (x,), (rows, 1), arguments=(x, (1,), True))
    sketch.run("aten.div.Tensor", (x, total), x.shape)
    assert len(kernels(sketch)) == count


def test_attention_of_a_library_begins_late() -> None:
    trace = attention(DType.BF16, 1, 8, 8, 1024, 1024, 64, causal=False).case(suite="s", name="n", params={}).trace()
    design = load_design("h100-sxm")
    plain = design.replace({"compute.window_set_up": 0})
    late = simulate(trace, design).makespan - simulate(trace, plain).makespan
    wait = design.compute.window_set_up
    assert wait // 2 < late < wait, "the first loads are under way meanwhile"
