"""Captures from PyTorch: operators, costs, lifetimes, and the kernels that TorchInductor makes."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.utils.flop_counter import conv_flop_count  # noqa: E402

from hiersim.errors import HiersimError, TraceError  # noqa: E402
from hiersim.frontends.archive import load_archive, save_trace  # noqa: E402
from hiersim.frontends.aten import cost_of, gathered_elements  # noqa: E402
from hiersim.frontends.pytorch.capture import capture_torch  # noqa: E402
from hiersim.frontends.pytorch.capture_process import CaptureProcess  # noqa: E402
from hiersim.frontends.pytorch.eager import as_call, backward  # noqa: E402
from hiersim.frontends.pytorch.meta_values import SELECTS_ALL  # noqa: E402
from hiersim.frontends.pytorch.target import GpuAttention, load_target, loss_of  # noqa: E402
from hiersim.model.kernels import Launch  # noqa: E402
from hiersim.model.operators import Flag, Kind, Phase, Role  # noqa: E402
from hiersim.model.trace import Trace  # noqa: E402
from hiersim.zoo import BUILDERS  # noqa: E402

pytestmark = pytest.mark.torch
TINY = [
    "tiny-mlp", "tiny-gpt2", "tiny-gpt2-train", "tiny-gpt2-train-checkpointed", "tiny-llama", "tiny-llama-decode",
    "tiny-resnet", "tiny-mixtral", "tiny-mixtral-decode", "tiny-dit", "tiny-bev", "tiny-unet",
]  # fmt: skip
OTHER_WORK = {"tiny-mixtral": 0.06, "tiny-mixtral-decode": 0.06, "tiny-bev": 0.12}
"""Share of other work than products by which schedules of these may differ from eager; of their large forms 0.02."""
aten = torch.ops.aten


def on_one_worker(names: list[str]) -> list[Any]:
    """Parameters that stay with the worker that compiled them."""
    return [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in names]


@pytest.fixture(scope="module")
def eager() -> Callable[[str], Trace]:
    found: dict[str, Trace] = {}

    def get(name: str) -> Trace:
        if name not in found:
            found[name] = capture_torch(name)
        return found[name]

    return get


@pytest.fixture(scope="module")
def compiled(process: CaptureProcess) -> Callable[[str], Trace]:
    found: dict[str, Trace] = {}

    def get(name: str) -> Trace:
        if name not in found:
            found[name] = capture_torch(name, "inductor", process=process)
        return found[name]

    return get


def labels(trace: Trace, kind: Kind | None = None) -> list[str]:
    operators = trace.graph.operators
    return [operators.label(row) for row in range(len(operators)) if kind is None or operators.kind[row] == kind]


def touched(part: Any, column: Any, row: int) -> list[tuple[str, int]]:
    """Storage names and bytes that a row reads or writes."""
    tensors = part.tensors
    span = slice(int(column.ptr[row]), int(column.ptr[row + 1]))
    storages = tensors.tensor_storage[column.tensor[span]]
    return [(tensors.storage_names[index], int(size)) for index, size in zip(storages, column.size[span], strict=True)]


def grouped_flops(a: Any, b: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    """Torch counts no FLOPs of a grouped product: 2 per row of one group, column and inner element."""
    groups = a[0] if len(a) == 3 and len(b) == 3 else 1
    return 2 * groups * int(a[-2]) * int(a[-1]) * int(b[-1])


def convolution_backward_flops(
    grad: Any, x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool,
    output_padding: Any, groups: int, mask: Any, out_shape: Any = None, **kwargs: Any,
) -> int:  # fmt: skip
    """Each gradient multiplies what the forward pass does; torch counts that of the weights as if not in groups."""
    return (int(mask[0]) + int(mask[1])) * conv_flop_count(x, weight, grad, transposed=transposed)


CORRECTED = {aten._grouped_mm: grouped_flops, aten.convolution_backward: convolution_backward_flops}
"""What torch's counter leaves out or counts wrongly (torch 2.13)."""


# --- eager ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TINY)
def test_matrix_flops_equal_torch_flop_counter(name: str, eager: Callable[[str], Trace]) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    target = load_target(name, False)
    counter = FlopCounterMode(display=False, custom_mapping=CORRECTED)
    with GpuAttention(), counter, torch.set_grad_enabled(target.train), torch.device("meta"):
        out = target.model(**target.kwargs)
        if target.train:
            backward(loss_of(out))
    assert int(eager(name).graph.operators.matrix_flops.sum()) == counter.get_total_flops()


