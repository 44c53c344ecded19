"""Elasticities equal their closed forms where there is one, and replays everywhere else."""

from __future__ import annotations

from itertools import pairwise
from math import log
from pathlib import Path

import pytest

from build import design_from, matmul, pointwise, trace_of
from hiersim.config.load import load_design
from hiersim.decisions.case import Case
from hiersim.decisions.elasticity import Advice, Shape, advise
from hiersim.frontends.load import load_trace

CASES = [
    ("bert-large-prefill", "h100-sxm", "inductor"),
    ("llama3-8b-decode", "a100-80gb-sxm", "inductor"),
    ("gpt2-train", "h100-sxm", "eager"),
    ("resnet50-infer", "tpu-v4", "eager"),
    ("llama3-8b-prefill", "m1-max", "inductor"),
    ("gpt2-large-prefill", "l4", "eager"),
]


@pytest.fixture(scope="module", params=CASES, ids=["-".join(case) for case in CASES])
def advice(request: pytest.FixtureRequest) -> Advice:
    trace, design, fusion = request.param
    return advise(load_trace(trace), load_design(design), fusion)


def worth(advice: Advice) -> dict[str, float]:
    """Elasticities that are not zero, but for those of cores, which come with their units."""
    found = {row.resource.path: round(row.speed, 4) for row in advice.rows if row.resource.path != "compute.cores"}
    return {path: value for path, value in found.items() if value}


def test_a_run_that_only_computes_has_one_for_its_flops_and_zero_elsewhere(tmp_path: Path) -> None:
    found = advise(matmul(512, 512, 512, tmp_path), design_from())
    assert worth(found) == {"compute.matrix.peak": 1.0}
    assert found["compute.matrix.peak"].shape is Shape.SMOOTH
    assert {row.shape for row in found.rows if row.resource.path not in ("compute.matrix.peak", "compute.cores")} <= {
        Shape.FLAT,
        Shape.EDGE,
        Shape.STEP,  # fewer bytes of scratchpad are another tile
    }


def test_a_run_that_only_moves_bytes_has_one_for_its_bandwidth_and_zero_elsewhere(tmp_path: Path) -> None:
    design = design_from(compute__matrix=None, compute__buffer_depth=64, memory__dram__bandwidth="1 GB/s")
    found = advise(pointwise(100_000, tmp_path), design, paths=["memory.dram.bandwidth", "memory.dram.capacity"])
    assert worth(found) == {"memory.dram.bandwidth": 1.0}


def test_a_run_that_only_launches_has_one_for_its_launches_and_zero_elsewhere(tmp_path: Path) -> None:
    found = advise(pointwise(64, tmp_path, chain=20), design_from(host__launch_eager="5 us"))
    assert worth(found) == {"host.launch_eager": 1.0}


def test_a_port_that_serves_without_a_break_has_its_share_of_the_makespan(tmp_path: Path) -> None:
    """A product that a slow memory feeds: bytes x 1000 ticks, two latencies, and the last step's arithmetic."""
    design = design_from(memory__dram__bandwidth="1 GB/s", memory__dram__latency="1 us")
    found = advise(matmul(64, 64, 64, tmp_path), design)
    makespan, ports = found.result.makespan, worth(found)
    served = 1000 * sum(found.result.traffic["dram"].values())
    assert ports["memory.dram.bandwidth"] == pytest.approx(served / makespan, abs=2e-3)
    assert ports["memory.dram.latency"] == pytest.approx(2e6 / makespan, abs=2e-3)
    assert sum(ports.values()) == pytest.approx(1.0, abs=2e-3)


def test_time_and_energy_of_what_has_no_figure_are_unknown(tmp_path: Path) -> None:
    found = advise(pointwise(1000, tmp_path), design_from(memory__dram__bandwidth="1 GB/s"))
    assert {row.price for row in found.rows} == {None}
    assert {row.joules for row in found.rows} == {None}


