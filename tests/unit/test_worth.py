"""What a device costs per hour, run and throughput; and that a price never changes a time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hiersim as hs
from hiersim import cost
from hiersim.config.prices import load_prices

TINY = hs.load_design("tiny")
TRACE = hs.load_trace("resnet50-infer")
BOOK = load_prices()


@pytest.fixture(scope="module")
def result() -> hs.Result:
    return hs.simulate(TRACE, TINY)


def test_the_bill_of_a_run_is_the_formulas(result: hs.Result) -> None:
    bill = result.to_dict()["cost"]
    assert (bill["capital_usd"], bill["basis"]) == (None, None), "smem has no price"
    known = TINY.replace({"device.price": "8766 $", "device.price_as_of": "2024"})
    bill = hs.simulate(TRACE, known).to_dict()["cost"]
    assert (bill["capital_usd"], bill["basis"], bill["lifetime_years"]) == (8766, "device", 4)
    assert bill["usd_per_hour"] == pytest.approx(0.25)
    assert bill["stalled_usd_per_hour"] == pytest.approx(0.25 * result.stall_fraction)
    assert bill["usd_per_run"] == pytest.approx(0.25 * result.time / 3600)
    assert bill["energy_usd_per_run"] is None
    assert (bill["items"], bill["item_unit"]) == (32, "images")
    assert bill["usd_per_throughput"] == pytest.approx(8766 * result.time / 32)


@settings(max_examples=6, deadline=None)
@given(
    price=st.floats(0, 1e6).map(lambda value: f"{value:.3f}"),
    tier=st.sampled_from(["memory.smem", "memory.l2", "memory.hbm"]),
    joules=st.floats(0, 1e3).map(lambda value: f"{value:.3f} pJ/B"),
)
def test_prices_and_energies_never_change_a_time(result: hs.Result, price: str, tier: str, joules: str) -> None:
    changes = {
        f"{tier}.price": f"{price} $/GB", f"{tier}.price_as_of": "2024", f"{tier}.energy": joules,
        "device.price": f"{price} $", "device.price_as_of": "2024",
    }  # fmt: skip
    dear = hs.simulate(TRACE, TINY.replace(changes))
    assert dear.makespan == result.makespan
    assert dear.ledger == result.ledger
    assert dear.traffic == result.traffic


def test_energy_is_paid_for() -> None:
    spent = cost.run_cost(8766.0, 3600.0, 3.6e6, BOOK, years=1)
    assert (spent.capital_usd, spent.energy_usd) == (pytest.approx(1.0), pytest.approx(0.0804))
    assert spent.usd == pytest.approx(1.0804)
    assert cost.run_cost(8766.0, 3600.0, None, BOOK, years=1).usd == pytest.approx(1.0)


def test_joules_are_bytes_and_flops_at_the_figures_of_the_book() -> None:
    a100 = hs.simulate(TRACE, hs.load_design("a100-80gb-sxm"), "inductor")
    joules, moved = a100.energy, a100.traffic
    assert joules["hbm"] == pytest.approx(sum(moved["hbm"].values()) * 8 * 3.92e-12)
    assert joules["l2"] == pytest.approx(sum(moved["l2"].values()) * 1.75e-12)
    assert joules["compute"] == pytest.approx(sum(a100.program.flops) * 0.295e-12)
    assert joules["registers"] is None, "what moves within a core is not counted"
    assert joules["total"] == pytest.approx(sum(value for name, value in joules.items() if value and name != "total"))
    t4 = hs.simulate(TRACE, hs.load_design("t4"), "inductor")
    assert t4.energy["compute"] is None, "nobody published one for 12 nm"
    assert a100.cost["energy_usd_per_run"] == pytest.approx((joules["total"] or 0) / 3.6e6 * 0.0804)


def test_a_price_is_that_of_the_device_else_of_its_memory() -> None:
    h100, h200 = hs.load_design("h100-sxm"), hs.load_design("h200-sxm")
    assert cost.capital(h100) == cost.Capital(usd=27500, basis="device")
    memory = cost.capital(h200)
    assert memory is not None and memory.basis == "memory"
    assert memory.usd == pytest.approx(141 * 15.1, rel=0.03), "HBM is almost all of it"
    assert cost.capital(hs.load_design("tpu-v5e")) is None
    costs = cost.memory_cost(h100)
    assert costs["dram"] == pytest.approx(256 * 2.4) and costs["nvme"] == pytest.approx(3840 * 0.0259)
    assert costs["total"] == pytest.approx((cost.device_memory_cost(h100) or 0) + 256 * 2.4 + 3840 * 0.0259)


def test_a_changed_device_costs_the_difference_of_its_memories() -> None:
    h100 = hs.load_design("h100-sxm")
    larger = h100.replace({"memory.hbm.capacity": "2x"})
    found = cost.what_if_capital(h100, larger)
    assert found == cost.Capital(usd=pytest.approx(27500 + 80 * 15), basis="device, memory changed")
    assert cost.what_if_capital(h100, h100) == cost.capital(h100)


def test_break_even_is_where_both_are_worth_the_same() -> None:
    price = cost.break_even_price(1000.0, 2.0, 0.5)
    assert price == 4000
    assert cost.usd_per_throughput(price, 0.5) == cost.usd_per_throughput(1000.0, 2.0)
    assert cost.break_even_runs(100.0, 2.0, 150.0, 1.0) == 50
    assert cost.break_even_runs(100.0, 1.0, 150.0, 1.0) is None
    assert cost.break_even_runs(150.0, 1.0, 100.0, 1.0) == 0
    assert cost.break_even_runs(150.0, 1.0, 100.0, 2.0) is None


@pytest.mark.parametrize(
    ("trace", "work"),
    [
        ("gpt2-large-prefill", (4096, "tokens")),
        ("llama3-8b-decode-b32", (32, "tokens")),
        ("vit-large-infer", (16, "images")),
        ("bev-vision-infer", (1, "runs")),
        ("dit-xl-infer", (1, "runs")),
    ],
)
def test_the_work_of_a_run_is_read_off_its_trace(trace: str, work: tuple[int, str]) -> None:
    assert cost.work_of(hs.load_trace(trace)) == work


# Silicon


def test_sram_of_every_design_fits_on_its_silicon_but_of_none_that_cannot() -> None:
    from hiersim import bundled

    shares = {}
    for name in bundled.designs():
        fit = cost.sram_fit(hs.load_design(name), BOOK)
        if fit is not None and fit.share is not None:
            shares[name] = fit.share
            assert not list(fit.warnings()), name
    assert len(shares) > 25
    assert all(0.01 < share < 0.8 for share in shares.values())
    assert shares["what-if-h100-10x-sram"] == pytest.approx(10 * shares["h100-sxm"])


def test_what_does_not_fit_is_said(result: hs.Result) -> None:
    assert result.to_dict()["silicon"] is None, "tiny has no node"
    large = hs.load_design("h100-sxm").replace({"memory.l2.capacity": "2 GiB"})
    warnings = hs.simulate(TRACE, large).to_dict()["warnings"]
    (warning,) = (text for text in warnings if "mm2" in text)
    assert warning == "2,213 MB of SRAM take 1,051 mm2 in 5nm, more than the 814 mm2 of its silicon"
    silicon = hs.simulate(TRACE, large).to_dict()["silicon"]
    assert silicon["sram_share"] == pytest.approx(1.29, abs=0.01)