def test_the_unet_is_that_of_its_model_card() -> None:
    """Parameters of the published weights; FLOPs of its step by torch's counter, from its shapes alone."""
    from torch.utils.flop_counter import FlopCounterMode

    target = load_target("sd15-unet-infer", False)
    assert sum(parameter.numel() for parameter in target.model.parameters()) == 859_520_964
    with FlopCounterMode(display=False) as counter, torch.device("meta"), torch.no_grad():
        out = target.model(**target.kwargs)
    assert out.shape == (2, 4, 64, 64)
    assert counter.get_total_flops() == 1_606_546_882_560


@pytest.mark.parametrize("name", TINY)
def test_views_and_syncs_touch_nothing_and_allocations_are_no_operators(
    name: str, eager: Callable[[str], Trace]
) -> None:
    graph = eager(name).graph
    free = np.isin(graph.operators.kind, [Kind.VIEW, Kind.SYNC])
    for column in (graph.reads, graph.writes):
        assert not np.any(np.diff(column.ptr)[free])
    for column in ("matrix_flops", "vector_flops", "special_ops"):
        assert not np.any(getattr(graph.operators, column)[free])
    assert not {name.split(".")[1] for name in labels(eager(name))} & {"empty", "empty_like", "detach", "lift_fresh"}
    assert not any("profiler" in label for label in labels(eager(name)))


@pytest.mark.parametrize("name", TINY)
def test_everything_has_a_cost(name: str, eager: Callable[[str], Trace]) -> None:
    assert labels(eager(name), Kind.OPAQUE) == []


def test_kernel_counts_of_the_smallest_model(eager: Callable[[str], Trace]) -> None:
    trace = eager("tiny-mlp")
    kernels = [name for name in labels(trace) if name not in labels(trace, Kind.VIEW)]
    assert kernels == ["aten.addmm.default", "aten.gelu.default", "aten.addmm.default", "aten.add.Tensor"]


def test_modules_and_phases(eager: Callable[[str], Trace]) -> None:
    operators = eager("tiny-gpt2-train").graph.operators
    modules = {operators.strings[int(index)] for index in operators.module}
    assert {"h.0.attn", "h.1.mlp.c_fc", "ln_f", "lm_head"} <= modules
    assert np.all(np.diff(operators.phase) >= 0)
    assert set(operators.phase.tolist()) == {Phase.FORWARD, Phase.BACKWARD, Phase.OPTIMIZER}
    named = operators.module[operators.phase == Phase.BACKWARD] != operators.strings.index("")
    assert named.mean() > 0.9


