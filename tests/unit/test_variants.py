"""Variants of a trace: equal to captures of that size, to closed forms, and refused where they do not follow."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hiersim as hs
from hiersim.errors import TraceError
from hiersim.frontends.rows import load_rows
from hiersim.lowering.host import entering
from hiersim.lowering.placement import lifetimes, occupancy
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import BITS, DType, Kind, Role
from hiersim.model.trace import OperatorGraph, Trace
from hiersim.run import kernels_of, simulate

LAYERS, KV_HEADS, HEADS, HEAD = 32, 8, 32, 128
"""Llama-3-8B."""
KV_BYTES_PER_POSITION = LAYERS * 2 * KV_HEADS * HEAD * 2
Part = OperatorGraph | KernelGraph


@cache
def bundled(name: str) -> Trace:
    return hs.load_trace(name)


def decode() -> Trace:
    return bundled("llama3-8b-decode")


def parts(trace: Trace) -> list[Part]:
    return [trace.graph, *trace.schedules.values()]


def differences(a: Any, b: Any, path: str = "") -> Iterator[str]:
    """Paths of all columns in which two values differ."""
    if isinstance(a, np.ndarray):
        if not np.array_equal(a, b):
            yield path
    elif dataclasses.is_dataclass(a):
        for item in dataclasses.fields(a):
            yield from differences(getattr(a, item.name), getattr(b, item.name), f"{path}.{item.name}")
    elif isinstance(a, Mapping):
        for key in a:
            yield from differences(a[key], b[key], f"{path}.{key}")
    elif a != b:
        yield path


def without_header(trace: Trace) -> Trace:
    return dataclasses.replace(trace, header=dataclasses.replace(decode().header))


def bytes_of(part: Part, role: Role) -> int:
    return int(part.tensors.storage_bytes[part.tensors.storage_role == role].sum())


def moved(part: Part, role: Role, what: str = "reads") -> int:
    access = getattr(part, what)
    return int(access.size[part.tensors.storage_role[part.tensors.tensor_storage[access.tensor]] == role].sum())


# Batch


@pytest.mark.parametrize(
    ("start", "batch", "captured"),
    [("llama3-8b-decode", 32, "llama3-8b-decode-b32"), ("llama3-8b-decode-b32", 1, "llama3-8b-decode")],
)
def test_another_batch_is_the_capture_of_that_batch_in_every_column(start: str, batch: int, captured: str) -> None:
    """Sizes, arithmetic, loop nests, lifetimes, reads and writes; eager and Inductor's schedule."""
    derived = hs.variant(bundled(start), batch=batch)
    assert list(differences(without_header(derived), without_header(bundled(captured)))) == []


@pytest.mark.parametrize("batch", [2, 3, 7])
def test_the_way_to_a_batch_does_not_matter(batch: int) -> None:
    there = hs.variant(decode(), batch=batch)
    back = hs.variant(there, batch=1)
    assert list(differences(without_header(back), without_header(decode()))) == []
    for before, after in zip(parts(decode()), parts(there), strict=True):
        assert bytes_of(after, Role.WEIGHT) == bytes_of(before, Role.WEIGHT)
        assert after.operators.matrix_flops.sum() == batch * before.operators.matrix_flops.sum()
        assert bytes_of(after, Role.KV_CACHE) == batch * bytes_of(before, Role.KV_CACHE)


# Context


@pytest.mark.parametrize("keys", [1, 1024, 2049, 8192, 131_072])
def test_the_kv_cache_and_attention_follow_the_context(keys: int) -> None:
    derived = hs.variant(decode(), context=keys)
    for before, after in zip(parts(decode()), parts(derived), strict=True):
        assert bytes_of(after, Role.KV_CACHE) == moved(after, Role.KV_CACHE) == keys * KV_BYTES_PER_POSITION
        assert moved(after, Role.KV_CACHE, "writes") == KV_BYTES_PER_POSITION
        for role in (Role.WEIGHT, Role.ACTIVATION, Role.INPUT, Role.CONSTANT):
            assert bytes_of(after, role) == bytes_of(before, role)
            assert moved(after, role) == moved(before, role)
        attention = after.operators.kind == Kind.ATTENTION
        assert int(after.operators.matrix_flops[attention].sum()) == LAYERS * HEADS * keys * HEAD * 4
        assert int(after.operators.special_ops[attention].sum()) == LAYERS * HEADS * (keys + 1)
        assert int(after.operators.vector_flops[attention].sum()) == LAYERS * HEADS * (4 * keys + HEAD)
        other = ~attention
        for name in ("matrix_flops", "vector_flops", "special_ops"):
            assert np.array_equal(getattr(after.operators, name)[other], getattr(before.operators, name)[other])


