"""Figures of money and silicon survive the table of a sweep: fractions, texts, and what is unknown."""

from __future__ import annotations

import json

import hiersim as hs

TRACE = hs.load_trace("resnet50-infer")
DESIGNS = ("h100-sxm", "dojo-d1", "tiny")


def test_rows_of_a_sweep_are_the_results_money_and_silicon_included() -> None:
    """A known device, one without a price, and one without a node, in one table."""
    sweep = hs.sweep(TRACE, DESIGNS, "eager", workers=1)
    wanted = [hs.simulate(TRACE, hs.load_design(name)).to_dict() for name in DESIGNS]
    for row, result in zip(sweep.rows, wanted, strict=True):
        assert {key: row[key] for key in ("cost", "silicon", "home_tier")} == {
            key: result[key] for key in ("cost", "silicon", "home_tier")
        }
        assert json.loads(json.dumps(row))["ledger"] == result["ledger"]
    known = [result["cost"]["usd_per_hour"] for result in wanted]
    assert 0 < known[0] < 1, "a fraction that whole numbers would lose"
    assert {result["silicon"] is None for result in wanted} == {True, False}
    assert sweep.values("cost.usd_per_hour")[0] == known[0]
