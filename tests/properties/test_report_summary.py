"""Every number in the sentences of a report is what the ledger says, over random results."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from hiersim.units import show_bytes, show_ticks
from hiersim.views.report.runs import Group, Run
from hiersim.views.report.summary import Figure, Sentence, names, plain, sentences
from hiersim.views.tables import dollars, percent
from hiersim.what_ifs import WhatIf

WORK = ("useful", "padding", "tail")
TIERS = ("l2", "hbm")
FREE = ("useful", "padding", "tail", "dispatch", "dependency")
BLAMED = ("capacity", "bandwidth", "latency", "contention")
TICKS = st.one_of(st.integers(0, 10), st.integers(0, 10**13))
BYTES = st.integers(0, 10**13)


@st.composite
def placements(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Rows by tier, nearest first, some of them behind HBM."""
    tiers = [tier for tier in ("l2", "hbm", "hbm", "dram", "dram", "nvme") if draw(st.booleans())]
    return [{"tier": tier, "role": "weight", "tensors": 1, "bytes": draw(BYTES)} for tier in tiers]


@st.composite
def facts(draw: st.DrawFn) -> dict[str, Any]:
    """A result in its JSON form, as far as sentences look at it; its ledger has all engines and phases."""
    keys = [(entry, None, None) for entry in draw(st.sets(st.sampled_from(FREE)))]
    keys += draw(
        st.lists(
            st.tuples(st.sampled_from(BLAMED), st.sampled_from(TIERS), st.sampled_from(("fill", "steady", "drain"))),
            max_size=5, unique=True,
        )
    )  # fmt: skip
    rows = [
        {
            "engine": engine,
            "entry": entry,
            "tier": tier,
            "phase": phase,
            "ticks": draw(TICKS) if engine == "cores" else 7,
        }
        for engine in ("cores", "matrix")
        for entry, tier, phase in keys
    ]
    moved = {tier: {"read": draw(BYTES), "write": draw(BYTES)} for tier in TIERS}
    return {
        "trace": "net", "design": draw(st.sampled_from(("a", "b"))), "fusion": draw(st.sampled_from(("eager", "tile"))),
        "launch": "stream", "set": {}, "ledger": rows, "traffic_bytes": moved, "home_tier": "hbm",
        "makespan_ticks": sum(row["ticks"] for row in rows if row["engine"] == "cores"),
        "bounds": {"compulsory_bytes": draw(BYTES)},
        "placement": draw(placements()),
        "memory_cost_usd": {"total": draw(st.one_of(st.none(), st.floats(0, 1e5)))},
    }  # fmt: skip


@st.composite
def parts(draw: st.DrawFn, makespan: int) -> tuple[WhatIf, ...]:
    """Random what-ifs of a run."""
    found = []
    for name, tier in (("l2 capacity", "l2"), ("hbm bandwidth", "hbm"), ("hbm latency", "hbm"), ("matrix peak", None)):
        if draw(st.booleans()):
            better, cost = draw(st.integers(0, 2 * makespan + 1)), draw(st.one_of(st.none(), st.floats(0, 1e4)))
            found.append(
                WhatIf(
                    name=name,
                    tier=tier,
                    better={},
                    worse={},
                    makespan=makespan,
                    better_makespan=better,
                    worse_makespan=None,
                    cost_usd=cost,
                )
            )
    return tuple(found)


@st.composite
def groups(draw: st.DrawFn) -> Group:
    """One to five runs and what-ifs of the fastest."""
    runs = tuple(Run(facts=draw(facts())) for _ in range(draw(st.integers(1, 5))))
    group = Group(runs=runs)
    return Group(runs=runs, what_ifs=draw(parts(group.fastest.makespan)))


def waiting_ticks(run: dict[str, Any], entry: str | None = None, tier: str | None = None) -> int:
    """Straight from the rows: waiting of the cores, of all causes or of one."""
    return sum(
        row["ticks"]
        for row in run["ledger"]
        if row["engine"] == "cores"
        and row["entry"] not in WORK
        and (entry is None or (row["entry"], row["tier"]) == (entry, tier))
    )