def test_the_captured_context_changes_nothing_but_the_name() -> None:
    assert list(differences(without_header(hs.variant(decode(), context=2048)), without_header(decode()))) == []


def test_time_grows_with_the_bytes_of_the_cache_once_they_dominate() -> None:
    """Sixteen times 16 384 positions: each step adds the same bytes of HBM and the same time."""
    design = hs.load_design("h100-sxm")
    contexts = [65_536 * step for step in (1, 2, 3, 4)]
    results = [simulate(hs.variant(decode(), context=keys), design, "inductor") for keys in contexts]
    added = np.diff([result.home_bytes for result in results])
    assert np.all(np.abs(added - 65_536 * KV_BYTES_PER_POSITION) <= 0.001 * added)
    growth = np.diff([result.time for result in results])
    assert growth == pytest.approx(growth[0], rel=0.01)
    home = design.home
    assert home.bandwidth is not None
    least = 65_536 * KV_BYTES_PER_POSITION / (home.bandwidth * home.efficiency)
    assert np.all(growth >= least)
    assert growth[0] == pytest.approx(least, rel=0.05)


# Tokens


def test_one_token_is_the_trace_itself_but_for_module_names() -> None:
    for before, after in zip(parts(decode()), parts(hs.variant(decode(), tokens=1)), strict=True):
        found = set(differences(before, after))
        assert found <= {".operators.strings", ".operators.module"}


@pytest.mark.parametrize(("tokens", "stride"), [(3, 1), (4, 512)])
def test_tokens_are_steps_of_growing_context_over_one_cache(tokens: int, stride: int) -> None:
    derived = hs.variant(decode(), tokens=tokens, stride=stride)
    keys = [2048 + stride * step for step in range(tokens)]
    for before, after in zip(parts(decode()), parts(derived), strict=True):
        rows = len(before.reads.ptr) - 1
        assert len(after.reads.ptr) - 1 == tokens * rows
        assert bytes_of(after, Role.WEIGHT) == bytes_of(before, Role.WEIGHT)
        assert bytes_of(after, Role.KV_CACHE) == keys[-1] * KV_BYTES_PER_POSITION
        assert moved(after, Role.KV_CACHE) == sum(keys) * KV_BYTES_PER_POSITION
        assert moved(after, Role.KV_CACHE, "writes") == tokens * KV_BYTES_PER_POSITION
        alone = [hs.variant(decode(), context=size) for size in keys]
        index = parts(derived).index(after)
        for name in ("matrix_flops", "vector_flops", "special_ops", "dims"):
            whole = np.concatenate([getattr(parts(trace)[index].operators, name) for trace in alone])
            assert np.array_equal(getattr(after.operators, name), whole)
        modules = {after.operators.strings[at].split(".")[1] for at in after.operators.module.tolist()}
        assert modules == {str(step) for step in range(tokens)}