def test_a_checkpoint_runs_its_block_again_in_the_backward_pass(eager: Callable[[str], Trace]) -> None:
    plain, again = eager("tiny-gpt2-train"), eager("tiny-gpt2-train-checkpointed")
    operators = again.graph.operators
    marked = (operators.flags & Flag.RECOMPUTED) > 0
    assert set(operators.phase[marked].tolist()) == {Phase.BACKWARD}
    assert not np.any(plain.graph.operators.flags & Flag.RECOMPUTED)
    assert len(operators) - int(marked.sum()) == len(plain.graph.operators)
    modules = [operators.strings[at] for at in operators.module[marked].tolist()]
    assert modules[0] == "h.1.ln_1"
    assert {"h.0.attn.c_attn", "h.0.mlp", "h.1.mlp.c_fc"} <= set(modules)
    forward = labels(plain)[labels(plain).index("aten.native_layer_norm.default") :]
    second = [operators.label(row) for row in np.flatnonzero(marked).tolist()]
    assert second[: len(second) // 2] == forward[: len(second) // 2]


def test_roles_names_and_results(eager: Callable[[str], Trace]) -> None:
    tensors = eager("tiny-llama-decode").graph.tensors
    by_name = {name: index for index, name in enumerate(tensors.storage_names) if name}
    expected = {
        "layers.0.self_attn.q_proj.weight": Role.WEIGHT,
        "rotary.inverse_frequency": Role.CONSTANT,
        "input_ids": Role.INPUT,
        "kv_cache.0.0": Role.KV_CACHE,
        "kv_cache.1.1": Role.KV_CACHE,
    }
    for name, role in expected.items():
        assert tensors.storage_role[by_name[name]] == role
        assert tensors.storage_free[by_name[name]] == -1
        assert tensors.storage_output[by_name[name]] == (role is Role.KV_CACHE)
    results = [index for index in np.flatnonzero(tensors.storage_output) if not tensors.storage_names[index]]
    assert [int(tensors.storage_bytes[index]) for index in results] == [2 * 512 * 2]


def test_roles_of_a_training_step(eager: Callable[[str], Trace]) -> None:
    tensors = eager("tiny-gpt2-train").graph.tensors
    roles = dict(zip(tensors.storage_names, tensors.storage_role.tolist(), strict=True))
    outputs = dict(zip(tensors.storage_names, tensors.storage_output.tolist(), strict=True))
    assert roles["grad.wte.weight"] == Role.GRADIENT
    assert roles["exp_avg_sq.h.1.mlp.c_fc.bias"] == Role.OPTIMIZER_STATE
    assert outputs["wte.weight"] == outputs["exp_avg.wte.weight"] == 1
    assert outputs["grad.wte.weight"] == 0


def test_a_cache_is_written_in_place_at_one_position(eager: Callable[[str], Trace]) -> None:
    graph = eager("tiny-llama-decode").graph
    rows = [row for row in range(len(graph.operators)) if "index_copy_" in graph.operators.label(row)]
    assert len(rows) == 4
    for row in rows:
        assert graph.operators.flags[row] & Flag.MUTATES
        ((cache, size),) = touched(graph, graph.writes, row)
        assert cache.startswith("kv_cache")
        assert size == 2 * 2 * 32 * 2  # batch, heads, head_dim, bytes: one position
        assert not any(name == cache for name, _ in touched(graph, graph.reads, row))


def test_gathers_read_only_what_they_gather(eager: Callable[[str], Trace]) -> None:
    graph = eager("tiny-gpt2").graph
    row = next(row for row in range(len(graph.operators)) if "embedding" in graph.operators.label(row))
    reads = dict(touched(graph, graph.reads, row))
    assert reads["wte.weight"] == 2 * 32 * 64 * 2


def test_storages_die_after_their_last_use(eager: Callable[[str], Trace]) -> None:
    graph = eager("tiny-mlp").graph
    names = labels(eager("tiny-mlp"))
    table, activations = graph.tensors, []
    for index in np.flatnonzero(table.storage_role == Role.ACTIVATION):
        free = int(table.storage_free[index])
        activations.append((int(table.storage_bytes[index]), names[free] if free >= 0 else "end"))
    # up (held by its caller while GELU runs), GELU, down, and the sum that is returned
    assert activations == [
        (32 * 256 * 2, "aten.gelu.default"),
        (32 * 256 * 2, "aten.addmm.default"),
        (32 * 64 * 2, "aten.add.Tensor"),
        (32 * 64 * 2, "end"),
    ]


class Synced(torch.nn.Module):
    """Asks the device for a value, expands a tensor and calls an operator nobody knows."""

    def forward(self, x: Any) -> Any:
        y = x[:1].expand(8, -1) + 1
        return y.cumsum(0).logcumsumexp(0) if bool((x > 0).any()) else y


def build_synced() -> tuple[Any, ...]:
    return Synced(), (torch.zeros(4, 16),)


def build_wrong() -> Any:
    return 7


class Queried(torch.nn.Module):
    """Hands a parameter to a module, as detectors do with their queries."""

    def __init__(self) -> None:
        super().__init__()
        self.queries = torch.nn.Parameter(torch.zeros(8, 16))
        self.layer = torch.nn.Linear(16, 16)

    def forward(self, x: Any) -> Any:
        return self.layer(self.queries) + x


def build_queried() -> tuple[Any, ...]:
    return Queried(), (torch.zeros(8, 16),)


@pytest.mark.parametrize("train", [False, True])
def test_a_parameter_may_be_what_a_module_is_given(train: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "capture_models", sys.modules[__name__])
    operators = capture_torch("capture_models:build_queried", "eager", train).graph.operators
    assert int(operators.matrix_flops.sum()) == 2 * 8 * 16 * 16 * (3 if train else 1)
    assert "layer" in {operators.strings[int(index)] for index in operators.module}


def test_syncs_expansions_and_unknown_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "capture_models", sys.modules[__name__])
    trace = capture_torch("capture_models:build_synced")
    graph = trace.graph
    assert labels(trace, Kind.SYNC) == ["aten._local_scalar_dense.default"]
    assert labels(trace, Kind.OPAQUE) == ["aten.logcumsumexp.default"]
    assert any("logcumsumexp" in note for note in trace.header.notes)
    row = next(row for row in range(len(graph.operators)) if graph.operators.label(row) == "aten.add.Tensor")
    assert touched(graph, graph.reads, row) == [("x", 16 * 4)]


@pytest.mark.parametrize(
    "target", ["gpt2-larg-prefill", "no.such.module:build", "hiersim.zoo.llama:nothing", "capture_models:build_wrong"]
)
def test_wrong_targets_are_one_line(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "capture_models", sys.modules[__name__])
    with pytest.raises(TraceError) as caught:
        capture_torch(target)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_unknown_mode() -> None:
    with pytest.raises(HiersimError, match="capture mode"):
        capture_torch("tiny-mlp", "xla")


