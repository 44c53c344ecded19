"""Published data sets: what a row of each becomes, and one line for every fault. All values here are made up."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from hiersim.errors import MeasurementError
from hiersim.frontends.measured import Measured
from hiersim.frontends.published import flashattention, liger, llmcompass, neusight_models, vidur
from hiersim.frontends.published.gradients import backward
from hiersim.frontends.published.recognize import published
from hiersim.frontends.published.sketch import Sketch
from hiersim.model.operators import DType, Kind
from hiersim.validation.sample import sampled
from hiersim.validation.validate import validate

A100 = "NVIDIA A100-SXM4-80GB"


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def table(path: Path, *rows: dict[str, object]) -> Path:
    """A CSV file with these columns, gzip where its name says so."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    data = text.getvalue().encode()
    path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)
    return path


def read(path: Path) -> Measured:
    load = published(path)
    assert load is not None
    (measured,) = load(path)
    for case in measured.cases.values():
        if case.rows:
            graph = case.trace().graph
            assert int(graph.operators.matrix_flops.sum()) == case.flops.get("matrix", 0)
    return measured


# --- LLMCompass ------------------------------------------------------------------------------------


def test_llmcompass_rows_have_times_and_rates(tmp_path: Path) -> None:
    matmul = read(write(tmp_path / "matmul_A100.csv", "64, 128, 256, 0.5ms, 8.4Tflops"))
    (case,), (time,) = matmul.cases.values(), matmul.times
    assert (case.suite, case.dtype, case.flops) == ("llmcompass matmul", "fp16", {"matrix": 2 * 64 * 128 * 256})
    assert (case.read_bytes, case.written_bytes) == (2 * 256 * (64 + 128), 2 * 64 * 128)
    assert (time.median_s, time.clock, time.cache) == (5e-4, "wall", "warm")
    norm = read(write(tmp_path / "layernorm_A100.csv", "32, 64, 2.0", "32, 64, 4.0"))
    assert [time.median_s for time in norm.times] == pytest.approx([32 * 64 / 2e9, 32 * 64 / 4e9])
    assert [case.kind for case in norm.cases.values()] == [Kind.REDUCTION] * 2, "equal rows stay two cases"
    gelu = read(write(tmp_path / "gelu_A100.csv", "4096, 1.0"))
    assert next(iter(gelu.cases.values())).read_bytes == 2 * 4096


def test_a_layer_of_llmcompass_has_the_flops_of_gpt3(tmp_path: Path) -> None:
    found = read(write(tmp_path / "transformer_A100.csv", *("0.001",) * 12))
    assert len(found.cases) == len(found.times) == 10, "the exchange between devices is no kernel"
    width, tokens, heads = 12288, 8 * 2048, 96 // 4
    products = 2 * tokens * width * (3 + 1 + 4 + 4) * width // 4
    attention = 2 * 2 * 8 * heads * 2048 * 2048 * 128
    assert sum(case.flops.get("matrix", 0) for case in found.cases.values()) == products + attention
    with pytest.raises(MeasurementError, match="is one of 3 lines"):
        llmcompass.load(write(tmp_path / "transformer_A100.csv", "1", "2", "3"))


# --- Vidur -----------------------------------------------------------------------------------------

VIDUR = {
    "time_stats.mlp_up_proj.median": 0.3, "time_stats.mlp_act.median": 0.1, "time_stats.add.median": 0.05,
    "time_stats.attn_pre_proj.median": 0.2, "time_stats.input_layernorm.median": 0.1, "n_head": 8, "n_kv_head": 8,
    "n_embd": 64, "n_expanded_embd": 256, "use_gated_mlp": "True", "num_tokens": 32, "num_tensor_parallel_workers": 2,
}  # fmt: skip


def test_vidur_splits_a_layer_over_devices(tmp_path: Path) -> None:
    found = read(table(tmp_path / "a100__me__tiny-1b__mlp_median.csv.gz", VIDUR))
    by_suite = {case.suite: case for case in found.cases.values()}
    assert by_suite["vidur mlp_up_proj"].params == {"m": 32, "n": 2 * 128, "k": 64}, "gate and up in one product"
    assert by_suite["vidur attn_pre_proj"].params == {"m": 32, "n": 3 * 32, "k": 64}
    assert by_suite["vidur mlp_act"].read_bytes == 2 * by_suite["vidur mlp_act"].written_bytes
    assert by_suite["vidur add"].read_bytes == 2 * 2 * 32 * 64
    assert by_suite["vidur add"].name == "tiny-1b"
    assert {time.clock for time in found.times} == {"profiler"}


