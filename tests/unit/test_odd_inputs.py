"""Shapes and machines at the edge of sense are run, or refused in one line; the laws hold for all that run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hiersim.config.load import load_design
from hiersim.engines.compiled import last_counts
from hiersim.errors import DesignError, HiersimError, SimulationError
from hiersim.frontends.rows import load_rows
from hiersim.model.design import Design
from hiersim.model.trace import Trace
from hiersim.run import simulate

Row = dict[str, Any]
HEADER: Row = {"format": "hiersim-trace", "version": 1, "name": "odd"}


def tensor(name: str, *shape: int, role: str = "weight", dtype: str = "bf16", **more: Any) -> Row:
    return {"tensor": name, "shape": shape, "dtype": dtype, "role": role, **more}


def operator(kind: str, dims: Row | None = None, **more: Any) -> Row:
    return {"operator": f"aten.{kind}", "kind": kind, **({"dims": dims} if dims else {}), **more}


def gemm(batch: int, m: int, n: int, k: int) -> list[Row]:
    return [
        tensor("a", batch, m, k),
        tensor("b", batch, k, n),
        tensor("c", batch, m, n, role="activation", output=True),
        operator("gemm", {"batch": batch, "m": m, "n": n, "k": k}, reads=["a", "b"], writes=["c"]),
    ]


def conv(groups: int, m: int, n: int, k: int, **more: Any) -> list[Row]:
    dims = {"groups": groups, "m": m, "n": n, "k": k, "window": 9, "stride": 1}
    return [tensor("x", m, groups), tensor("w", groups, n, k), operator("conv", dims, reads=["x", "w"], **more)]


def attention(queries: int, keys: int, *, causal: int = 0, heads: int = 4, kv_heads: int = 2) -> list[Row]:
    dims = {
        "batch": 1, "heads": heads, "kv_heads": kv_heads, "queries": queries, "keys": keys, "head_dim": 16,
        "causal": causal,
    }  # fmt: skip
    matrix = 4 * heads * queries * keys * 16
    flops = {"matrix": matrix, "masked": matrix // 2 * causal, "vector": 4 * queries * keys, "special": queries * keys}
    return [
        tensor("q", heads, queries, 16),
        tensor("k", kv_heads, keys, 16),
        tensor("v", kv_heads, keys, 16),
        tensor("o", heads, queries, 16, role="activation", output=True),
        operator("attention", dims, reads=["q", "k", "v"], writes=["o"], flops=flops),
    ]


TRACES: dict[str, list[Row]] = {
    "a product of ones": gemm(1, 1, 1, 1),
    "a product smaller than a tile": gemm(1, 3, 5, 7),
    "an empty product": gemm(1, 0, 16, 16),
    "a product over nothing": gemm(1, 16, 16, 0),
    "an empty batch": gemm(0, 16, 16, 16),
    "a huge batch": gemm(700, 1, 1, 1),
    "a thin product": gemm(1, 1, 5000, 3),
    "a deep product": gemm(1, 8, 8, 10_000),
    "a product without operands": [operator("gemm", {"batch": 1, "m": 64, "n": 64, "k": 64})],
    "a product without FLOPs": [
        tensor("a", 64),
        operator("gemm", {"batch": 1, "m": 64, "n": 64, "k": 64}, reads=["a"], flops={"matrix": 0}),
    ],
    "a product with more FLOPs than its sizes": [
        tensor("a", 64),
        operator("gemm", {"batch": 1, "m": 1, "n": 1, "k": 1}, reads=["a"], flops={"matrix": 10**5}),
    ],
    "a product with fewer FLOPs than its sizes": [
        operator("gemm", {"batch": 1, "m": 64, "n": 64, "k": 64}, flops={"matrix": 7}),
    ],
    "a product that reads more than its sizes": [
        tensor("a", 100_000),
        tensor("b", 100_000),
        operator("gemm", {"batch": 1, "m": 8, "n": 8, "k": 8}, reads=["a", "b"]),
    ],
    "a fully masked product": [
        operator("gemm", {"batch": 1, "m": 8, "n": 8, "k": 8}, flops={"matrix": 1024, "masked": 1024}),
    ],
    "a depthwise convolution of 1000 groups": conv(1000, 196, 1, 9),
    "a convolution's two gradients at once": conv(4, 64, 8, 72, flops={"matrix": 2 * 2 * 4 * 64 * 8 * 72}),
    "attention of one query": attention(1, 300),
    "attention of one key": attention(300, 1),
    "attention over nothing": attention(16, 0),
    "causal attention": attention(100, 100, causal=1),
    "fully masked attention": [
        *attention(8, 8)[:4],
        operator(
            "attention",
            {"batch": 1, "heads": 4, "kv_heads": 2, "queries": 8, "keys": 8, "head_dim": 16, "causal": 1},
            reads=["q"], flops={"matrix": 4096, "masked": 4096},
        ),
    ],
    "more kv heads than heads": attention(16, 16, heads=2, kv_heads=4),
    "no bytes and no FLOPs": [operator("pointwise")],
    "FLOPs without bytes": [operator("pointwise", flops={"vector": 10**6, "special": 10})],
    "reads without writes": [tensor("x", 1000), operator("copy", reads=["x"])],
    "writes without reads": [
        tensor("x", 1000, role="activation", output=True), operator("pointwise", writes=["x"], flops={"vector": 1000}),
    ],
    "empty tensors": [
        tensor("x", 0), tensor("y", 0, role="activation"), operator("copy", reads=["x"], writes=["y"]),
    ],
    "a scalar": [tensor("x"), operator("sync", reads=["x"]), operator("copy", reads=["x"])],
    "one byte": [tensor("x", 1, dtype="int8"), operator("copy", reads=["x"])],
    "the same tensor ten times": [tensor("x", 100), operator("pointwise", reads=["x"] * 10, writes=["x"] * 2)],
    "overlapping views": [
        tensor("x", 1000, dtype="int8"),
        *({"tensor": f"v{n}", "shape": [900], "dtype": "int8", "storage": "x", "offset": n} for n in range(3)),
        operator("copy", reads=["v0"]),
        operator("pointwise", reads=["v0", "v1", "v2"], writes=["v1"]),
        operator("copy", reads=["x"]),
    ],
    "trailing views and syncs": [
        tensor("x", 100), operator("copy", reads=["x"]), operator("view", reads=["x"]), operator("sync", reads=["x"]),
    ],
    "leading views and syncs": [operator("view"), operator("sync"), operator("sync"), operator("pointwise")],
    "a free during views": [
        tensor("x", 100), tensor("y", 100, role="activation"), operator("copy", reads=["x"], writes=["y"]),
        operator("view", reads=["y"], frees=["y"]), operator("copy", reads=["x"]),
    ],
    "an input freed before any kernel": [tensor("x", 100), operator("view", frees=["x"]), operator("pointwise")],
    "a kernel on unknown arithmetic": [tensor("x", 9), operator("opaque", reads=["x"], dtype="int64")],
}  # fmt: skip

EVERYTHING_UNLIMITED = {
    "compute.matrix.peak.bf16": "unlimited", "compute.matrix.peak.fp32": "unlimited",
    "compute.vector.peak.fp32": "unlimited", "compute.vector.special": "unlimited",
    "memory.l2.bandwidth": "unlimited", "memory.hbm.bandwidth": "unlimited",
    "memory.l2.latency": "0 ns", "memory.hbm.latency": "0 ns",
}  # fmt: skip
NO_HOST = {f"host.{key}": "0 ns" for key in ("launch_eager", "launch_compiled", "launch_view", "latency", "start")}
DESIGNS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "one core": {"compute.cores": 1},
    "a million cores": {"compute.cores": 10**6},
    "depth 1": {"compute.buffer_depth": 1},
    "depth 100": {"compute.buffer_depth": 100},
    "queue 1": {"host.queue": 1},
    "no host cost": NO_HOST,
    "unlimited rates": EVERYTHING_UNLIMITED,
    "unlimited rates and no host cost": {**EVERYTHING_UNLIMITED, **NO_HOST},
    "huge latency": {"memory.hbm.latency": "1 s"},
    "a scratchpad of 64 bytes": {"memory.smem.capacity": "64 B"},
    "a scratchpad of a terabyte": {"memory.smem.capacity": "1 TB"},
    "a cache of one byte": {"memory.l2.capacity": "1 B"},
    "a cache larger than the last tier": {"memory.l2.capacity": "100 GB"},
    "a native tile larger than the problem": {"compute.matrix.tile": [4096, 4096, 4096]},
    "a native tile of one": {"compute.matrix.tile": [1, 1, 1]},
    "slow memory": {"memory.hbm.bandwidth": "1 kB/s"},
}


@pytest.fixture
def tiny() -> Design:
    return load_design("tiny")


def trace_of(rows: list[Row], folder: Path) -> Trace:
    path = folder / "odd.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in [HEADER, *rows]))
    return load_rows(path)


@pytest.mark.parametrize("machine", DESIGNS)
@pytest.mark.parametrize("name", TRACES)
def test_an_odd_trace_on_an_odd_machine_keeps_every_law(name: str, machine: str, tiny: Design, tmp_path: Path) -> None:
    result = simulate(trace_of(TRACES[name], tmp_path), tiny.replace(DESIGNS[machine]), keep_log=True)  # audited
    assert result.makespan >= result.bounds.ticks
    assert json.loads(result.to_json())["makespan_ticks"] == result.makespan
    assert all(0 <= share <= 1 for share in result.utilization.values())


@pytest.mark.parametrize("shared", [1, 2, 3, 4])
@pytest.mark.parametrize("name", TRACES)
def test_any_number_of_shared_tiers_keeps_every_law(name: str, shared: int, tiny: Design, tmp_path: Path) -> None:
    import dataclasses

    smem, cache, home = tiny.memory
    middle = tuple(dataclasses.replace(cache, name=f"l{level}") for level in range(2, shared + 1))
    design = dataclasses.replace(tiny, memory=(smem, *middle, home)).checked()
    simulate(trace_of(TRACES[name], tmp_path), design, keep_log=True)


@pytest.mark.parametrize(
    "changes",
    [
        {"memory.hbm.bandwidth": "1 B/s"},
        {"memory.l2.bandwidth": "1 B/s"},
        {"memory.hbm.latency": "1000000 s"},
        {"compute.matrix.peak.bf16": "1 FLOP/s"},
        {"host.launch_eager": "4000000 s"},
    ],
    ids=str,
)
def test_a_machine_too_slow_for_64_bits_is_refused_in_one_line(
    changes: dict[str, str], tiny: Design, tmp_path: Path
) -> None:
    rows = [*gemm(1, 2000, 2000, 2000), operator("pointwise")]
    with pytest.raises(DesignError, match="more than 53 days"):
        simulate(trace_of(rows, tmp_path), tiny.replace(changes))


def test_a_program_that_would_never_end_is_refused_or_skipped_through(tiny: Design, tmp_path: Path) -> None:
    rows = [operator("gemm", {"batch": 10**9, "m": 64, "n": 64, "k": 64})]
    with pytest.raises((SimulationError, DesignError)) as caught:
        simulate(trace_of(rows, tmp_path), tiny, engine_name="reference")
    assert "cannot play" in str(caught.value)
    result = simulate(trace_of(rows, tmp_path), tiny)
    assert result.timeline.ledger_totals.sum(axis=1).tolist() == [result.makespan] * 3
    assert last_counts()["stages"] < 1000 < last_counts()["stages_skipped"]
    with pytest.raises(HiersimError) as caught_too:
        simulate(trace_of([operator("gemm", {"batch": 2**59, "m": 1, "n": 1, "k": 1})], tmp_path), tiny)
    assert "please report" not in str(caught_too.value)