@pytest.mark.parametrize("name", ["tiny-gpt2-train", "tiny-gpt2-train-checkpointed", "tiny-llama-decode"])
def test_capturing_twice_gives_the_same_bytes(name: str, tmp_path: Path) -> None:
    for run in ("a", "b"):
        save_trace(capture_torch(name), tmp_path / f"{run}.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize("name", [builder.name for builder in BUILDERS.values() if builder.bundled])
def test_bundled_traces_are_what_a_capture_gives(name: str) -> None:
    """The files in the repository are not older than the code."""
    stored = load_archive(Path(__file__).parents[2] / "traces" / f"{name}.npz").graph
    fresh = capture_torch(name).graph
    for part in ("tensors", "operators", "reads", "writes"):
        for field in fields(getattr(fresh, part)):
            old, new = getattr(getattr(stored, part), field.name), getattr(getattr(fresh, part), field.name)
            assert old == new if isinstance(new, tuple) else np.array_equal(old, new), f"{part}.{field.name}"


# --- experts and values --------------------------------------------------------------------------


GROUPED = [
    # left, right, groups in use, dims; 8 groups
    ((64, 128), (8, 128, 256), 8, (8, 8, 256, 128)),  # more rows than groups: all work
    ((3, 128), (8, 128, 256), 3, (3, 1, 256, 128)),  # fewer: each row has a group of its own
    ((20, 128), (8, 128, 256), 8, (8, 3, 256, 128)),  # uneven: rounded up in the loops, not in the FLOPs
    ((128, 64), (64, 256), 8, (8, 128, 256, 8)),  # gradient of the weights: the inner dimension is shared out
    ((8, 32, 128), (128, 64), 8, (8, 32, 8, 128)),  # columns are shared out
    ((8, 32, 128), (8, 128, 64), 8, (8, 32, 64, 128)),  # a plain batch
]


@pytest.mark.parametrize(("left", "right", "used", "dims"), GROUPED)
def test_grouped_products_share_their_rows_evenly(left: Any, right: Any, used: int, dims: Any) -> None:
    ends = None if len(left) == len(right) == 3 else meta(8, dtype=torch.int32)
    args = (meta(*left), meta(*right), ends)
    call = as_call(aten._grouped_mm.default, args, {}, [meta(left[-2], right[-1])])
    cost = cost_of(call)
    assert cost.dims == dims
    assert cost.matrix_flops == grouped_flops(left, right)
    assert 0 <= 2 * np.prod(dims, dtype=np.int64) - cost.matrix_flops < 2 * used * np.prod(dims[1:], dtype=np.int64)
    weights = np.prod(right) if len(right) == 2 else used * right[1] * right[2]
    assert gathered_elements(call) == weights


@pytest.mark.parametrize("form", ["eager", pytest.param("inductor", marks=pytest.mark.slow)])
@pytest.mark.xdist_group("tiny-mixtral-decode")
def test_a_token_reads_the_experts_it_is_sent_to(form: str, eager: Any, compiled: Any) -> None:
    """Two of four experts; a prefill reads all four."""
    one = 256 * 128 * 2  # bytes of one matrix of one expert
    part = eager("tiny-mixtral-decode").graph
    if form == "inductor":
        part = compiled("tiny-mixtral-decode").schedules["inductor"]
    for name, matrices in (("gate_up_proj", 2), ("down_proj", 1)):
        read = [
            size for row in range(len(part.reads.ptr) - 1) for label, size in touched(part, part.reads, row)
            if label.endswith(f"experts.{name}")
        ]  # fmt: skip
        assert read == [2 * matrices * one] * 2
        whole = eager("tiny-mixtral").graph
        read = [
            size for row in range(len(whole.operators)) for label, size in touched(whole, whole.reads, row)
            if label.endswith(f"experts.{name}")
        ]  # fmt: skip
        assert read == [4 * matrices * one] * 2


class Masked(torch.nn.Module):
    """Selects by a mask, adds where a mask says, and asks for a number."""

    def forward(self, x: Any) -> Any:
        rows = x[x[:, 0] > 0]
        x = x.clone()
        x[x > 1] = 0
        return rows + x if bool((x > 0).all()) and torch.equal(x, x) else x


def build_masked() -> tuple[Any, ...]:
    return Masked(), (torch.zeros(6, 16),)


class Routed(torch.nn.Module):
    """Loops over the experts that got a token: which, is data."""

    def forward(self, x: Any) -> Any:
        hit = torch.nn.functional.one_hot(x.argmax(-1), 16).sum(0)
        return x * len(torch.nonzero(hit))


def build_routed() -> tuple[Any, ...]:
    return Routed(), (torch.zeros(6, 16),)


class Broken(torch.nn.Module):
    """Does not fit its own input."""

    def forward(self, x: Any) -> Any:
        return x @ x


def build_broken() -> tuple[Any, ...]:
    return Broken(), (torch.zeros(6, 16),)


def test_masks_select_everything_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "capture_models", sys.modules[__name__])
    trace = capture_torch("capture_models:build_masked")
    assert SELECTS_ALL in trace.header.notes
    row = next(
        row for row in range(len(trace.graph.operators)) if trace.graph.operators.label(row) == "aten.add.Tensor"
    )
    assert touched(trace.graph, trace.graph.writes, row) == [("", 6 * 16 * 4)]


