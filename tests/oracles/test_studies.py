"""Headline studies: their identities, their claims, and the page that shows them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from hiersim.decisions.studies import names, study
from hiersim.decisions.studies.claims import Agreement, Study
from hiersim.errors import HiersimError
from hiersim.model.metrics import METRICS
from hiersim.views.studies import page

PAGE = Path(__file__).parents[2] / "docs" / "studies.md"
SECONDS = 30
"""Of one processor: what a study may take."""


@cache
def answered(name: str) -> tuple[Study, float]:
    began = time.process_time()
    return study(name), time.process_time() - began


def rows(name: str) -> list[Mapping[str, Any]]:
    return [row for table in answered(name)[0].tables for row in table.rows]


def by_design(name: str, table: int = 0) -> dict[str, Mapping[str, Any]]:
    return {row["design"]: row for row in answered(name)[0].tables[table].rows}


@pytest.mark.parametrize("name", names())
def test_a_study_is_short_and_every_figure_has_a_word_in_the_glossary(name: str) -> None:
    found, seconds = answered(name)
    assert seconds < SECONDS
    assert found.claims
    assert all(claim.found for claim in found.claims)
    assert {key for row in rows(name) for key in row} - set(METRICS) == set()
    assert len({tuple(row) for table in found.tables for row in table.rows}) <= len(found.tables)


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == page(answered(name)[0] for name in names()), "run 'make docs'"


def test_an_unknown_study_names_the_nearest() -> None:
    with pytest.raises(HiersimError, match="'waiting'"):
        study("wating")


def test_gpus_wait_two_fifths_to_three_fifths_of_eager_training_on_h100_and_fusion_returns_half_of_it() -> None:
    eager = [row for row in rows("waiting") if row["fusion"] == "eager"]
    for row in rows("waiting"):
        assert sum(value for key, value in row.items() if key.endswith("_share")) == pytest.approx(1.0)
        if row["fusion"] == "eager":
            assert 0.35 < row["stall_fraction"] < 0.6
            assert row["speedup"] == 1
    assert all(0.4 <= row["stall_fraction"] <= 0.6 for row in eager if row["design"] == "h100-sxm")
    assert [claim.agrees for claim in answered("waiting")[0].claims] == [Agreement.PARTLY, Agreement.YES]


def test_what_compilers_save_adds_up_and_the_newest_gpu_gains_most_where_there_is_a_tenth_to_gain() -> None:
    for row in rows("compilers"):
        saved = sum(value for key, value in row.items() if key.endswith("_saved"))
        assert saved == pytest.approx(1 - 1 / row["speedup"])
    for table in answered("compilers")[0].tables:
        gains = [row["speedup"] for row in table.rows]
        assert gains == sorted(gains, reverse=True)
        assert table.rows[0]["design"] == "h100-sxm" or gains[0] < 1.1
    assert sum(table.rows[0]["speedup"] > 1.5 for table in answered("compilers")[0].tables) >= 3


def test_prefill_wants_flops_on_a100_and_decode_wants_bandwidth_everywhere() -> None:
    prefill, decode, batch = (by_design("serving", table) for table in range(3))
    assert prefill["a100-80gb-sxm"]["flops_return"] > 0.5
    for design, row in decode.items():
        assert row["far_memory_return"] > 0.5
        assert row["flops_return"] < 0.05
        assert row["arithmetic_intensity"] < 2 < prefill[design]["arithmetic_intensity"]
        assert 16 * row["tokens_per_second"] < batch[design]["tokens_per_second"] < 32 * row["tokens_per_second"]


@pytest.mark.parametrize("name", ["serving", "generations"])
def test_what_all_purses_return_adds_up_to_one_but_for_kinks(name: str) -> None:
    for row in rows(name):
        assert sum(value for key, value in row.items() if key.endswith("_return")) == pytest.approx(1.0, abs=0.05)


def test_flops_returned_a_third_on_p100_and_return_a_tenth_on_b200() -> None:
    for table in range(3):
        found = by_design("generations", table)
        assert found["p100-sxm"]["flops_return"] > 0.3
        assert found["b200"]["flops_return"] < 0.15
        assert found["b200"]["near_memory_return"] + found["b200"]["far_memory_return"] > 0.5
        times = [row["time_s"] for row in found.values()]
        assert times == sorted(times, reverse=True)


def test_sram_costs_hundreds_of_dollars_a_gb_and_returns_speed_to_decode_alone() -> None:
    nodes, models = (table.rows for table in answered("sram")[0].tables)
    assert {row["process"]: 100 < row["usd_per_gb"] < 1000 for row in nodes}["5nm"]
    for row in models:
        assert row["sram_usd"] > 10 * row["hbm_usd"]
        assert (row["speedup"] > 1.3) == row["trace"].startswith("llama3-8b-decode")
    assert answered("sram")[0].claims[0].agrees is Agreement.YES


def test_hbm_costs_more_than_the_dies_and_a_few_per_cent_of_what_is_paid() -> None:
    found = by_design("hbm")
    assert all(row["hbm_of_dies_share"] > 0.5 for row in found.values())
    h100 = found["h100-sxm"]
    assert h100["hbm_usd"] == pytest.approx(80 * h100["usd_per_gb"])
    assert h100["hbm_of_price_share"] == pytest.approx(h100["hbm_usd"] / h100["price_usd"])
    assert found["tpu-v4"]["hbm_of_price_share"] is None  # nobody says what it costs
