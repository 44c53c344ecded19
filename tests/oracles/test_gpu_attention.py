"""Attention of a library on matrix units of threads: whole blocks, tables of pages, and what a power limit leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from build import design_from, trace_of
from hiersim.fusion.eager import eager
from hiersim.lowering.rows import rows_of_kernels
from hiersim.lowering.workload import prepare
from hiersim.model.design import Design
from hiersim.model.trace import Trace
from hiersim.run import simulate

CORE = {"scope": "core", "management": "scratchpad"}
HEAD = 64
RATE = 250
"""FLOPs of a core per ns: 1 TFLOP/s on four cores."""


def gpu(*, asynchronous: bool = False, efficiency: float = 1.0, special: str = "1000 TFLOP/s", **more: Any) -> Design:
    """Four cores of 1 GHz that run threads, with 256 KiB of registers; a cache of 100 ns; a free far tier."""
    shared = {"scope": "shared", "bandwidth": "unlimited"}
    memory = {
        "registers": {**CORE, "capacity": "256 KiB"}, "smem": {**CORE, "capacity": "227 KiB"},
        "l2": {**shared, "management": "cache", "capacity": "1 GB", "latency": "100 ns"},
        "dram": {**shared, "management": "scratchpad", "capacity": "64 GB"},
    }  # fmt: skip
    matrix = {
        "tile": [64 if asynchronous else 8, 8, 8], "peak": {"bf16": "1 TFLOP/s"}, "asynchronous": asynchronous,
        "efficiency": efficiency,
    }  # fmt: skip
    vector = {"peak": {"fp32": "1000 TFLOP/s"}, "special": special}
    return design_from(memory=memory, compute__matrix=matrix, compute__threads=1024, compute__vector=vector, **more)


def attention(
    folder: Path, *, batch: int, queries: int, keys: int, masked: bool = False, paged: bool = False, special: int = 1
) -> Trace:
    """Attention of one head, and of `queries` heads that share keys where there is one query.

    `special` functions are asked for each score.
    """
    shape, cache = [batch, queries, HEAD], [batch, keys, HEAD]
    pairs = queries * keys
    hidden = queries * (queries - 1) // 2 if masked else 0
    flops = {
        "matrix": 4 * batch * pairs * HEAD,
        "masked": 4 * batch * hidden * HEAD,
        "special": special * batch * pairs,
    }
    dims = {
        "batch": batch, "heads": 1, "kv_heads": 1, "queries": queries, "keys": keys, "head_dim": HEAD,
        "causal": int(masked),
    }  # fmt: skip
    table = [{"tensor": "pages", "shape": [batch, 1], "dtype": "int32", "role": "constant"}] if paged else []
    return trace_of(
        [
            {"tensor": "q", "shape": shape, "dtype": "bf16", "role": "input"},
            {"tensor": "k", "shape": cache, "dtype": "bf16", "role": "kv_cache"},
            {"tensor": "v", "shape": cache, "dtype": "bf16", "role": "kv_cache"},
            *table,
            {"tensor": "y", "shape": shape, "dtype": "bf16", "role": "activation", "output": True},
            {"operator": "attention", "kind": "attention", "dims": dims, "flops": flops,
             "reads": ["q", "k", "v", *(["pages"] if paged else [])], "writes": ["y"]},
        ],
        folder,
    )  # fmt: skip


def block_ticks(queries: int, keys: int) -> float:
    """Products of one block on one core: two of queries x keys x head, a multiply-add two FLOPs."""
    return 4 * queries * keys * HEAD / RATE * 1000


@pytest.mark.parametrize(("queries", "keys", "whole"), [(1, 1, 128), (5, 100, 128), (128, 128, 128), (7, 129, 256)])
def test_a_block_has_its_size_for_however_few_queries_and_keys(
    queries: int, keys: int, whole: int, tmp_path: Path
) -> None:
    """128 queries by 128 keys at a time, four blocks on four cores."""
    time = simulate(attention(tmp_path, batch=4, queries=queries, keys=keys), gpu()).makespan
    assert time == pytest.approx(block_ticks(128, whole), rel=0.03)


def test_an_operator_without_element_wise_work_has_none_in_its_whole_blocks_either(tmp_path: Path) -> None:
    """Its dtype is then one that nobody asked the vector unit for."""
    time = simulate(attention(tmp_path, batch=4, queries=5, keys=100, special=0), gpu()).makespan
    assert time == pytest.approx(block_ticks(128, 128), rel=0.03)


def test_one_group_of_warps_goes_alone_where_products_are_asynchronous(tmp_path: Path) -> None:
    few, many = (
        simulate(attention(tmp_path, batch=4, queries=queries, keys=1024), gpu(asynchronous=True)).makespan
        for queries in (1, 65)
    )
    assert few == pytest.approx(block_ticks(64, 1024), rel=0.03)
    assert many == pytest.approx(block_ticks(128, 1024), rel=0.03)


def test_blocks_on_the_edge_of_a_mask_are_computed_whole(tmp_path: Path) -> None:
    """Eight blocks of 128 queries see 128, 256, ... 1 024 keys: 4 608 for each of four heads, one on each core.

    The longest block is among the last ones, so that all others come before it and cores stand by at its end.
    """
    time = simulate(attention(tmp_path, batch=4, queries=1024, keys=1024, masked=True), gpu()).makespan
    mean = (128 + 1024) / 2
    assert time == pytest.approx(block_ticks(128, 8 * mean + 1024 - mean), rel=0.03)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_block_whose_keys_a_table_finds_waits_for_it(asynchronous: bool, tmp_path: Path) -> None:
    """Of ten blocks on each core nine begin when the one before has ended, so many latencies of the cache later."""
    trace = attention(tmp_path, batch=40, queries=1, keys=64, paged=True)
    none, waits = (
        simulate(trace, gpu(asynchronous=asynchronous, constants__table_waits=count)).makespan for count in (1, 21)
    )
    assert waits - none == 9 * 20 * 100_000
    plain = attention(tmp_path, batch=40, queries=1, keys=64)
    assert simulate(plain, gpu(asynchronous=asynchronous, constants__table_waits=21)).makespan < none


@pytest.mark.parametrize(("special", "hidden"), [("1000 TFLOP/s", True), ("10 GFLOP/s", True), ("2 GFLOP/s", False)])
def test_products_that_rest_during_softmax_run_at_their_peak(special: str, hidden: bool, tmp_path: Path) -> None:
    """A sustained share of one half holds for the mean: softmax up to as long as the products fills the rest."""
    trace = attention(tmp_path, batch=4, queries=128, keys=4096)
    design = gpu(asynchronous=True, efficiency=0.5, special=special)
    exponentials = 128 * 4096 * 4 / float(design.compute.vector.special or 0) * 1e12
    products = block_ticks(128, 4096)
    expected = max(2 * products, products + exponentials)
    assert (expected == 2 * products) is hidden
    assert simulate(trace, design).makespan == pytest.approx(expected, rel=0.03)


def test_a_token_stored_in_a_page_has_a_block(tmp_path: Path) -> None:
    """Up to 512 threads, each block with waits of its own: twice the tokens beyond what is resident, twice the time."""

    def store(tokens: int, name: str) -> Trace:
        new = {"shape": [tokens, 4, HEAD], "dtype": "bf16"}
        return trace_of(
            [
                *({"tensor": tensor, **new, "role": "input"} for tensor in "kv"),
                *({"tensor": f"new_{tensor}", **new, "role": "activation", "output": True} for tensor in "kv"),
                {"operator": name, "kind": "copy", "dims": {}, "reads": ["k", "v"], "writes": ["new_k", "new_v"]},
            ],
            tmp_path,
        )

    rows = rows_of_kernels(prepare(eager(store(300, "_C_cache_ops::reshape_and_cache_flash"))).graph)
    assert (rows.rows.tolist(), rows.threads.tolist()) == ([300], [256])
    design = gpu(compute__exchange="500 ns")
    one, two = (simulate(store(tokens, "reshape_and_cache_flash"), design).makespan for tokens in (1600, 3200))
    assert two == pytest.approx(2 * one, rel=0.1)
    assert simulate(store(3200, "store_cache"), design).makespan < two / 10


@pytest.mark.parametrize("masked", [False, True])
def test_a_tier_behind_a_small_cache_supplies_what_the_rows_of_each_wave_ask_for(masked: bool, tmp_path: Path) -> None:
    """4 096 queries on four cores are waves that each go over keys and values again; a mask leaves half of them out."""
    queries, line = 4096, 2 * HEAD
    trace = attention(tmp_path, batch=1, queries=queries, keys=queries, masked=masked)
    design = gpu().replace({"memory.l2.capacity": "1 KiB"})
    program = simulate(trace, design).program
    read, _ = program.traffic()
    near, far = (int(read[program.tiers.index(name)]) for name in ("l2", "dram"))
    blocks = queries // 128
    waves = blocks // 4
    both = 2 * queries * line
    share = 0.5 + 0.5 / blocks if masked else 1.0  # whole blocks on the edge of the mask
    assert near == pytest.approx(queries * line + blocks * share * both, rel=0.02)
    assert far == pytest.approx(queries * line + waves * share * both, rel=0.02)