@pytest.mark.parametrize(
    ("target", "words"),
    [("build_routed", "needs real data"), ("build_broken", "does not run on meta tensors: Runtime")],
)
def test_what_cannot_run_is_one_line(target: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "capture_models", sys.modules[__name__])
    with pytest.raises(TraceError, match=words) as caught:
        capture_torch(f"capture_models:{target}")
    assert "\n" not in str(caught.value)


# --- composite operators cost what TorchInductor decomposes them into -------------------------------


def meta(*shape: int, dtype: Any = torch.bfloat16) -> Any:
    return torch.empty(shape, dtype=dtype, device="meta")


F32, I64 = torch.float32, torch.int64
COMPOSITES: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "gelu": (aten.gelu.default, (meta(4, 64),)),
    "silu": (aten.silu.default, (meta(4, 64),)),
    "silu_backward": (aten.silu_backward.default, (meta(4, 64), meta(4, 64))),
    "gelu_backward": (aten.gelu_backward.default, (meta(4, 64), meta(4, 64))),
    "tanh_backward": (aten.tanh_backward.default, (meta(4, 64), meta(4, 64))),
    "sigmoid_backward": (aten.sigmoid_backward.default, (meta(4, 64), meta(4, 64))),
    "threshold_backward": (aten.threshold_backward.default, (meta(4, 64), meta(4, 64), 0)),
    "softplus_backward": (aten.softplus_backward.default, (meta(4, 64), meta(4, 64), 1, 20)),
    "log_sigmoid_backward": (aten.log_sigmoid_backward.default, (meta(4, 64), meta(4, 64), meta(0))),
    "mish_backward": (aten.mish_backward.default, (meta(4, 64), meta(4, 64))),
    "hardtanh_backward": (aten.hardtanh_backward.default, (meta(4, 64), meta(4, 64), 0, 6)),
    "prelu": (aten._prelu_kernel.default, (meta(4, 64), meta(1))),
    "celu": (aten.celu.default, (meta(4, 64),)),
    "grid_sampler_2d": (aten.grid_sampler_2d.default, (meta(2, 4, 8, 8), meta(2, 16, 16, 2), 0, 0, False)),
    "polar": (aten.polar.default, (meta(4, 64, dtype=F32), meta(4, 64, dtype=F32))),
    "upsample_bicubic2d": (aten.upsample_bicubic2d.default, (meta(2, 4, 8, 8), [16, 16], False, None, None)),
    "upsample_bilinear2d": (aten.upsample_bilinear2d.default, (meta(2, 4, 8, 8), [16, 16], False, None, None)),
    "logsumexp": (aten.logsumexp.default, (meta(4, 64), [-1])),
    "weight_norm": (aten._weight_norm_interface.default, (meta(8, 64), meta(8, 1))),
    "hardswish": (aten.hardswish.default, (meta(4, 64),)),
    "elu": (aten.elu.default, (meta(4, 64),)),
    "leaky_relu": (aten.leaky_relu.default, (meta(4, 64),)),
    "softplus": (aten.softplus.default, (meta(4, 64),)),
    "hardswish_backward": (aten.hardswish_backward.default, (meta(4, 64), meta(4, 64))),
    "hardsigmoid": (aten.hardsigmoid.default, (meta(4, 64),)),
    "hardtanh": (aten.hardtanh.default, (meta(4, 64),)),
    "mish": (aten.mish.default, (meta(4, 64),)),
    "elu_backward": (aten.elu_backward.default, (meta(4, 64), 1.0, 1.0, 1.0, False, meta(4, 64))),
    "leaky_relu_backward": (aten.leaky_relu_backward.default, (meta(4, 64), meta(4, 64), 0.01, False)),
    "rms_norm": (aten._fused_rms_norm.default, (meta(4, 64), [64], meta(64), 1e-5)),
    "batch_norm_training": (
        aten.native_batch_norm.default,
        (meta(2, 8, 4, 4), meta(8), meta(8), meta(8), meta(8), True, 0.1, 1e-5),
    ),
    "batch_norm_backward": (
        aten.native_batch_norm_backward.default,
        (
            *(meta(2, 8, 4, 4), meta(2, 8, 4, 4), meta(8), meta(8), meta(8)),
            *(meta(8, dtype=F32), meta(8, dtype=F32), True, 1e-5, [True, True, True]),
        ),
    ),
    "clamp": (aten.clamp.default, (meta(4, 64), 0, 1)),
    "softmax": (aten._softmax.default, (meta(4, 64), -1, False)),
    "log_softmax": (aten._log_softmax.default, (meta(4, 64, dtype=F32), -1, False)),
    "softmax_backward": (aten._softmax_backward_data.default, (meta(4, 64), meta(4, 64), -1, torch.bfloat16)),
    "log_softmax_backward": (
        aten._log_softmax_backward_data.default,
        (meta(4, 64, dtype=F32), meta(4, 64, dtype=F32), -1, F32),
    ),
    "layer_norm": (aten.native_layer_norm.default, (meta(4, 8, 64), [64], meta(64), meta(64), 1e-5)),
    "layer_norm_plain": (aten.native_layer_norm.default, (meta(4, 8, 64), [64], None, None, 1e-5)),
    "layer_norm_backward": (
        aten.native_layer_norm_backward.default,
        (
            *(meta(4, 8, 64), meta(4, 8, 64), [64], meta(4, 8, 1, dtype=F32), meta(4, 8, 1, dtype=F32)),
            *(meta(64), meta(64), [True, True, True]),
        ),
    ),
    "group_norm": (aten.native_group_norm.default, (meta(2, 8, 4, 4), meta(8), meta(8), 2, 8, 16, 4, 1e-5)),
    "batch_norm": (
        aten._native_batch_norm_legit_no_training.default,
        (meta(2, 8, 4, 4), meta(8), meta(8), meta(8), meta(8), 0.1, 1e-5),
    ),
    "nll_loss": (aten.nll_loss_forward.default, (meta(8, 64, dtype=F32), meta(8, dtype=I64), None, 1, -100)),
    "nll_loss_backward": (
        aten.nll_loss_backward.default,
        (meta(dtype=F32), meta(8, 64, dtype=F32), meta(8, dtype=I64), None, 1, -100, meta(dtype=F32)),
    ),
    "mse_loss": (aten.mse_loss.default, (meta(4, 64), meta(4, 64))),
    "mse_loss_backward": (aten.mse_loss_backward.default, (meta(), meta(4, 64), meta(4, 64), 1)),
    "embedding_backward": (
        aten.embedding_dense_backward.default,
        (meta(4, 8, 64), meta(4, 8, dtype=I64), 100, -1, False),
    ),
}