# --- FlashAttention --------------------------------------------------------------------------------

TABLE = {
    "paper_table": 18, "device": "A100-40GB", "dtype": "fp16", "batch": 2, "heads": 4, "head_dim": 64, "seq": 256,
    "dropout": 0, "mask": 0, "pass": "fwd+bwd", "impl": "pytorch_unfused", "value": 0.4, "unit": "ms",
}  # fmt: skip
FIGURE = {
    "source": "figure", "device": "A100", "batch": 2, "heads": 4, "seq": 256, "head_dim": 64, "dtype": "fp16",
    "mask": "key padding", "dropout": "no", "impl": "standard", "gflops_printed": 1, "hbm_gb": 0.02, "runtime_ms": 0.4,
}  # fmt: skip


def test_attention_is_replayed_written_out_and_fused(tmp_path: Path) -> None:
    fused = {**TABLE, "impl": "flashattention_fused", "value": 0.1}
    rows = (TABLE, fused, {**TABLE, "pass": "bwd"}, {**fused, "pass": "bwd"}, {**TABLE, "impl": "megatron"})
    found = validate(table(tmp_path / "flashattention_tables.csv", *rows))
    assert [(row.kind, row.kernels) for row in found.operators] == [("gemm", 19), ("attention", 4), ("gemm", 11)]
    assert found.skipped == {
        "not measured: fused backward alone": 1,
        "not measured: kernels that fuse a part of attention": 1,
    }  # fmt: skip
    measured = read(table(tmp_path / "flashattention_tables.csv", *rows))
    forward, backward = 2 * 2 * 2 * 4 * 256 * 256 * 64, 4 * 2 * 2 * 4 * 256 * 256 * 64
    assert next(iter(measured.cases.values())).flops["matrix"] == forward + backward


def test_bytes_of_the_paper_are_a_sum_of_reads_and_writes(tmp_path: Path) -> None:
    path = table(tmp_path / "bytes.csv", FIGURE, {**FIGURE, "impl": "flashattention", "hbm_gb": 0.004})
    (traffic,) = validate(path).traffic
    assert (traffic.n, traffic.reads, traffic.counted_read, traffic.counted) == (2, None, None, 24_000_000)
    assert traffic.both is not None
    assert traffic.predicted == traffic.predicted_read + traffic.predicted_written > 0


# --- NeuSight's models -----------------------------------------------------------------------------

RUN = {
    "device": "NVIDIA_A100-PCIE-40GB", "model": "small", "mode": "inf", "seqlen": 4, "batch": 2, "option": "",
    "num_layer": 3, "e2e_latency": 5.0,
}  # fmt: skip


def node(name: str, op: str, target: str, args: str, shape: str, **more: object) -> dict[str, object]:
    given = {"input_contiguous": "[True]", "dtype": "torch.float32", **more}
    return {"Name": name, "op": op, "target": target, "_args": args, "output_shape": shape, **given}


NODES = (
    node("ids", "placeholder", "ids", "()", "(2, 4)", dtype="torch.int64"),
    node("size", "call_method", "size", "(ids,)", "(1,)", dtype=""),
    node("wte", "call_module", "model.wte", "(ids,)", "(2, 4, 8)"),
    node("fc", "call_module", "model.h.0.fc", "(wte,)", "(2, 4, 8)"),
    node("turn", "call_method", "permute", "(fc, 0, 2, 1)", "(2, 8, 4)"),
    node(
        "mix", "call_function", "<built-in method matmul of type object at 0x1>", "(fc, turn)", "(2, 4, 4)",
        input_contiguous="[True, False]",
    ),
    node("soft", "call_function", "<function softmax at 0x1>", "(mix,)", "(2, 4, 4)"),
    node("back", "call_function", "<built-in method matmul of type object at 0x1>", "(soft, fc)", "(2, 4, 8)",
         input_contiguous="[True, True]"),
    node("drop", "call_module", "model.h.0.drop", "(back,)", "(2, 4, 8)"),
    node("sum", "call_function", "<built-in function add>", "(wte, drop)", "(2, 4, 8)"),
    node("ln_f", "call_module", "model.ln_f", "(sum,)", "(2, 4, 8)"),
    node("output", "output", "output", "({'logits': ln_f},)", "(2, 4, 8)"),
)  # fmt: skip


