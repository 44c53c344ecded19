"""What is told of a spilled run: of kernels and not of the copies among them; what is missing where it is refused."""

from __future__ import annotations

import dataclasses
import json
from functools import cache

import numpy as np
import pytest

import hiersim as hs
from hiersim.errors import CapacityError, DesignError, HiersimError
from hiersim.explanation import explain, find_kernel, kernel_facts
from hiersim.lowering.planner import spread_keys
from hiersim.model.operators import Role
from hiersim.results import Result
from hiersim.units import LARGEST
from hiersim.views.explanation import kernel_lines
from hiersim.views.perfetto import chrome_json


@cache
def spilled() -> Result:
    """ResNet-50 with its weights in host memory."""
    design = hs.load_design("t4").replace({"placement.pins.weight": "dram"})
    return hs.simulate(hs.load_trace("resnet50-infer"), design)


def rows() -> list[dict[str, object]]:
    """The table rows of kernels that are no copies."""
    return [row for row in spilled().kernel_rows if not str(row["name"]).startswith("copy ")]


def test_the_run_has_copies() -> None:
    result = spilled()
    assert len(result.program) > len(result.graph) == len(rows())


def test_memory_rows_have_the_times_of_their_kernels() -> None:
    times = [(row["name"], row["start_ticks"], row["end_ticks"]) for row in rows()]
    assert [(row["name"], row["start_ticks"], row["end_ticks"]) for row in spilled().memory_rows] == times


@pytest.mark.parametrize("kernel", [0, 50, 100, 173])
def test_a_kernel_is_explained_by_its_own_times_traffic_and_ledger(kernel: int) -> None:
    result, row = spilled(), rows()[kernel]
    facts = kernel_facts(result, int(result.program.places[kernel]))
    assert facts["kernel"] == kernel
    assert (facts["name"], facts["start_ticks"], facts["end_ticks"]) == tuple(
        row[key] for key in ("name", "start_ticks", "end_ticks")
    )
    useful = sum(item["ticks"] for item in facts["ledger"] if item["entry"] == "useful")
    assert useful == row["useful_ticks"]
    home = facts["traffic_bytes"]["gddr"]
    assert home["read"] + home["write"] > 0
    assert "dram" not in facts["busy_ticks"]


def test_of_one_name_the_kernel_that_takes_longest_is_explained() -> None:
    name = "aten.convolution.default"
    longest = max(int(str(row["end_ticks"])) - int(str(row["start_ticks"])) for row in rows() if row["name"] == name)
    chosen = spilled().kernel_rows[find_kernel(spilled(), name)]
    assert chosen["name"] == name
    assert int(str(chosen["end_ticks"])) - int(str(chosen["start_ticks"])) == longest


def test_a_copy_is_explained_by_its_name() -> None:
    """A copy moves the bytes of its tensor through DRAM, the link and GDDR, and does nothing else."""
    result = spilled()
    chosen = next(row for row in result.kernel_rows if str(row["name"]).startswith("copy "))
    answer = explain(result, str(chosen["name"])).to_dict()["kernel"]
    assert (answer["name"], answer["start_ticks"], answer["kernel"]) == (chosen["name"], chosen["start_ticks"], None)
    assert answer["operators"] == [] and answer["tile"] == {} and answer["flops"] == {"matrix": 0, "vector": 0}
    moved = answer["traffic_bytes"]
    table = result.graph.tensors
    size = int(table.storage_bytes[table.storage_names.index(str(chosen["name"]).split()[1])])
    assert moved["dram"]["read"] == moved["pcie"]["read"] == moved["gddr"]["write"] == size
    assert answer["bound"] == "pcie.read"
    lines = kernel_lines(answer)
    assert lines[0].startswith(f"{chosen['name']}, ")


def test_a_wrong_name_is_answered_with_the_nearest_copy() -> None:
    with pytest.raises(HiersimError, match="is not a kernel of this run") as caught:
        explain(spilled(), "copy conv1.weigth from dram")
    assert "copy conv1.weight from dram" in str(caught.value.expected)


def test_counters_of_a_timeline_change_when_kernels_start() -> None:
    result = spilled()
    starts = set((result.timeline.start[result.program.places] / 1000).tolist())
    events = json.loads(chrome_json(result))["traceEvents"]
    counters = [event for event in events if event["ph"] == "C" and " live: " in event["name"]]
    assert {event["ts"] for event in counters} <= starts
    assert {event["name"].split(" live: ")[0] for event in counters} == {"gddr", "dram"}
    at_home = {event["name"]: event["args"]["bytes"] for event in counters if event["name"].startswith("dram")}
    assert sum(at_home.values()) == result.peak["dram"], "weights stay there all the time"


def test_peak_memory_is_what_the_last_tier_holds_and_no_more() -> None:
    """Weights of 51 MB live in DRAM: of them, GDDR holds those that a kernel or a copy needs now."""
    result = spilled()
    memory, table = result.to_dict()["peak_memory"], result.graph.tensors
    weights = int(table.storage_bytes[table.storage_role == Role.WEIGHT].sum())
    assert 0 < memory["largest"]["weight"] < weights // 4
    assert sum(size for role, size in memory["at_peak"].items() if role != "saved") == result.peak["gddr"]
    assert max(row["total_bytes"] for row in result.memory_rows) == result.peak["gddr"]
    assert result.memory_rows[memory["kernel"]]["total_bytes"] == result.peak["gddr"]