def _primitive_cost(function: Any, args: tuple[Any, ...]) -> tuple[int, int]:
    """Vector FLOPs and special operations of the decomposition."""
    from torch._inductor.decomposition import select_decomp_table
    from torch.fx.experimental.proxy_tensor import make_fx

    tensors = [arg for arg in args if isinstance(arg, torch.Tensor)]

    def run(*values: Any) -> Any:
        left = iter(values)
        return function(*[next(left) if isinstance(arg, torch.Tensor) else arg for arg in args])

    graph = make_fx(run, decomposition_table=select_decomp_table())(*tensors).graph
    vector = special = 0
    for node in graph.nodes:
        if node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload):
            inputs, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), lambda item: item.meta["val"])
            outputs = [leaf for leaf in torch.utils._pytree.tree_leaves(node.meta["val"])]
            cost = cost_of(as_call(node.target, inputs, kwargs, outputs))
            vector, special = vector + cost.vector_flops, special + cost.special_ops
    return vector, special


@pytest.mark.parametrize("name", sorted(COMPOSITES))
def test_composites_cost_their_decomposition(name: str) -> None:
    function, args = COMPOSITES[name]
    outputs = [leaf for leaf in torch.utils._pytree.tree_leaves(function(*args)) if isinstance(leaf, torch.Tensor)]
    cost = cost_of(as_call(function, args, {}, outputs))
    assert (cost.vector_flops, cost.special_ops) == _primitive_cost(function, args)


