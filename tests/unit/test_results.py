"""A result draws itself, and its JSON is the same for the same inputs."""

from __future__ import annotations

from pathlib import Path

import pytest

import hiersim as hs

TRACE = Path(__file__).parents[2] / "docs" / "examples" / "relu.jsonl"


@pytest.fixture(scope="module")
def result() -> hs.Result:
    return hs.simulate(hs.load_trace(TRACE), hs.load_design("tiny"))


def test_a_result_draws_itself_with_its_own_figures(result: hs.Result) -> None:
    html = result._repr_html_()
    assert html.startswith("<div") and "<svg" in html and "<script" not in html
    for text in ("relu · tiny · eager", "10.61 us", "99.9 %", "dispatch", "12.29 kB"):
        assert text in html


def test_json_is_a_function_of_the_inputs(result: hs.Result) -> None:
    again = hs.simulate(hs.load_trace(TRACE), hs.load_design("tiny"))
    assert result.to_json() == again.to_json()


def test_the_fingerprint_follows_the_design(result: hs.Result) -> None:
    changed = hs.simulate(hs.load_trace(TRACE), hs.load_design("tiny").replace({"memory.hbm.bandwidth": "2x"}))
    assert changed.inputs_sha256 != result.inputs_sha256
    assert changed.makespan < result.makespan


def test_a_price_never_changes_a_time(result: hs.Result) -> None:
    dear = hs.simulate(hs.load_trace(TRACE), hs.load_design("tiny").replace({"memory.hbm.price": "1000 $/GB"}))
    assert dear.makespan == result.makespan
    assert dear.memory_cost["hbm"] == pytest.approx(1000.0)
    assert result.memory_cost["hbm"] == pytest.approx(10.0)


def test_kernel_rows_add_up_to_the_makespan(result: hs.Result) -> None:
    total = sum(value for row in result.kernel_rows for key, value in row.items() if key.endswith("_ticks"))
    spans = sum(row["start_ticks"] + row["end_ticks"] for row in result.kernel_rows)
    assert total - spans == result.makespan


def test_shares_of_an_engine_add_up(result: hs.Result) -> None:
    entries = {row.entry for row in result.ledger if row.engine == "cores"}
    assert sum(result.share(entry) for entry in entries) == pytest.approx(1.0)
    waiting = sum(result.share(entry) for entry in entries - {"useful", "padding", "tail"})
    assert waiting == pytest.approx(result.stall_fraction)
    hbm = sum(row.ticks for row in result.ledger if row.engine == "cores" and row.tier == "hbm")
    assert result.share(tier="hbm") == hbm / result.makespan > 0


@pytest.mark.parametrize("names", [{"entry": "dispatsch"}, {"tier": "hbn"}, {"engine": "core"}])
def test_a_share_of_nothing_known_is_an_error(result: hs.Result, names: dict[str, str]) -> None:
    with pytest.raises(hs.HiersimError, match="of the ledger"):
        result.share(**names)  # type: ignore[arg-type]


def test_public_names_are_there() -> None:
    for name in hs.__all__:
        assert getattr(hs, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'simulat'"):
        _ = hs.simulat