def test_dollars_and_joules_follow_their_closed_form(tmp_path: Path) -> None:
    """Two priced tiers: the elasticity of $ is a tier's share of the bill; energy does not depend on a rate."""
    design = design_from(
        memory__dram__bandwidth="1 GB/s", memory__dram__price="2 $/GB", memory__dram__price_as_of="2024-01",
        memory__dram__energy="30 pJ/B", memory__smem__price="128000 $/GB", memory__smem__price_as_of="2024-01",
        sources={"memory": "chosen for this test"},
    )  # fmt: skip
    found = advise(pointwise(1000, tmp_path), design)
    dram, smem = 64 * 2, 4 * 256 * 1024 / 1e9 * 128000
    price = found["memory.dram.capacity"].price
    assert price is not None
    assert price.usd == pytest.approx(0.1 * dram)
    assert price.elasticity == pytest.approx(dram / (dram + smem), abs=0.02)  # the arc of 10 % more
    assert found["memory.dram.bandwidth"].price is None
    assert found["memory.dram.bandwidth"].joules == 0


def test_more_memory_adds_its_price_to_that_of_the_device() -> None:
    """80 GB at 15 $/GB in a device of 27500 $: 10 % more are 120 $ more."""
    design = load_design("h100-sxm")
    assert design.device.price is not None
    found = advise(load_trace("resnet50-infer"), design, paths=["memory.hbm.capacity", "memory.hbm.bandwidth"])
    added = float(design.tier("hbm").price or 0) * 8
    price = found["memory.hbm.capacity"].price
    assert price is not None
    assert price.usd == pytest.approx(added)
    assert price.elasticity == pytest.approx(log(1 + added / design.device.price) / log(1.1))
    assert found["memory.hbm.bandwidth"].price is None


def test_the_law_gives_replayed_times_within_one_per_cent(advice: Advice) -> None:
    """Larger steps than the one that the elasticity was taken with, and other ones than it was held against."""
    case, checked = advice.case, 0
    for row in advice.rows:
        if row.shape not in (Shape.SMOOTH, Shape.FLAT) or row.resource.whole:
            continue
        for factor in (0.95, 1.06):
            changes, real = row.resource.better(factor)
            replayed = case.run(changes).makespan
            assert row.ticks(real) == pytest.approx(replayed, rel=0.01), (row.resource.path, factor)
            checked += 1
    assert checked >= 20


def test_where_it_does_not_hold_the_replays_are_told(advice: Advice) -> None:
    for row in advice.rows:
        for side in filter(None, (row.more, row.less)):
            changes, factor = row.resource.better(side.factor)
            assert factor == pytest.approx(side.factor)
            if row.shape in (Shape.KINK, Shape.STEP, Shape.BENDS):
                assert Case.run(advice.case, changes).makespan == side.ticks


def test_rates_and_times_add_up_to_one(advice: Advice) -> None:
    """Euler's theorem and law 8; at a kink nobody gets the share that needs several resources together."""
    rates = [row for row in advice.rows if row.resource.scales_time]
    kinks = sum(
        abs(row.up.elasticity - row.down.elasticity)
        for row in rates
        if row.down is not None and row.shape in (Shape.KINK, Shape.STEP)
    )
    assert advice.scaling_sum == pytest.approx(1.0, abs=0.015 + kinks)
    if not kinks:
        assert len(rates) > 10


def test_the_largest_return_comes_first(advice: Advice) -> None:
    gains = [row.gain for row in advice.rows]
    assert all(after <= before + 1e-8 for before, after in pairwise(gains))


def test_a_capacity_on_the_edge_of_fitting_has_no_lower_side(tmp_path: Path) -> None:
    rows = [
        {"tensor": "x", "shape": [1000], "dtype": "fp32", "role": "input"},
        {"tensor": "y", "shape": [1000], "dtype": "fp32", "role": "activation", "output": True},
        {
            "operator": "aten.relu.default", "kind": "pointwise", "reads": ["x"], "writes": ["y"],
            "flops": {"vector": 1000},
        },
    ]  # fmt: skip
    design = design_from(
        memory__dram__bandwidth="1 GB/s", memory__dram__capacity="8000 B", memory__smem__capacity="4000 B"
    )
    found = advise(trace_of(rows, tmp_path), design)["memory.dram.capacity"]
    assert (found.shape, found.down, found.less, found.loss) == (Shape.EDGE, None, None, None)