# --- inductor ------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", on_one_worker(TINY))
def test_inductor_does_the_same_arithmetic(name: str, compiled: Callable[[str], Trace]) -> None:
    trace = compiled(name)
    eager, schedule = trace.graph.operators, trace.schedules["inductor"]
    first, once = schedule.recomputed == 0, (eager.flags & Flag.RECOMPUTED) == 0
    for column in ("matrix_flops", "masked_flops"):
        assert getattr(schedule.operators, column)[first].sum() == getattr(eager, column)[once].sum()
    if "train" not in name:
        for column in ("vector_flops", "special_ops"):
            before, after = getattr(eager, column).sum(), getattr(schedule.operators, column)[first].sum()
            assert abs(after - before) <= OTHER_WORK.get(name, 0.02) * before
    else:  # both together: shared expressions are recomputed or saved, never more work than eager does
        assert schedule.operators.vector_flops[first].sum() == pytest.approx(eager.vector_flops[once].sum(), rel=0.06)


@pytest.mark.slow
@pytest.mark.parametrize("name", on_one_worker(["tiny-mlp", "tiny-gpt2", "tiny-llama", "tiny-llama-decode"]))
def test_inductor_fuses(name: str, compiled: Callable[[str], Trace]) -> None:
    trace = compiled(name)
    schedule = trace.schedules["inductor"]
    eager_kernels = len(labels(trace)) - len(labels(trace, Kind.VIEW))
    if name == "tiny-mlp":  # matrix products are library calls, which a GELU or an addition cannot join
        assert len(schedule) == eager_kernels == 4
    else:
        assert len(schedule) < eager_kernels
        assert schedule.reads.size.sum() < trace.graph.reads.size.sum()
        assert schedule.writes.size.sum() < trace.graph.writes.size.sum()
    assert np.all(schedule.launch == Launch.COMPILED)
    heavy = np.isin(schedule.operators.kind, [Kind.GEMM, Kind.ATTENTION])
    for kernel, label in enumerate(schedule.names):
        rows = slice(schedule.operator_ptr[kernel], schedule.operator_ptr[kernel + 1])
        assert label.startswith("triton_") != bool(heavy[rows].any())


@pytest.mark.slow
@pytest.mark.xdist_group("tiny-llama-decode")
def test_inductor_names_and_places_what_eager_does(compiled: Callable[[str], Trace]) -> None:
    trace = compiled("tiny-llama-decode")
    schedule = trace.schedules["inductor"]
    for table in (trace.graph.tensors, schedule.tensors):
        named = {name: int(role) for name, role in zip(table.storage_names, table.storage_role, strict=True) if name}
        assert named["lm_head.weight"] == Role.WEIGHT
        assert sum(role == Role.KV_CACHE for role in named.values()) == 4
    assert schedule.policy == "inductor (captured)"
    strings = schedule.operators.strings
    assert {"layers.0.self_attn.q_proj", "lm_head"} <= {strings[int(index)] for index in schedule.operators.module}
    writers = [
        kernel for kernel in range(len(schedule))
        if any(name.startswith("kv_cache") for name, _ in touched(schedule, schedule.writes, kernel))
    ]  # fmt: skip
    assert len(writers) == 4


@pytest.mark.slow
@pytest.mark.xdist_group("tiny-gpt2-train")
def test_a_compiled_training_step_is_whole(compiled: Callable[[str], Trace]) -> None:
    schedule = compiled("tiny-gpt2-train").schedules["inductor"]
    phases = schedule.operators.phase[schedule.operator_ptr[:-1]]
    assert set(phases.tolist()) == {Phase.FORWARD, Phase.BACKWARD, Phase.OPTIMIZER}
    names = set(schedule.tensors.storage_names)
    assert {"wte.weight", "grad.wte.weight", "exp_avg.wte.weight"} <= names
    eager = [label for label, launch in zip(schedule.names, schedule.launch, strict=True) if launch == Launch.EAGER]
    assert eager[0] == "aten.ones_like.default"
    assert all("_foreach_" in label for label in eager[1:])
    assert schedule.recomputed.any()


