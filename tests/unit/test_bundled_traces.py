"""The traces that ship with hiersim: sound, complete and of the expected size. No torch."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from hiersim.frontends.archive import load_archive
from hiersim.model.kernels import Launch
from hiersim.model.operators import Flag, Kind, Phase, Role
from hiersim.model.trace import Trace
from hiersim.zoo import BUILDERS

FOLDER = Path(__file__).parents[2] / "traces"
NAMES = [builder.name for builder in BUILDERS.values() if builder.bundled]

# Kernels eager and compiled; research with the common model libraries gave 297/243 (BERT), 294/246 (ViT), 174/122
# (ResNet-50), 1302/418 and 1300/450 (Llama with a growing cache instead of none or a static one).
KERNELS = {
    "bert-large-prefill": (297, 243),
    "gpt2-large-prefill": (618, 290),
    "llama3-8b-prefill": (1233, 418),
    "llama3-8b-decode": (1297, 450),
    "llama3-8b-decode-b32": (1297, 450),
    "llama3-70b-prefill": (3057, 1042),
    "llama3-70b-decode": (3217, 1122),
    "mixtral-8x7b-decode": (1873, 610),
    "dit-xl-infer": (584, 269),
    "bev-vision-infer": (543, 411),
    "resnet50-infer": (174, 122),
    "vit-large-infer": (293, 246),
}
# GFLOP of matrix work, by the same convention as the research; GPT-2 by the usual 2 x parameters x tokens.
GFLOP = {
    "bert-large-prefill": 2680,
    "llama3-8b-prefill": 30787,
    "llama3-8b-decode": 129 / 8,
    "llama3-70b-prefill": 291_372,  # 2 x 2048 x 68.45e9 weights of layers + 4 x 2048^2 x 8192 x 80 + the last logits
    "llama3-70b-decode": 144.4,
    # 2 x 12.75e9 weights that a token meets (12.88 billion less the embedding) and 4 x 2048 x 4096 x 32 of attention
    "mixtral-8x7b-decode": 26.57,
    "dit-xl-infer": 2 * 118.64 * 16,  # multiply-adds per latent by the paper's table 4
    "resnet50-infer": 262,
    "vit-large-infer": 1970,
}
WEIGHT_GB = {
    "bert-large-prefill": 0.670,
    "gpt2-large-prefill": 1.548,
    "llama3-8b-prefill": 16.06,
    "llama3-8b-decode": 16.06,
    "llama3-70b-prefill": 141.107,  # 70,553,706,496 parameters (model card: 70.6 B)
    "llama3-70b-decode": 141.107,
    "mixtral-8x7b-decode": 93.4056,  # 46,702,792,704 parameters (model card: 46.7 B)
    "dit-xl-infer": 1.350,  # paper: 675 M parameters
    "bev-vision-infer": 0.05698,
    "resnet50-infer": 0.0511,
    "vit-large-infer": 0.6087,
    "gpt2-train": 0.2489,
    "gpt2-train-checkpointed": 0.2489,
}


@cache
def bundled(name: str) -> Trace:
    return load_archive(FOLDER / f"{name}.npz")


def eager_kernels(trace: Trace) -> int:
    return int(np.isin(trace.graph.operators.kind, [Kind.VIEW, Kind.SYNC], invert=True).sum())


def once(trace: Trace) -> np.ndarray:
    """Eager operators that are not a checkpoint's second run."""
    return np.asarray((trace.graph.operators.flags & Flag.RECOMPUTED) == 0)


def moved(part: object) -> int:
    return int(part.reads.size.sum() + part.writes.size.sum())  # type: ignore[attr-defined]


def test_there_are_fourteen_and_they_are_small() -> None:
    files = sorted(path.stem for path in FOLDER.glob("*.npz"))
    assert set(NAMES) <= set(files)
    assert len(NAMES) == 14
    assert sum(path.stat().st_size for path in FOLDER.glob("*.npz")) < 10 * 10**6