def test_saved_activations_in_host_memory_do_not_count_as_held() -> None:
    """Activations of a training step in DRAM: what the backward pass still reads is there, and not in HBM."""
    trace, design = hs.load_trace("gpt2-train"), hs.load_design("h100-sxm")
    near, far = (hs.simulate(trace, machine) for machine in (design, design.replace(
        {"placement.pins.activation": "dram"})))  # fmt: skip
    assert int(far.live.saved.max()) < int(near.live.saved.max()) // 3
    assert int(far.live.total.max()) == far.peak["hbm"] < near.peak["hbm"]
    assert bool((far.live.by_role >= 0).all())


@pytest.mark.parametrize("host", ["no tier", "dram"])
def test_a_device_of_the_size_that_the_error_asks_for_is_enough(host: str) -> None:
    trace, design = hs.load_trace("resnet50-infer"), hs.load_design("t4")
    if host == "no tier":
        design = dataclasses.replace(design, memory=(*design.core_tiers, *design.shared_tiers), links=())
    small = design.replace({"memory.gddr.capacity": "100 MB"})
    with pytest.raises(CapacityError, match="are missing") as caught:
        hs.simulate(trace, small)
    size = str(caught.value.expected).removeprefix("at least ").split(",")[0]
    assert hs.simulate(trace, small.replace({"memory.gddr.capacity": size})).makespan > 0


@pytest.mark.parametrize(("name", "tier"), [("t4", "gddr"), ("t4", "dram"), ("tiny", "hbm")])
def test_a_pin_that_matches_nothing_is_told_where_all_fits_and_changes_nothing_else(name: str, tier: str) -> None:
    trace, design = hs.load_trace("resnet50-infer"), hs.load_design(name)
    plain = hs.simulate(trace, design).to_dict()
    pinned = hs.simulate(trace, design.replace({"placement.pins.kv_chache": tier})).to_dict()
    told = "pin 'kv_chache' matches no tensor of this trace"
    assert [text for text in pinned["warnings"] if text != told] == plain["warnings"]
    assert told in pinned["warnings"]
    assert [key for key in plain if plain[key] != pinned[key]] == ["inputs_sha256", "warnings"]


def test_kernels_launches_and_copies_that_together_take_too_long_are_refused() -> None:
    each = {"host.start": "12000 s", "links.pcie.read_bandwidth": "16 B/s", "memory.gddr.bandwidth": "4 kB/s"}
    design = hs.load_design("t4").replace({"placement.pins.weight": "dram"})
    trace = hs.load_trace("resnet50-infer")
    for path, value in each.items():
        assert hs.simulate(trace, design.replace({path: value})).makespan < LARGEST
    with pytest.raises(DesignError, match="more than 53 days"):
        hs.simulate(trace, design.replace(each))


def test_pinned_tensors_are_placed_before_all_others() -> None:
    """1 GB of moments that are touched once come last by density; pinned, they must not find 6 GB full of the rest."""
    design = hs.load_design("h100-sxm").replace({"memory.hbm.capacity": "6 GB"})
    trace = hs.load_trace("gpt2-train")
    homes = [
        {row.tier for row in hs.simulate(trace, machine).placement if row.role == "optimizer_state"}
        for machine in (design, design.replace({"placement.pins.optimizer_state": "hbm"}))
    ]
    assert "dram" in homes[0]
    assert homes[1] == {"hbm"}


@pytest.mark.parametrize("kept", [1, 3, 8, 13, 31, 32, 64])
def test_of_equals_those_that_go_are_spread_evenly(kept: int) -> None:
    """However many of 64 equal tensors stay, no gap between two is more than twice the average."""
    value = np.array([2.0, 2.0, *[1.0] * 64, 0.5])
    key = spread_keys(value)
    stay = np.sort(np.argsort(key[2:-1], kind="stable")[:kept])
    assert int(np.diff(np.append(stay, 64)).max()) <= 2 * 64 / kept
    assert stay[0] == 0
    assert key[0] == key[2] == key[-1] == 0 < key[1]  # each run on its own


def test_room_for_copies_is_kept_where_it_is_needed_and_not_all_the_time() -> None:
    """Gradients fill the end of a training step, copies of activations its middle: both fit, at different times."""
    trace, design = hs.load_trace("gpt2-train"), hs.load_design("h100-sxm")
    peak = hs.simulate(trace, design).peak["hbm"]
    tight = design.replace({"memory.hbm.capacity": f"{6 * peak // 10} B", "placement.pins.gradient": "hbm"})
    result = hs.simulate(trace, tight)
    assert {placed.tier for placed in result.placement if placed.role == "gradient"} == {"hbm"}
    assert any(placed.tier == "dram" for placed in result.placement)


def test_a_pin_needs_a_pattern() -> None:
    with pytest.raises(DesignError, match="names no tensors"):
        hs.load_design("t4").replace({"placement.pins.": "dram"})