def model(folder: Path, *runs: dict[str, object], nodes: tuple[dict[str, object], ...] = NODES) -> Path:
    labels = folder / "neusight_labels" / "Tesla_T4"
    labels.mkdir(parents=True, exist_ok=True)
    table(labels / "small-inf-4-2.perop.csv.gz", *nodes)
    return table(folder / "neusight_e2e.csv", *runs)


def test_a_model_repeats_its_layer_and_copies_what_is_not_contiguous(tmp_path: Path) -> None:
    (case,) = read(model(tmp_path, RUN)).cases.values()
    graph = case.trace().graph
    names = [graph.operators.label(row) for row in range(len(graph.operators))]
    assert names.count("aten.embedding.default") == names.count("aten.native_layer_norm.default") == 1
    assert names.count("aten.addmm.default") == names.count("aten.clone.default") == 3
    assert names.count("aten.bmm.default") == 6
    assert case.flops["matrix"] == 3 * (2 * 8 * 8 * 8 + 2 * (2 * 2 * 4 * 4 * 8))
    sums = [row for row in case.rows if row.get("operator") == "aten.add.Tensor"]
    assert [row["reads"][0] for row in sums] == ["wte", "sum.0", "sum.1"], "each layer reads the one before"


def test_a_model_is_replayed_eager_and_compiled(tmp_path: Path) -> None:
    runs = (RUN, {**RUN, "option": "fusion", "e2e_latency": 4.0}, {**RUN, "mode": "train"})
    found = validate(model(tmp_path, *runs))
    eager, compiled = found.operators
    assert (eager.mode, compiled.mode) == ("eager", "compiled")
    assert compiled.kernels < eager.kernels
    (gain,) = found.speed_ups
    assert gain.pair.measured == pytest.approx(5 / 4)
    assert gain.pair.predicted == pytest.approx(eager.pair.predicted / compiled.pair.predicted)
    assert found.skipped == {"not measured: no table of the model's nodes": 1}


def test_a_training_step_launches_what_autograd_launches(tmp_path: Path) -> None:
    labels = tmp_path / "neusight_labels" / "Tesla_T4"
    labels.mkdir(parents=True)
    table(labels / "small-train-4-2.perop.csv.gz", *NODES)
    run = {**RUN, "mode": "train", "num_layer": 2}
    (case,) = read(table(tmp_path / "neusight_e2e.csv", run)).cases.values()
    forward = 2 * (2 * 8 * 8 * 8 + 2 * (2 * 2 * 4 * 4 * 8))
    assert case.flops["matrix"] == 3 * forward, "two products of the backward pass for each of the forward pass"
    names = [row["operator"] for row in case.rows if row.get("phase") == "backward" and row["kind"] != "view"]
    layer = [
        "aten.mul.Tensor", "aten._to_copy.default", "aten.bmm.default", "aten._softmax_backward_data.default",
        "aten.addmm.default", "aten.native_layer_norm_backward.default", "aten.embedding_dense_backward.default",
    ]  # fmt: skip
    assert [names.count(name) for name in layer] == [3 * 2, 2, 4 * 2, 2, 0, 1, 1]
    assert names.count("aten.mm.default") == 2 * 2 and names.count("aten.sum.dim_IntList") == 2
    assert names.count("aten.add_.Tensor") == 2 * 2 + 2 + 1, "a gradient of each weight joins those before"
    tables = [row["shape"] for row in case.rows if row.get("tensor") == "wte.weight"]
    assert tables == [[8, 8]], "as many rows as tokens are told apart"
    (row,) = validate(tmp_path / "neusight_e2e.csv").operators
    assert row.suite == "neusight model training"