@pytest.mark.parametrize("name", NAMES)
def test_each_says_where_it_comes_from(name: str) -> None:
    header = bundled(name).header
    builder = BUILDERS[name]
    assert (header.name, header.model, header.workload) == (name, builder.model, builder.workload)
    assert header.command == f"hiersim capture torch {name} --mode inductor -o traces/{name}.npz"
    assert header.dtype == "bf16"
    assert "torch 2.13" in header.producer
    assert not any("/tmp" in note or "/home" in note for note in header.notes)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_left_without_a_cost(name: str) -> None:
    trace = bundled(name)
    for operators in (trace.graph.operators, trace.schedules["inductor"].operators):
        assert not np.any(operators.kind == Kind.OPAQUE)


@pytest.mark.parametrize("name", NAMES)
def test_fusion_keeps_the_matrix_work_and_moves_less(name: str) -> None:
    trace = bundled(name)
    schedule = trace.schedules["inductor"]
    assert schedule.policy == "inductor (captured)"
    first = schedule.recomputed == 0
    for column in ("matrix_flops", "masked_flops"):
        wanted = getattr(trace.graph.operators, column)[once(trace)].sum()
        assert getattr(schedule.operators, column)[first].sum() == wanted
    # Training: reductions over the batch become two kernels each, where eager mode hides both behind one operator.
    if not BUILDERS[name].train:
        assert len(schedule) < eager_kernels(trace)
    assert moved(schedule) < moved(trace.graph)


@pytest.mark.parametrize("name", NAMES)
def test_eager_and_compiled_agree_on_vector_work(name: str) -> None:
    trace = bundled(name)
    operators = trace.schedules["inductor"].operators
    first = trace.schedules["inductor"].recomputed == 0
    eager = int(trace.graph.operators.vector_flops[once(trace)].sum())
    # In training the compiler shares expressions between forward and backward and selects over
    # the vocabulary where eager scatters the gradient of the loss.
    allowed = 0.06 if BUILDERS[name].train else 0.02
    assert abs(int(operators.vector_flops[first].sum()) - eager) <= allowed * eager


@pytest.mark.parametrize("name", sorted(KERNELS))
def test_kernel_counts(name: str) -> None:
    eager, fused = KERNELS[name]
    trace = bundled(name)
    assert eager_kernels(trace) == pytest.approx(eager, rel=0.02)
    if fused:
        assert len(trace.schedules["inductor"]) == pytest.approx(fused, rel=0.1)


@pytest.mark.parametrize("name", sorted(GFLOP))
def test_matrix_work(name: str) -> None:
    assert bundled(name).graph.operators.matrix_flops.sum() / 1e9 == pytest.approx(GFLOP[name], rel=0.005)


@pytest.mark.parametrize("name", sorted(WEIGHT_GB))
def test_weights(name: str) -> None:
    trace = bundled(name)
    for tensors in (trace.graph.tensors, trace.schedules["inductor"].tensors):
        weights = tensors.storage_role == Role.WEIGHT
        assert tensors.storage_bytes[weights].sum() / 1e9 == pytest.approx(WEIGHT_GB[name], rel=1e-3)
        assert all(name for name, is_weight in zip(tensors.storage_names, weights, strict=True) if is_weight)


@pytest.mark.parametrize(
    ("name", "batch", "layers"),
    [
        ("llama3-8b-decode", 1, 32),
        ("llama3-8b-decode-b32", 32, 32),
        ("llama3-70b-decode", 1, 80),
        ("mixtral-8x7b-decode", 1, 32),
    ],
)
def test_decode_reads_its_cache_and_writes_one_position(name: str, batch: int, layers: int) -> None:
    trace = bundled(name)
    for part in (trace.graph, trace.schedules["inductor"]):
        tensors = part.tensors
        cache_of = tensors.storage_role == Role.KV_CACHE
        assert tensors.storage_bytes[cache_of].sum() == batch * 2048 * layers * 2 * 8 * 128 * 2
        assert np.all(tensors.storage_output[cache_of] == 1)
        written = cache_of[tensors.tensor_storage[part.writes.tensor]]
        assert part.writes.size[written].sum() == batch * layers * 2 * 8 * 128 * 2
        read = cache_of[tensors.tensor_storage[part.reads.tensor]]
        assert part.reads.size[read].sum() == tensors.storage_bytes[cache_of].sum()


