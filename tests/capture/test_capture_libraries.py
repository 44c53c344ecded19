"""Captures of transformers and timm: no weights, no network, FLOPs as torch counts them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from click.testing import CliRunner  # noqa: E402

from benchmarks.torch_flops import flops_by_torch  # noqa: E402
from hiersim.cli.capture import capture  # noqa: E402
from hiersim.errors import HiersimError, MissingExtraError, TraceError  # noqa: E402
from hiersim.frontends.archive import load_archive, save_trace  # noqa: E402
from hiersim.frontends.pytorch.capture import capture_torch  # noqa: E402
from hiersim.frontends.pytorch.capture_process import CaptureProcess  # noqa: E402
from hiersim.frontends.pytorch.workload import PLAIN, Workload, settings_of  # noqa: E402
from hiersim.model.operators import Kind, Phase, Role  # noqa: E402
from hiersim.model.trace import Trace  # noqa: E402

pytestmark = pytest.mark.torch
TWO = ("num_hidden_layers=2",)


def hf(target: str, train: bool = False, config: tuple[str, ...] = TWO, **sizes: Any) -> Any:
    """A case of a transformers model, two layers deep."""
    name = " ".join([target, *(str(value) for value in sizes.values()), *(["train"] if train else [])])
    return pytest.param(f"hf:{target}", train, Workload(settings=settings_of(config), **sizes), id=name)


HF = [
    hf("bert", sequence=64),
    hf("bert", True, sequence=64),
    hf("gpt2", True, ("n_layer=2",), sequence=64),
    hf("llama", phase="prefill", sequence=64),
    hf("llama", phase="decode", sequence=64, batch=2),
    hf("llama", True, sequence=64),
    hf("mixtral", phase="decode", sequence=64),
    hf("mixtral", True, sequence=64),
    hf("gemma3_text", config=("num_hidden_layers=6", "sliding_window=32"), phase="decode", sequence=64),
    hf("deepseek_v3", config=("num_hidden_layers=4",), phase="decode", sequence=64),
    hf("t5", config=("num_layers=2", "num_decoder_layers=2"), phase="decode", sequence=64),
    hf("mamba", phase="decode", sequence=8),
    hf("vit"),
    hf("CLIPModel", config=()),
    hf("wav2vec2", sequence=16_000),
    hf("patchtst"),
    hf("informer", config=("encoder_layers=1", "decoder_layers=1", "prediction_length=8")),  # its context follows
    hf("decision_transformer", config=("n_layer=2",), sequence=16),
    hf("llama4", config=("text_config.num_hidden_layers=2",), sequence=64),
    hf("resnet", True, ("depths=[1, 1, 1, 1]",)),
]
TIMM = [
    pytest.param("timm:resnet18", False, Workload(batch=2, image=96), id="resnet18"),
    pytest.param("timm:resnet18", True, Workload(batch=2, image=96), id="resnet18 train"),
    pytest.param("timm:vit_tiny_patch16_224", False, Workload(batch=2, image=96), id="vit"),
    pytest.param("timm:swin_tiny_patch4_window7_224", False, Workload(batch=1), id="swin"),
    pytest.param("timm:mobilenetv3_small_100", True, Workload(batch=2, image=96), id="mobilenetv3 train"),
]


def library(target: str) -> None:
    pytest.importorskip("transformers" if target.startswith("hf:") else "timm")


@pytest.fixture(scope="module")
def captured() -> Callable[..., Trace]:
    found: dict[Any, Trace] = {}

    def get(target: str, train: bool = False, workload: Workload = PLAIN) -> Trace:
        library(target)
        key = (target, train, workload)
        if key not in found:
            found[key] = capture_torch(target, "eager", train, workload)
        return found[key]

    return get


def touched(part: Any, column: Any, role: Role) -> int:
    """Bytes that the rows of `column` move of storages with a role."""
    tensors = part.tensors
    return int(column.size[tensors.storage_role[tensors.tensor_storage[column.tensor]] == role].sum())


@pytest.mark.parametrize(("target", "train", "workload"), HF + TIMM)
def test_matrix_flops_equal_torch_flop_counter(
    target: str, train: bool, workload: Workload, captured: Callable[..., Trace]
) -> None:
    trace = captured(target, train, workload)
    operators = trace.graph.operators
    assert int(operators.matrix_flops.sum()) == flops_by_torch(target, train, workload) > 0
    assert not np.any(operators.kind == Kind.OPAQUE)
    assert trace.header.notes[0].startswith("transformers" if target.startswith("hf:") else "timm")
    if train:
        assert set(operators.phase.tolist()) == {Phase.FORWARD, Phase.BACKWARD, Phase.OPTIMIZER}


def test_module_paths_are_those_of_the_model(captured: Callable[..., Trace]) -> None:
    operators = captured(*hf("llama", phase="decode", sequence=64, batch=2).values).graph.operators
    modules = {operators.strings[int(index)] for index in operators.module}
    assert {"model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj", "lm_head"} <= modules


def test_a_decode_step_writes_its_token_and_reads_the_whole_cache(captured: Callable[..., Trace]) -> None:
    graph = captured(*hf("llama", phase="decode", sequence=64, batch=2).values).graph
    heads, width, layers, batch = 32, 128, 2, 2
    position = 2 * layers * batch * heads * width * 2  # keys and values
    assert touched(graph, graph.writes, Role.KV_CACHE) == position
    assert touched(graph, graph.reads, Role.KV_CACHE) == 64 * position
    cache = graph.tensors.storage_role == Role.KV_CACHE
    assert np.all(graph.tensors.storage_output[cache] == 1)
    assert graph.tensors.storage_bytes[cache].sum() == 64 * position


def test_sliding_layers_keep_their_window(captured: Callable[..., Trace]) -> None:
    config = ("num_hidden_layers=6", "sliding_window=32")
    tensors = captured(*hf("gemma3_text", config=config, phase="decode", sequence=64).values).graph.tensors
    sizes = tensors.storage_bytes[tensors.storage_role == Role.KV_CACHE]
    assert sorted(sizes.tolist()) == sorted([32 * 4 * 256 * 2] * 10 + [64 * 4 * 256 * 2] * 2)


def test_prefill_and_decode_do_the_arithmetic_of_their_sizes(captured: Callable[..., Trace]) -> None:
    """2 FLOPs per weight and token, 4 per token, cached token and width; the head for one token."""
    width, hidden, layers, vocabulary = 4096, 11_008, 2, 32_000
    weights = layers * (4 * width * width + 3 * width * hidden)
    head = 2 * width * vocabulary
    decode = captured(*hf("llama", phase="decode", sequence=64, batch=2).values).graph.operators
    assert decode.matrix_flops.sum() == 2 * (2 * weights + head + layers * 4 * 64 * width)
    prefill = captured(*hf("llama", phase="prefill", sequence=64).values).graph.operators
    assert prefill.matrix_flops.sum() == 64 * 2 * weights + head + layers * 4 * 64 * 64 * width


def test_a_config_file_is_enough(tmp_path: Path) -> None:
    library("hf:")
    config = {
        "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "num_hidden_layers": 2, "hidden_size": 64,
        "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128, "vocab_size": 256,
    }  # fmt: skip
    file = tmp_path / "my-model" / "config.json"
    file.parent.mkdir()
    file.write_text(json.dumps(config))
    for target in (file, file.parent):
        output = tmp_path / "t.npz"
        words = ["torch", f"hf:{target}", "--phase", "decode", "--sequence", "32", "--dtype", "fp16", "-o", str(output)]
        done = CliRunner().invoke(capture, words)
        assert done.exit_code == 0, done.output
        trace = load_archive(output)
        assert trace.header.model == "Qwen2ForCausalLM"
        assert trace.header.dtype == "fp16"
        assert trace.header.name == "hf-my-model-decode"
        assert trace.header.workload == "1 x 1 token over a KV cache of 32, decode"
        assert "--sequence 32 --phase decode --dtype fp16" in trace.header.command


WRONG = [
    ("hf:lama", PLAIN, "'lama' is not known to transformers"),
    ("hf:nobody/nothing", PLAIN, "hf download nobody/nothing config.json"),
    ("hf:missing/config.json", PLAIN, "No such file"),
    ("hf:bert", Workload(settings=(("hidden", "3"),)), "has no 'hidden'"),
    ("hf:bert", Workload(settings=(("hidden_size", "61"),)), "cannot be built"),
    ("hf:vit", Workload(phase="decode"), "takes no tokens"),
    ("hf:llama", Workload(phase="decode", sequence=1, settings=(("num_hidden_layers", "1"),)), "over 1 tokens"),
    ("hf:bert", Workload(phase="decode", settings=(("num_hidden_layers", "1"),)), "returns no cache"),
    ("timm:resnet5", PLAIN, "'resnet5' is not known to timm"),
    ("timm:resnet18", Workload(phase="decode"), "no --phase"),
    ("timm:resnet18", Workload(settings=(("depth", "3"),)), "cannot be built"),
    ("tiny-mlp", Workload(batch=2), "takes no --batch"),
]


@pytest.mark.parametrize(("target", "workload", "words"), WRONG)
def test_wrong_targets_are_one_line(target: str, workload: Workload, words: str) -> None:
    if ":" in target:
        library(target)
    with pytest.raises(TraceError, match=words) as caught:
        capture_torch(target, workload=workload)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[1]", '{"model_type": "nobody"}', "{", '{"hidden_size": 3}'])
def test_broken_config_files_name_themselves(text: str, tmp_path: Path) -> None:
    library("hf:")
    file = tmp_path / "config.json"
    file.write_text(text)
    with pytest.raises(TraceError, match=r"config\.json") as caught:
        capture_torch(f"hf:{file}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("target", "module"), [("hf:bert", "transformers"), ("timm:resnet18", "timm")])
def test_a_missing_library_names_its_extra(target: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"hiersim\[{target.partition(':')[0]}\]"):
        capture_torch(target)


def test_a_training_step_has_no_decode_phase() -> None:
    library("hf:")
    with pytest.raises(HiersimError, match="no decode phase"):
        capture_torch("hf:gpt2", "eager", True, Workload(phase="decode", settings=(("n_layer", "1"),)))


def test_capturing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    library("hf:")
    for run in ("a", "b"):
        workload = Workload(phase="decode", sequence=32, settings=(("num_hidden_layers", "1"),))
        save_trace(capture_torch("hf:llama", workload=workload), tmp_path / f"{run}.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "train", "workload"),
    [
        hf("llama", phase="decode", sequence=64),
        hf("llama", phase="prefill", sequence=64),
        hf("bert", sequence=64),
        hf("bert", True, sequence=64),
        pytest.param("timm:resnet18", False, Workload(batch=2, image=96), id="resnet18"),
    ],
)
def test_inductor_schedules_them(target: str, train: bool, workload: Workload, process: CaptureProcess) -> None:
    library(target)
    trace = capture_torch(target, "inductor", train, workload, process=process)
    schedule = trace.schedules["inductor"]
    first = schedule.recomputed == 0
    assert schedule.operators.matrix_flops[first].sum() == trace.graph.operators.matrix_flops.sum()
    launched = int(np.isin(trace.graph.operators.kind, [Kind.VIEW, Kind.SYNC], invert=True).sum())
    assert train or len(schedule) < launched
    paths = [{part.operators.strings[int(at)] for at in part.operators.module} for part in (trace.graph, schedule)]
    if target == "hf:llama":
        assert {"model.layers.0.self_attn.q_proj", "lm_head"} <= paths[0] & paths[1]