@pytest.mark.slow
@pytest.mark.xdist_group("tiny-gpt2")
def test_inductor_captures_are_reproducible(tmp_path: Path, compiled: Callable[[str], Trace]) -> None:
    """In a process of its own, and in one that made captures before."""
    save_trace(compiled("tiny-gpt2"), tmp_path / "a.npz")
    save_trace(capture_torch("tiny-gpt2", "inductor"), tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert set(load_archive(tmp_path / "a.npz").schedules) == {"inductor"}


@pytest.mark.slow
def test_errors_cross_the_process_border(process: CaptureProcess) -> None:
    for _ in range(2):
        with pytest.raises(TraceError, match="not a bundled model"):
            capture_torch("no-such-model", "inductor", process=process)


@pytest.mark.slow
def test_a_capture_that_fails_in_an_unknown_way_is_one_line(process: CaptureProcess, tmp_path: Path) -> None:
    status, text = process.run(["tiny-mlp", str(tmp_path), "0", "no JSON"], tmp_path)
    assert status == 1
    assert text.splitlines()[-1].startswith("json.decoder.JSONDecodeError")


def test_other_torch_releases_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.metadata

    from hiersim.frontends.pytorch.inductor import check_version

    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.9.1")
    with pytest.raises(TraceError, match=r"torch 2\.9\.1"):
        check_version()


def test_a_function_of_ones_own_that_raises_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text, problem in (
        ("own_broken", "def build():\n    raise KeyError('no\\nlayers')\n", "cannot be built: KeyError"),
        ("own_unfinished", "1 / 0\n", "cannot be imported: division by zero"),
    ):
        (tmp_path / f"{name}.py").write_text(text)
        with pytest.raises(TraceError, match=problem) as caught:
            capture_torch(f"{name}:build")
        assert "\n" not in str(caught.value)


PLAIN_ARGUMENT = """
import torch
class Own(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(16, 16)
    def forward(self, x, use_cache=True):
        return self.inner(x)
def build():
    return Own(), (torch.zeros(4, 16),), {"use_cache": False}
"""


@pytest.mark.slow
def test_a_compiled_training_step_may_be_given_plain_arguments(
    process: CaptureProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_plain_argument.py").write_text(PLAIN_ARGUMENT)
    monkeypatch.chdir(tmp_path)
    trace = capture_torch("own_plain_argument:build", "inductor", True, process=process)
    products = 2 * 4 * 16 * 16 * 2  # forward, and the gradient of the weight: that of the input is nobody's
    assert trace.graph.operators.matrix_flops.sum() == products
    assert trace.schedules["inductor"].operators.matrix_flops.sum() == products


CONSTANT = """
import torch
class Own(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(16, 16)
    def forward(self, x):
        self.inner(x + 1)  # nobody's
        return self.inner(x) * torch.tensor([1.0, 2.0], device=x.device).repeat(8)
def build():
    return Own().eval(), (torch.zeros(4, 16),)
"""


@pytest.mark.slow
def test_a_compiled_model_may_make_constants_and_leave_out_what_nobody_needs(
    process: CaptureProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_constant.py").write_text(CONSTANT)
    monkeypatch.chdir(tmp_path)
    trace = capture_torch("own_constant:build", "inductor", process=process)
    product = 2 * 4 * 16 * 16
    assert trace.graph.operators.matrix_flops.sum() == 2 * product
    assert trace.schedules["inductor"].operators.matrix_flops.sum() == product
    assert (
        f"inductor: {product} matrix FLOPs of eager mode are left out: needed by no result, or shared"
        in trace.header.notes
    )


# --- command line --------------------------------------------------------------------------------


def test_the_command_writes_a_trace(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from hiersim.cli.capture import capture

    output = tmp_path / "mlp.npz"
    done = CliRunner().invoke(capture, ["torch", "tiny-mlp", "-o", str(output)])
    assert done.exit_code == 0, done.output
    assert load_archive(output).name == "tiny-mlp"
    assert "operators" in done.stderr
    assert done.stdout == ""


OWN = """
import torch
def build():
    return torch.nn.MultiheadAttention(64, 4, batch_first=True), (torch.zeros(2, 16, 64),) * 3, {"need_weights": False}
"""


def test_the_attention_module_of_torch_runs_what_a_gpu_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_attention.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    trace = capture_torch("own_attention:build")
    names = [trace.graph.operators.label(row) for row in range(len(trace.graph.operators))]
    assert sum("_scaled_dot_product_efficient_attention" in name for name in names) == 1
    assert not any("softmax" in name or "bmm" in name for name in names)
    with pytest.raises(TraceError, match=r"cannot be imported.*expected own_attention:build"):
        capture_torch("own_attention.py:build")


def test_a_model_left_in_training_mode_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from hiersim.cli.main import run

    own = (
        "import torch\ndef build():\n"
        "    return torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Dropout(0.1)){}, (torch.zeros(8, 8),)\n"
    )
    monkeypatch.chdir(tmp_path)
    for module, mode, told in (("own_dropout", "", True), ("own_settled", ".eval()", False)):
        (tmp_path / f"{module}.py").write_text(own.format(mode))
        monkeypatch.setattr("sys.argv", ["hiersim", "capture", "torch", f"{module}:build", "-o", "own.npz"])
        try:
            run()
        except SystemExit as stop:
            assert not stop.code
        assert ("dropout runs" in capsys.readouterr().err) is told