def expected(figure: Figure, sentence: Sentence, group: Group, run: dict[str, Any]) -> tuple[float, str]:
    """Value and text of a figure that speaks of `run`, computed again."""
    base = group.runs[0].facts["makespan_ticks"]
    best = min((other.facts for other in group.runs), key=lambda facts: facts["makespan_ticks"])
    length = max(run["makespan_ticks"], 1)
    kind, _, rest = figure.key.partition(" ")
    if kind == "makespan_ticks":
        ticks = best["makespan_ticks"] if str(sentence[0]).startswith("Of all") else run["makespan_ticks"]
        return ticks, show_ticks(ticks)
    if kind == "stall_fraction":
        share = waiting_ticks(run) / length
    elif kind == "cause":
        entry, _, tier = rest.partition(" ")
        share = waiting_ticks(run, entry, tier or None) / length
    elif kind == "returned":
        share = 1 - run["makespan_ticks"] / max(base, 1)
    elif kind == "longer":
        share = run["makespan_ticks"] / max(base, 1) - 1
    elif kind == "speedup":
        return base / length, f"{base / length:.2f} ×"
    elif kind == "what-if":
        item = next(item for item in group.what_ifs if item.name == rest)
        share = abs(1 - item.better_makespan / item.makespan) if item.makespan else 0.0
    elif kind == "cost":
        cost = next(item.cost_usd for item in group.what_ifs if item.name == rest)
        assert cost is not None
        return cost, dollars(cost)
    elif kind == "behind":
        held = sum(row["bytes"] for row in best["placement"] if row["tier"] == rest)
        assert rest in ("dram", "nvme")
        return held, show_bytes(held)
    else:
        moved = sum(best["traffic_bytes"]["hbm"].values())
        least = best["bounds"]["compulsory_bytes"]
        total = best["memory_cost_usd"]["total"]
        return {
            "home_bytes": lambda: (moved, show_bytes(moved)),
            "over": lambda: (moved / least, f"{moved / least:.2f} ×"),
            "memory_cost_usd": lambda: (total, dollars(total)),
        }[kind]()
    return share, percent(share)


def subject(sentence: Sentence, place: int, group: Group) -> dict[str, Any]:
    """The run that a sentence is about: the first one is the baseline's, those that follow tell of one run each."""
    runs = [run.facts for run in group.runs]
    return dict(runs[place] if place < min(len(runs), 4) else runs[0])


@settings(max_examples=60)
@given(groups())
def test_every_figure_is_what_the_ledger_says(group: Group) -> None:
    for place, sentence in enumerate(sentences(group)):
        run = subject(sentence, place, group)
        for part in sentence:
            if isinstance(part, Figure):
                value, text = expected(part, sentence, group, run)
                assert abs(part.value - value) <= 1e-9 * max(abs(value), 1), (part, value)
                assert part.text == text
        check_words(sentence, group)
    check_order(group)


def check_words(sentence: Sentence, group: Group) -> None:
    """No number is outside a figure: digits in words are those of names, or a count of runs."""
    words = "".join(part for part in sentence if isinstance(part, str)).replace("L2", "")
    words = words.replace(f"Of all {len(group.runs)} runs", "")
    assert not re.search(r"\d", words), words
    assert plain(sentence).endswith(".")


def check_order(group: Group) -> None:
    """The largest causes are told, and first."""
    run = group.runs[0].facts
    told = [part for part in sentences(group)[0] if isinstance(part, Figure) and part.key.startswith("cause")]
    assert [part.value for part in told] == sorted((part.value for part in told), reverse=True)
    causes = {(row["entry"], row["tier"]) for row in run["ledger"] if row["entry"] not in WORK}
    largest = max((waiting_ticks(run, *cause) for cause in causes), default=0) / max(run["makespan_ticks"], 1)
    assert (told[0].value == largest) if told else largest < 0.005
    assert len(names(group)) == len(group.runs)