def test_a_token_of_mixtral_reads_two_of_eight_experts() -> None:
    trace = bundled("mixtral-8x7b-decode")
    one = 3 * 4096 * 14_336 * 2  # bytes of an expert
    for part in (trace.graph, trace.schedules["inductor"]):
        tensors = part.tensors
        experts = np.array(["experts" in name for name in tensors.storage_names])
        assert tensors.storage_bytes[experts].sum() == 32 * 8 * one
        assert part.reads.size[experts[tensors.tensor_storage[part.reads.tensor]]].sum() == 32 * 2 * one


def test_the_camera_network_has_the_parts_that_it_names() -> None:
    graph = bundled("bev-vision-infer").graph
    tensors = graph.tensors
    sizes = {name: int(size) // 2 for name, size in zip(tensors.storage_names, tensors.storage_bytes, strict=True)}
    weights = {
        name for name, role in zip(tensors.storage_names, tensors.storage_role, strict=True) if role == Role.WEIGHT
    }
    backbone = sum(sizes[name] for name in weights if name.startswith("backbone."))
    assert backbone == 19_436_338 - 1_513_000  # RegNetY-3.2GF without its classifier
    strings, modules = graph.operators.strings, graph.operators.module
    work = {part: 0 for part in ("backbone", "neck", "lift", "temporal", "heads", "lateral")}
    for row, flops in enumerate(graph.operators.matrix_flops.tolist()):
        if flops:
            work[strings[int(modules[row])].partition(".")[0]] += flops
    assert all(work.values())
    images = 8 * (480 * 640) / (224 * 224)
    assert work["backbone"] == pytest.approx(images * 2 * 3.2e9, rel=0.02)
    assert (graph.operators.kind == Kind.ATTENTION).sum() == 3


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_that_is_used_is_read_whole_at_most_a_few_times(name: str) -> None:
    """Off-chip traffic is at least compulsory: each matrix weight is read once in each form."""
    trace = bundled(name)
    for part in (trace.graph, trace.schedules["inductor"]):
        tensors = part.tensors
        weights = np.flatnonzero(tensors.storage_role == Role.WEIGHT)
        used = set(tensors.tensor_storage[part.reads.tensor].tolist())
        unread = [tensors.storage_names[index] for index in weights if index not in used]
        assert unread == []


@pytest.mark.parametrize("name", ["gpt2-train", "gpt2-train-checkpointed"])
def test_training_has_three_phases_and_gradients_of_all_weights(name: str) -> None:
    trace = bundled(name)
    schedule = trace.schedules["inductor"]
    for operators in (trace.graph.operators, schedule.operators):
        assert set(operators.phase.tolist()) == {Phase.FORWARD, Phase.BACKWARD, Phase.OPTIMIZER}
        assert np.all(np.diff(operators.phase) >= 0)
    for tensors in (trace.graph.tensors, schedule.tensors):
        names = set(tensors.storage_names)
        weights = [name for name in names if f"grad.{name}" in names]
        assert len(weights) == 148
        assert all(f"exp_avg.{name}" in names and f"exp_avg_sq.{name}" in names for name in weights)
    optimizer = schedule.operators.phase[schedule.operator_ptr[:-1]] == Phase.OPTIMIZER
    assert np.all(schedule.launch[optimizer] == Launch.EAGER)
    flops = trace.graph.operators.matrix_flops * once(trace)
    forward = flops[trace.graph.operators.phase == Phase.FORWARD].sum()
    backward = flops[trace.graph.operators.phase == Phase.BACKWARD].sum()
    assert 2.0 <= backward / forward <= 2.2


def test_only_the_checkpointed_step_recomputes_products() -> None:
    """Without its second runs it is the other step, operator for operator in forward and optimizer."""
    plain, again = bundled("gpt2-train"), bundled("gpt2-train-checkpointed")
    assert once(plain).all()
    assert not once(again).all()
    for part in (plain.schedules["inductor"], again.schedules["inductor"]):
        products = part.operators.matrix_flops[part.recomputed == 1].sum() > 0
        assert products == (part is again.schedules["inductor"])
    for phase in (Phase.FORWARD, Phase.OPTIMIZER):
        labels = [
            [trace.graph.operators.label(row) for row in np.flatnonzero(trace.graph.operators.phase == phase).tolist()]
            for trace in (plain, again)
        ]
        assert labels[0] == labels[1]
    first = [trace.graph.operators.matrix_flops[once(trace)].sum() for trace in (plain, again)]
    assert first[0] == first[1]