def test_a_gradient_is_put_in_order_and_together() -> None:
    """x · w in two heads, turned, in parts that are used apart: its gradient is joined, turned back and copied."""
    sketch = Sketch(DType.FP32)
    x, w = sketch.given("x", (4, 6)), sketch.given("w", (6, 8), "weight")
    y = sketch.view(sketch.run("aten.mm.default", (x, w), (4, 8)), (4, 2, 4))
    heads = sketch.view(y, (2, 4, 4), operator="aten.permute.default")
    parts = [sketch.view(heads, (1, 4, 4), operator="aten.getitem.default") for _ in range(2)]
    product = sketch.run("aten.mul.Tensor", parts, (1, 4, 4))
    backward(sketch, [product])
    after = [call for call in sketch.taken if any(sheet.name.endswith(".grad") for sheet in call.reads)]
    names = [call.operator for call in sketch.taken[sketch.taken.index(after[0]) :]]
    assert names == [
        "aten.mul.Tensor", "aten.mul.Tensor", "aten.cat.default", "aten.permute.default", "aten.clone.default",
        "aten.view.default", "aten.mm.default", "aten.add_.Tensor",
    ], "x is given: nobody asks for its gradient"  # fmt: skip


def test_a_node_that_nobody_knows_is_a_fault(tmp_path: Path) -> None:
    bad = tuple({**row, "target": "<built-in function spin>"} if row["Name"] == "sum" else row for row in NODES)
    with pytest.raises(MeasurementError, match=r"small-inf-4-2.perop.csv.gz:11: target: 'spin' is no operator"):
        neusight_models.load(model(tmp_path, RUN, nodes=bad))


# --- Liger -----------------------------------------------------------------------------------------

LIGER = {
    "kernel_name": "rms_norm", "kernel_provider": "huggingface", "kernel_operation_mode": "forward",
    "metric_name": "speed", "x_name": "H", "x_value": 256, "y_value_50": 0.1,
    "extra_benchmark_config_str": '{"M": 64, "dtype": "torch.bfloat16"}', "gpu_name": A100,
    "timestamp": "2024-01-02 03:04:05",
}  # fmt: skip


def test_liger_pairs_a_fused_kernel_with_what_it_replaces(tmp_path: Path) -> None:
    rows = (
        LIGER, {**LIGER, "kernel_provider": "liger", "y_value_50": 0.02}, {**LIGER, "metric_name": "memory"},
        {**LIGER, "kernel_operation_mode": "full"},
    )  # fmt: skip
    found = validate(table(tmp_path / "liger.csv", *rows))
    assert [(row.mode, row.kernels) for row in found.operators] == [("eager", 8), ("compiled", 1)]
    assert found.speed_ups[0].pair.measured == pytest.approx(5)
    assert found.dates == ("2024-01-02",)
    assert found.skipped == {"not measured: a kernel, or a pass, that is not rebuilt": 1}


@pytest.mark.parametrize(
    ("name", "sizes", "flops"),
    [
        ("swiglu", '{"B": 2, "hidden_size": 8, "intermediate_size": 16}', 3 * 2 * (2 * 4) * 8 * 16),
        ("geglu", '{"bsz": 2, "hidden_size": 8, "intermediate_size": 16}', 3 * 2 * (2 * 4) * 8 * 16),
        ("layer_norm", '{"M": 4}', 0), ("cross_entropy", '{"B": 2, "V": 32}', 0),
    ],
)  # fmt: skip
def test_each_kernel_of_liger_has_its_work(name: str, sizes: str, flops: int, tmp_path: Path) -> None:
    axis = {"layer_norm": "N"}.get(name, "T")
    row = {**LIGER, "kernel_name": name, "extra_benchmark_config_str": sizes, "x_name": axis, "x_value": 4}
    (case,) = read(table(tmp_path / "liger.csv", row)).cases.values()
    assert case.flops.get("matrix", 0) == flops


# --- aiconfigurator --------------------------------------------------------------------------------