def test_what_a_step_makes_is_freed_before_the_next_and_its_cache_stays() -> None:
    graph = kernels_of(hs.variant(decode(), tokens=4), hs.load_design("tiny"), "eager")
    single = kernels_of(decode(), hs.load_design("tiny"), "eager")
    kernels, tensors, life = len(single), graph.tensors, lifetimes(graph)
    made = tensors.storage_role == Role.ACTIVATION
    assert np.array_equal(life.first[made] // kernels, life.last[made] // kernels)
    outputs = tensors.storage_output == 1
    assert np.all(life.last[outputs] == 4 * kernels - 1)
    assert int((outputs & made).sum()) == int(
        ((single.tensors.storage_output == 1) & made[: len(single.tensors.storage_role)]).sum()
    )
    fixed = 3 * KV_BYTES_PER_POSITION
    assert np.array_equal(occupancy(graph)[:kernels] - fixed, occupancy(single))


def test_the_time_of_many_tokens_is_that_of_the_steps_alone_but_for_the_seams() -> None:
    design = hs.load_design("h100-sxm")
    together = simulate(hs.variant(decode(), tokens=3, stride=1024), design, "inductor")
    alone = [simulate(hs.variant(decode(), context=2048 + 1024 * step), design, "inductor") for step in range(3)]
    entries = [int(entering(result.graph, design).sum()) for result in (together, *alone)]
    assert entries[0] == sum(entries[1:]) > 0
    hidden = sum(entries[2:])  # the host enters a step while the device is at the one before
    assert together.makespan == pytest.approx(sum(result.makespan for result in alone) - hidden, rel=0.005)


@pytest.mark.parametrize("change", [{"tokens": 5, "batch": 4}, {"tokens": 3, "stride": 40}])
def test_engines_agree_on_growing_caches(change: dict[str, int]) -> None:
    trace, design = hs.variant(small_decode(), **change), hs.load_design("tiny")
    results = [simulate(trace, design, engine_name=engine).to_dict() for engine in ("compiled", "reference")]
    assert {key: value for key, value in results[0].items() if key != "engine"} == {
        key: value for key, value in results[1].items() if key != "engine"
    }


# Weights


@pytest.mark.parametrize(
    ("form", "bits", "block"), [("fp8", 8, 0), ("mxfp8", 8, 32), ("mxfp4", 4, 32), ("nvfp4", 4, 16), ("fp4", 4, 16)]
)
def test_matrices_shrink_and_everything_else_stays(form: str, bits: int, block: int) -> None:
    derived = hs.variant(decode(), weights=form)
    narrow = {DType.FP8, DType.FP4}
    for before, after in zip(parts(decode()), parts(derived), strict=True):
        names = {name: index for index, name in enumerate(after.tensors.storage_names) if name}
        matrices = [name for name in names if name + "_scale" in names] if block else [
            name for name in names if name.endswith("proj.weight") or name == "lm_head.weight"
        ]  # fmt: skip
        assert len(matrices) == 7 * LAYERS + 1
        for index, name in enumerate(before.tensors.storage_names):
            size = int(before.tensors.storage_bytes[index])
            if name in matrices:
                elements = size // 2
                assert after.tensors.storage_bytes[names[name]] == elements * bits // 8
                if block:
                    assert after.tensors.storage_bytes[names[f"{name}_scale"]] == elements // block
            else:
                assert after.tensors.storage_bytes[index] == size
        saved = sum(int(before.tensors.storage_bytes[before.tensors.storage_names.index(name)]) for name in matrices)
        stored = saved // 2 * bits // 8 + (saved // 2 // block if block else 0)
        assert moved(before, Role.WEIGHT) - moved(after, Role.WEIGHT) == saved - stored
        assert list(differences(before.operators, after.operators)) == []
        assert list(differences(before.writes, after.writes)) == []
        used = {DType(int(at)) for at in after.tensors.tensor_dtype[after.reads.tensor]}
        assert used & narrow == {DType.FP8, DType.FP4} if bits == 4 else {DType.FP8}


def test_int8_has_a_scale_per_output_channel() -> None:
    tensors = hs.variant(decode(), weights="int8").graph.tensors
    size = dict(zip(tensors.storage_names, tensors.storage_bytes.tolist(), strict=True))
    assert size["layers.0.mlp.down_proj.weight"] == 4096 * 14_336
    assert size["layers.0.mlp.down_proj.weight_scale"] == 2 * 4096
    assert size["layers.0.mlp.up_proj.weight_scale"] == 2 * 14_336


def test_blocks_that_do_not_fill_the_inner_dimension_count_whole() -> None:
    trace = small_product(k=40, n=6)
    tensors = hs.variant(trace, weights="mxfp8").graph.tensors
    assert tensors.storage_bytes[tensors.storage_names.index("w_scale")] == 2 * 6


@pytest.mark.parametrize("name", ["gpt2-large-prefill", "bert-large-prefill", "vit-large-infer", "resnet50-infer"])
def test_tied_tables_keep_their_dtype_and_both_parts_hold_the_same_bytes(name: str) -> None:
    trace = bundled(name)
    graph, schedule = parts(hs.variant(trace, weights="nvfp4"))
    assert bytes_of(graph, Role.WEIGHT) == bytes_of(schedule, Role.WEIGHT) < 0.5 * bytes_of(trace.graph, Role.WEIGHT)
    if name.startswith("gpt2"):
        tied = graph.tensors.storage_names.index("wte.weight")
        assert graph.tensors.storage_bytes[tied] == trace.graph.tensors.storage_bytes[tied]


def test_no_tier_moves_the_bits_that_are_not_stored() -> None:
    """The cores load four-bit weights as four bits, from every tier."""
    design = hs.load_design("h100-sxm")
    wide, narrow = (simulate(trace, design, "inductor") for trace in (decode(), hs.variant(decode(), weights="nvfp4")))
    for tier in ("l2", "hbm"):
        saved = wide.traffic[tier]["read"] - narrow.traffic[tier]["read"]
        expected = 7_504_658_432 * 2 - (7_504_658_432 // 2 + 7_504_658_432 // 16)
        assert saved == pytest.approx(expected, rel=0.002)
    assert narrow.time < wide.time


def test_llama_70b_fits_an_h200_in_fp8_and_not_in_bf16() -> None:
    trace, design = bundled("llama3-70b-decode"), hs.load_design("h200")
    spilled = simulate(trace, design)
    assert any(placed.tier == "dram" and placed.role == "weight" for placed in spilled.placement)
    result = simulate(hs.variant(trace, weights="fp8"), design, "inductor")
    assert 71e9 < result.peak["hbm"] < 75e9
    home = design.home
    assert home.bandwidth is not None
    assert result.time >= 70e9 / home.bandwidth


# Names and provenance


def test_variants_have_names_and_provenance_of_their_own() -> None:
    design = hs.load_design("tiny").replace({"memory.hbm.capacity": "64 GB"})
    both = hs.variant(decode(), weights="fp8", context=1024)
    assert both.name == "llama3-8b-decode[weights=fp8,context=1024]"
    assert hs.variant(hs.variant(decode(), weights="fp8"), context=1024).name == both.name
    assert hs.variant(decode(), tokens=2, stride=16).name == "llama3-8b-decode[tokens=2:16]"
    traces = [decode(), both, hs.variant(decode(), context=1024), hs.variant(decode(), weights="fp8")]
    assert len({simulate(trace, design).inputs_sha256 for trace in traces}) == 4
    assert hs.variant(decode()) is decode()


def test_the_captured_trace_stays_as_it_was() -> None:
    before = [column.copy() for column in (decode().graph.tensors.storage_bytes, decode().graph.operators.dims)]
    hs.variant(decode(), weights="fp8", batch=4, context=64, tokens=2)
    assert np.array_equal(before[0], decode().graph.tensors.storage_bytes)
    assert np.array_equal(before[1], decode().graph.operators.dims)


def test_a_variant_is_written_and_read_like_any_trace(tmp_path: Path) -> None:
    made = hs.variant(decode(), weights="mxfp4", batch=2, context=100, tokens=2)
    hs.save_trace(made, tmp_path / "made.npz")
    assert list(differences(hs.load_trace(tmp_path / "made.npz"), made)) == []


# Refusals


def lines(*rows: dict[str, Any]) -> Trace:
    header = {"format": "hiersim-trace", "version": 1, "name": "small"}
    return _read(tuple(json.dumps(row) for row in (header, *rows)))


@cache
def _read(texts: tuple[str, ...]) -> Trace:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small.jsonl"
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join(texts) + "\n")
        return load_rows(path)


def tensor(name: str, shape: list[int], role: str, **more: Any) -> dict[str, Any]:
    return {"tensor": name, "shape": shape, "dtype": "bf16", "role": role, **more}


def small_product(k: int, n: int) -> Trace:
    return lines(
        tensor("x", [4, k], "input"),
        tensor("w", [k, n], "weight"),
        tensor("y", [4, n], "activation", output=True),
        {
            "operator": "mm",
            "kind": "gemm",
            "dims": {"batch": 1, "m": 4, "n": n, "k": k},
            "reads": ["x", "w"],
            "writes": ["y"],
        },
    )


def small_decode(
    *, keys: int = 16, queries: int = 1, vector: int | None = None, cache_shape: list[int] | None = None,
    before: list[dict[str, Any]] | None = None, reads: list[str] | None = None,
) -> Trace:  # fmt: skip
    """Two sequences of two heads of eight over a cache of `keys`."""
    rows = 2 * 2 * queries
    vector = rows * (4 * keys + 8) if vector is None else vector
    shape = cache_shape or [2, 2, keys, 8]
    sizes = {"batch": 2, "heads": 2, "kv_heads": 2, "queries": queries, "keys": keys, "head_dim": 8, "causal": 0}
    return lines(
        tensor("q", [2, 2, queries, 8], "input"),
        tensor("k", shape, "kv_cache"),
        tensor("v", shape, "kv_cache"),
        *(before or []),
        tensor("o", [2, 2, queries, 8], "activation", output=True),
        {
            "operator": "attention", "kind": "attention", "reads": reads or ["q", "k", "v"], "writes": ["o"],
            "dims": sizes,
            "flops": {"matrix": 4 * rows * keys * 8, "vector": vector, "special": rows * (keys + 1)},
        },
    )  # fmt: skip


def test_the_small_decode_step_can_be_changed() -> None:
    trace = hs.variant(small_decode(), batch=6, context=48, tokens=2)
    assert bytes_of(trace.graph, Role.KV_CACHE) == 2 * 6 * 2 * 49 * 8 * 2


COPY = {"operator": "copy", "kind": "copy", "reads": ["k"], "writes": ["c"]}


@pytest.mark.parametrize(
    ("make", "change", "why"),
    [
        (lambda: bundled("resnet50-infer"), {"context": 64}, "has no KV cache"),
        (lambda: bundled("llama3-8b-prefill"), {"batch": 2}, "has no KV cache"),
        (lambda: bundled("gpt2-train"), {"batch": 2}, "is a training step"),
        (lambda: bundled("gpt2-train"), {"weights": "fp8"}, "whose weights are updated"),
        (lambda: bundled("gpt2-large-prefill"), {"tokens": 4}, "has no KV cache"),
        (lambda: small_product(8, 8), {"context": 4}, "has no KV cache"),
        (lambda: small_decode(queries=4), {"context": 4}, "more than one query"),
        (lambda: small_decode(vector=1), {"context": 4}, "not that of fused attention"),
        (lambda: small_decode(cache_shape=[2, 16, 2, 8]), {"context": 4}, "in the shape [2, 16, 2, 8]"),
        (
            lambda: small_decode(before=[tensor("c", [2, 2, 16, 8], "activation"), COPY]),
            {"context": 4},
            "reads its KV cache in 'copy'",
        ),
        (
            lambda: small_decode(before=[tensor("mask", [2, 1, 1, 16], "input")], reads=["q", "k", "v", "mask"]),
            {"context": 4},
            "a mask (mask) over the context",
        ),
        (
            lambda: small_decode(before=[tensor("table", [16], "input")], reads=["q", "k", "v", "table"]),
            {"batch": 4},
            "a mask (table)",
        ),
        (
            lambda: small_decode(before=[tensor("scale", [3], "input")], reads=["q", "k", "v", "scale"]),
            {"batch": 4},
            "input scale has no row per sequence",
        ),
        (small_decode, {"batch": 1_000_000_001}, "is 1000000001"),
        (small_decode, {"context": 0}, "is 0"),
        (small_decode, {"tokens": True}, "is True"),
        (small_decode, {"tokens": 2, "stride": 0}, "is 0"),
        (lambda: decode(), {"batch": 10**9, "context": 10**9}, "2^62"),
        (lambda: decode(), {"weights": "fp9"}, "'fp9' is not a format of weights"),
        (small_decode, {"weights": "fp8"}, "has no named weights wider than FP8"),
        (lambda: hs.variant(decode(), weights="fp8"), {"weights": "fp8"}, "has no named weights wider than FP8"),
    ],
)
def test_what_does_not_follow_is_refused_in_one_line(
    make: Callable[[], Trace], change: dict[str, Any], why: str
) -> None:
    with pytest.raises(TraceError) as raised:
        hs.variant(make(), **change)
    text = str(raised.value)
    assert why in text
    assert "expected" in text
    assert "\n" not in text


def test_bits_of_all_formats_are_known() -> None:
    from hiersim.frontends.variants.weights import FORMATS

    assert all(BITS[form.dtype] <= 8 for form in FORMATS.values())
