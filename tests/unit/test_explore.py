"""What the sliders of `hs.explore` show is a replay with what they say."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

import hiersim as hs
from hiersim.views.explore import Explorer, Settings, explorer

TRACE = Path(__file__).parents[2] / "docs" / "examples" / "relu.jsonl"


@pytest.fixture(scope="module")
def small() -> Explorer:
    return explorer(hs.load_trace(TRACE), hs.load_design("tiny"))


def test_settings_are_a_replay_of_the_changed_design(small: Explorer) -> None:
    names = [part.name for part in small.parts]
    assert {"l2 capacity", "hbm bandwidth", "hbm latency", "host launches"} <= set(names)
    assert small.result(Settings()).to_dict() == small.base.to_dict()
    chosen = small.result(Settings(factors={"hbm bandwidth": 4.0, "host launches": 2.0, "l2 capacity": 1.0}))
    changes = {"memory.hbm.bandwidth": "4x", "host.launch_eager": "0.5x", "host.launch_compiled": "0.5x"}
    design = small.design.replace({**changes, "host.launch_view": "0.5x"})
    assert chosen.makespan == hs.simulate(small.trace, design).makespan < small.base.makespan
    html = small.html(Settings(factors={"l2 capacity": 2.0}))
    assert "memory costs 10.63 $ instead of 10.31 $" in html and "<svg" in html


def test_a_design_that_cannot_be_is_a_sentence(small: Explorer) -> None:
    html = small.html(Settings(fusion="nothing <b>"))
    assert html.startswith("<p>") and "is not a fusion policy" in html and "<b>" not in html


def test_a_move_is_shown_within_a_fifth_of_a_second() -> None:
    """Of processor time, the least of some moves: others may be using the machine."""
    found = explorer(hs.load_trace("gpt2-large-prefill"), hs.load_design("h100-sxm"))
    assert len(found.trace.graph.operators) > 1000
    took = []
    for step in range(5):
        begin = time.process_time()
        found.html(Settings(factors={"hbm bandwidth": 1.1 + step / 10}))
        took.append(time.process_time() - begin)
    assert min(took) < 0.2


def test_widgets_show_what_they_say(small: Explorer) -> None:
    widgets = pytest.importorskip("ipywidgets")
    box: Any = hs.explore(small.trace, small.design)
    controls, shown = box.children
    choices, sliders = controls.children
    before = shown.value
    slider = next(item for item in sliders.children if item.description == "HBM latency")
    slider.value = 4.0
    assert shown.value == small.html(Settings(factors={"hbm latency": 4.0})) != before
    slider.value = 1.0
    assert shown.value == before
    assert isinstance(choices.children[0], widgets.Dropdown)


def test_without_widgets_the_extra_is_named(small: Explorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ipywidgets", None)
    with pytest.raises(hs.MissingExtraError, match=r"hiersim\[explore\]"):
        hs.explore(small.trace, small.design)