def test_aiconfigurator_measures_products_and_attention(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    common = {"device": "NVIDIA H100 80GB HBM3", "latency": 0.25}
    gemm = {**common, "op_name": "gemm", "gemm_dtype": "bfloat16", "m": 4, "n": 8, "k": 16}
    heads = {"num_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "attn_dtype": "bfloat16", "batch_size": 2}
    prefill = {**common, **heads, "op_name": "context_attention", "isl": 16, "step": 0, "window_size": 0}
    decode = {**prefill, "op_name": "generation_attention", "isl": 1, "step": 15}
    found = []
    for name, rows in {"gemm": [gemm], "prefill": [prefill, {**prefill, "window_size": 4}], "decode": [decode]}.items():
        parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / f"{name}.parquet")
        found.append(read(tmp_path / f"{name}.parquet"))
    products, prefills, decodes = found
    assert [(time.median_s, time.clock, time.cache) for time in products.times] == [(2.5e-4, "events", "cold")]
    assert [left.why for left in prefills.skipped] == ["attention over a window"]
    (time,) = prefills.times
    assert prefills.cases[time.case].flops["masked"] == 4 * 2 * 4 * 8 * (16 * 15 // 2), "the mask of a prefill"
    (case,) = decodes.cases.values()
    assert (case.params["queries"], case.params["keys"], case.flops.get("masked", 0)) == (1, 16, 0)


def test_aiconfigurator_stores_keys_in_pages_before_it_attends(tmp_path: Path) -> None:
    """Each call of a serving engine writes what is new; SGLang also plans its blocks in the call."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    row = {
        "device": "NVIDIA H100 80GB HBM3", "latency": 0.25, "num_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
        "attn_dtype": "bfloat16", "batch_size": 3, "op_name": "generation_attention", "isl": 1, "step": 99,
    }  # fmt: skip
    launched, moved = {}, {}
    for framework in ("VLLM", "SGLang"):
        parquet.write_table(pyarrow.Table.from_pylist([{**row, "framework": framework}]), tmp_path / "a.parquet")
        (case,) = read(tmp_path / "a.parquet").cases.values()
        trace = case.trace()
        table = trace.graph.operators
        launched[framework] = [table.strings[name] for name in table.name.tolist()]
        moved[framework] = (case.read_bytes, case.written_bytes)
    assert launched["VLLM"] == ["reshape_and_cache_flash", "paged_attention"]
    assert launched["SGLang"] == ["store_cache", "plan", "paged_attention"]
    token, queries, tables = 2 * 2 * 8 * 2, 4 * 8 * 2, 4 * (2 + 1)  # bytes; two pages of 64 tokens, and the length
    assert moved["VLLM"] == (3 * (101 * token + queries + tables), 3 * (token + queries))


# --- all of them -----------------------------------------------------------------------------------


def test_a_folder_may_hold_files_that_nobody_knows(tmp_path: Path) -> None:
    write(tmp_path / "gelu_A100.csv", "4096, 1.0")
    write(tmp_path / "notes.md", "not measured")
    write(tmp_path / "shapes.jsonl", '{"problem": 1}')
    table(tmp_path / "liger.csv", {**LIGER, "gpu_name": "NVIDIA Z9"})
    found = validate(tmp_path)
    assert [row.suite for row in found.operators] == ["llmcompass gelu"]
    assert found.skipped == {
        "file in no known form: *.jsonl": 1, "no bundled design stands for 'NVIDIA Z9'": 1,
    }  # fmt: skip
    assert found.files == ("gelu_A100.csv",)
    with pytest.raises(MeasurementError, match="no bundled design stands for 'NVIDIA Z9'"):
        validate(tmp_path / "liger.csv")


@pytest.mark.parametrize(
    ("load", "name", "rows", "where"),
    [
        (vidur.load, "v.csv", (VIDUR, {**VIDUR, "num_tokens": "many"}), "v.csv:3: num_tokens: 'many' is no number"),
        (liger.load, "l.csv", (LIGER, {**LIGER, "x_value": 0}), "l.csv:3: x_value: '0' is no size"),
        (liger.load, "l.csv", ({**LIGER, "extra_benchmark_config_str": "[1]"},), "l.csv:2: extra_.*is no table"),
        (liger.load, "l.csv", ({**LIGER, "extra_benchmark_config_str": "{}"},), "l.csv:2: extra_.*holds no size 'M'"),
        (flashattention.load_times, "f.csv", ({**TABLE, "value": -1},), "f.csv:2: value: '-1' is out of range"),
        (flashattention.load_bytes, "f.csv", ({**FIGURE, "impl": "slow"},), "f.csv:2: impl: 'slow' is not known here"),
    ],
)  # fmt: skip
def test_faults_name_file_line_and_column(
    load: Callable[[Path], object], name: str, rows: tuple[dict[str, object], ...], where: str, tmp_path: Path
) -> None:
    with pytest.raises(MeasurementError, match=where):
        load(table(tmp_path / name, *rows))


def test_a_sample_depends_on_names_alone_and_grows(tmp_path: Path) -> None:
    lines = [f"{2**power}, 1.0" for power in range(10, 20)]
    forward = read(write(tmp_path / "gelu_A100.csv", *lines))
    backward = read(write(tmp_path / "gelu_A100.csv", *reversed(lines)))
    few, more = (
        {time.case for time in sampled(forward, count).times}
        for count in (2, 4)
    )  # fmt: skip
    assert len(few) == 4, "two below and two above 50 us"
    assert few < more
    assert {time.case for time in sampled(backward, 2).times} == few
    assert sampled(forward, 10).times == forward.times
    assert sampled(forward, 1, match="=1024").times[0].case.endswith("=1024")


def test_a_sketch_is_what_a_capture_would_be() -> None:
    sketch = Sketch(DType.BF16)
    x, w = sketch.given("x", (4, 8)), sketch.given("w", (8, 2), "weight")
    y = sketch.run("aten.mm.default", (x, w), (4, 2), name="y")
    flat = sketch.view(y, (8,), "flat")
    sketch.run("aten.gelu.default", (flat,), (8,), name="z")
    case = sketch.case(suite="s", name="n", params={"m": 4})
    graph = case.trace().graph
    assert case.case == "s/n/bf16/m=4"
    assert (case.read_bytes, case.written_bytes, case.kind) == (2 * (32 + 16), 2 * 8, Kind.GEMM)
    assert int(graph.tensors.storage_output.sum()) == 1
    assert [int(size) for size in graph.reads.size] == [64, 32, 16]


# --- KernelBench -----------------------------------------------------------------------------------

PROBLEM = {
    "device": "NVIDIA H100 PCIe", "level": "level1", "problem": "1_Scaled_.py", "eager_mean_ms": 2.0, "eager_std": 0.1,
    "inductor_mean_ms": 1.0, "inductor_std": 0.1,
}  # fmt: skip
CALLS = (
    '{"problem": "1_Scaled_.py", "ops": ['
    '{"op": "aten.view.default", "view": true, "inp": [[0, [8, 64, 32], "float32"]],'
    ' "out": [[1, [512, 32], "float32"]]},'
    '{"op": "aten._softmax.default", "inp": [[1, [512, 32], "float32"]], "out": [[2, [512, 32], "float32"]]},'
    '{"op": "aten.mul.Tensor", "inp": [[2, [512, 32], "float32"]], "out": [[3, [512, 32], "float32"]]}]}',
    '{"problem": "2_Slides.py", "ops": [{"op": "aten.convolution.default", "inp": [], "out": []}]}',
)  # fmt: skip


def test_kernelbench_pairs_eager_and_compiled_runs(tmp_path: Path) -> None:
    others = ({**PROBLEM, "problem": "2_Slides.py"}, {**PROBLEM, "problem": "3_Lost.py"})
    path = table(tmp_path / "level1.csv", PROBLEM, *others)
    write(tmp_path / "aten_ops_level1.jsonl", *CALLS)
    found = validate(tmp_path)
    assert [(row.mode, row.kernels) for row in found.operators] == [("eager", 2), ("compiled", 1)]
    (gain,) = found.speed_ups
    assert (gain.pair.measured, gain.case) == (2.0, "kernelbench/1_Scaled/fp32")
    assert found.skipped["not measured: the shapes do not tell the work of convolution"] == 1
    assert found.skipped["not measured: no list of the problem's calls"] == 1
    write(tmp_path / "aten_ops_level1.jsonl", CALLS[0].replace('"float32"', '"float7"'))
    with pytest.raises(MeasurementError, match=r"level1.csv:2: problem: 'float7' is no dtype"):
        validate(path)
    write(tmp_path / "aten_ops_level1.jsonl", CALLS[0], "[]")
    with pytest.raises(MeasurementError, match=r"aten_ops_level1.jsonl:2: is no list of calls"):
        validate(path)
