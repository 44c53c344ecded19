"""Every decision draws itself in Jupyter, and shows names as they are."""

from __future__ import annotations

from dataclasses import replace

import hiersim as hs
from hiersim.decisions.notebook import html_table


def test_decisions_are_tables() -> None:
    trace, design = hs.load_trace("bert-large-prefill"), hs.load_design("h100-sxm")
    decisions = (
        (hs.advise(trace, design, paths=["memory.hbm.bandwidth"]), "memory.hbm.bandwidth"),
        (hs.tornado(trace, design, paths=["compute.cores"]), "compute.cores"),
        (hs.knees(trace, design, sizes=[10**7, 4 * 10**7, 16 * 10**7]), "knee at"),
        (hs.target(trace, design, {"memory.l2.capacity": "1x,2x"}, 1.0), "memory.l2.capacity=2x"),
        (hs.rank(trace, [design]), "h100-sxm"),
        (hs.study("hbm"), "HBM"),
    )
    for decision, said in decisions:
        drawn = decision._repr_html_()
        assert drawn.startswith("<table><caption>")
        assert said in drawn


def test_names_are_no_markup() -> None:
    assert "<b>" not in html_table("<b>", ["<b>"], [["<b>"]])
    design = replace(hs.load_design("tiny"), name="<script>")
    assert "<script>" not in hs.rank(hs.load_trace("resnet50-infer"), [design])._repr_html_()
