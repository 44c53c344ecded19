"""The sections of one group of runs that its saved results suffice for: time, bytes, bounds and money."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element

from hiersim.units import show_bytes, show_ticks
from hiersim.views.figures.bars import cause_words, run_bars
from hiersim.views.figures.canvas import key
from hiersim.views.markup import el
from hiersim.views.report.parts import Cell, Column, Words, drawn, legend, sentence_html, table, unknown
from hiersim.views.report.runs import Group, Run
from hiersim.views.report.summary import names, sentences, waiting, waits
from hiersim.views.series.stalls import WORK_NAMES, Cause, Stack, cause_ticks, ledger_stack, ordered
from hiersim.views.tables import dollars, percent, written

LEAST_COLUMN = 0.001
"""A cause that takes less of every run has no column."""


def overview(words: Words, group: Group) -> Iterator[Element]:
    """The summary in words, and the figures that one looks at first."""
    yield el("div", {"class": "summary"}, [sentence_html(sentence) for sentence in sentences(group)])
    yield el("dl", {"class": "cards"}, list(_cards(words, group)))


def _cards(words: Words, group: Group) -> Iterator[Element]:
    base, best = group.base, group.fastest
    same = best is base
    saved = f"before: {show_ticks(base.makespan)}"
    yield _card(words, "time", "time_s", show_ticks(best.makespan), "" if same else saved)
    beside = "" if same else f"before: {percent(waiting(base))}"
    yield _card(words, "waiting", "stall_fraction", percent(waiting(best)), beside)
    utilization = best.facts["utilization"].get("overall", 0.0)
    before = "" if same else f"before: {percent(base.facts['utilization'].get('overall', 0.0))}"
    yield _card(words, "utilization", "utilization", percent(utilization), before)
    least = show_bytes(best.facts["bounds"]["compulsory_bytes"])
    yield _card(
        words, f"{written(best.home)} traffic", "traffic_bytes", show_bytes(best.home_bytes), f"at least {least}"
    )
    cost = best.facts["memory_cost_usd"]
    of_home = cost.get(best.home)
    part = f"of it {written(best.home)} {dollars(of_home)}" if of_home is not None else "no price known"
    yield _card(words, "memory cost", "memory_cost_usd", dollars(cost.get("total")), part)


def _card(words: Words, label: str, word: str, value: str, beside: str) -> Element:
    note = el("dd", {"class": "beside"}, beside) if beside else None
    return el("div", None, el("dt", None, words.term(label, word)), el("dd", None, value), note)


def all_groups(words: Words, groups: Sequence[Group]) -> Element:
    """Several models at a glance: the baseline of each, its fastest run, and what that waits for."""
    rows = []
    for number, group in enumerate(groups, start=1):
        base, best = group.base, group.fastest
        first = waits(best)[:1]
        speed = base.makespan / max(best.makespan, 1)
        rows.append(
            [
                Cell(text=el("a", {"href": f"#group-{number}"}, group.trace)),
                Cell(text=show_ticks(base.makespan), value=base.makespan),
                Cell(text=show_ticks(best.makespan), value=best.makespan),
                Cell(text=f"{speed:.2f} ×", value=speed),
                Cell(text=names(group)[group.runs.index(best)]),
                Cell(text=percent(waiting(best)), value=waiting(best)),
                Cell(text=f"{cause_words(first[0][0])}, {percent(first[0][1])}" if first else "–"),
            ]
        )
    columns = [
        Column(label="model", numeric=False, word="trace"),
        Column(label="first run", word="time_s"),
        Column(label="fastest", word="time_s"),
        Column(label="speed-up"),
        Column(label="by", numeric=False, word="fusion"),
        Column(label="waiting", word="stall_fraction"),
        Column(label="most of it for", numeric=False, word="entry"),
    ]
    return table(words, "All models", columns, rows)


def time_section(words: Words, group: Group) -> Iterator[Element]:
    """Where the time goes: bars of all runs, and the same as a table."""
    labels = names(group)
    stacks = [ledger_stack(labels[index], run.facts) for index, run in enumerate(group.runs)]
    causes = _causes(group.runs)
    caption = (
        "Each bar is as long as its run takes; its parts are the ledger of the cores, which names every picosecond "
        "once. Colour tells whom to blame, the hatch in which way. Grey is work, all else is waiting."
    )
    marks = legend((key(*cause), words.term(cause_words(cause), cause[0])) for cause in causes)
    yield from _present(drawn(lambda width: run_bars(stacks, width), caption, "time", marks))
    yield _runs_table(words, group, labels, causes)
    for index, stack in enumerate(stacks):
        yield _ledger(words, stack, group.runs[index])


def _present(made: Element | None) -> Iterator[Element]:
    if made is not None:
        yield made


def _causes(runs: Sequence[Run]) -> list[Cause]:
    """Causes of any run, in the order of the bars."""
    tiers = list(dict.fromkeys(tier for run in runs for tier in run.facts["traffic_bytes"]))
    return ordered({cause for run in runs for cause in cause_ticks(run.facts["ledger"])}, tiers)


def _runs_table(words: Words, group: Group, labels: dict[int, str], causes: Sequence[Cause]) -> Element:
    totals = [cause_ticks(run.facts["ledger"]) for run in group.runs]
    lengths = [max(run.makespan, 1) for run in group.runs]
    shown = [
        cause
        for cause in causes
        if cause[0] not in WORK_NAMES
        and max(total.get(cause, 0) / length for total, length in zip(totals, lengths, strict=True)) >= LEAST_COLUMN
    ]
    home = group.base.home
    columns = [
        Column(label="run", numeric=False, word="fusion"),
        Column(label="time", word="time_s"),
        *([Column(label="speed-up")] if len(group.runs) > 1 else []),
        Column(label="waiting", word="stall_fraction"),
        *(Column(label=cause_words(cause), word=cause[0]) for cause in shown),
        Column(label="utilization"),
        Column(label="kernels"),
        Column(label=f"{written(home)} traffic", word="traffic_bytes"),
        Column(label="at least", word="compulsory_bytes"),
        Column(label="memory cost"),
        Column(label="energy", word="energy_j"),
    ]
    rows = [
        _run_row(run, labels[index], group, [total.get(cause, 0) / length for cause in shown])
        for index, (run, total, length) in enumerate(zip(group.runs, totals, lengths, strict=True))
    ]
    return table(words, "All runs" if len(rows) > 1 else "The run", columns, rows)


def _run_row(run: Run, label: str, group: Group, shares: Sequence[float]) -> list[Cell]:
    speed = group.base.makespan / max(run.makespan, 1)
    facts = run.facts
    energy = facts["energy_j"].get("total")
    cost = facts["memory_cost_usd"].get("total")
    overall = facts["utilization"].get("overall", 0.0)
    least = facts["bounds"]["compulsory_bytes"]
    return [
        Cell(text=label),
        Cell(text=show_ticks(run.makespan), value=run.makespan),
        *([Cell(text=f"{speed:.2f} ×", value=speed)] if len(group.runs) > 1 else []),
        Cell(text=percent(waiting(run)), value=waiting(run)),
        *(Cell(text=percent(share), value=share) for share in shares),
        Cell(text=percent(overall), value=overall),
        Cell(text=f"{facts['kernels']:,}", value=facts["kernels"]),
        Cell(text=show_bytes(run.home_bytes), value=run.home_bytes),
        Cell(text=show_bytes(least), value=least),
        unknown() if cost is None else Cell(text=dollars(cost), value=cost),
        unknown() if energy is None else Cell(text=f"{energy:.3g} J", value=energy),
    ]


def _ledger(words: Words, stack: Stack, run: Run) -> Element:
    """The sum that the bar is drawn from, to the picosecond."""
    total = max(stack.ticks, 1)
    rows = [
        [
            Cell(text=cause_words(cause)),
            Cell(text="work" if cause[0] in WORK_NAMES else "waiting"),
            Cell(text=f"{ticks:,}", value=ticks),
            Cell(text=show_ticks(ticks), value=ticks),
            Cell(text=percent(ticks / total), value=ticks / total),
        ]
        for cause, ticks in stack.parts
    ]
    foot = [
        Cell(text="makespan"), Cell(text=""), Cell(text=f"{stack.ticks:,}", value=stack.ticks),
        Cell(text=show_ticks(stack.ticks), value=stack.ticks), Cell(text="100 %", value=1.0),
    ]  # fmt: skip
    columns = [
        Column(label="entry", numeric=False),
        Column(label="kind", numeric=False, word="ledger"),
        Column(label="picoseconds", word="ticks"),
        Column(label="time", word="time_s"),
        Column(label="share", word="makespan_share"),
    ]
    made = table(words, f"Ledger of the cores, {stack.label}", columns, rows, foot)
    return el("details", None, el("summary", None, f"The ledger of {stack.label} as a sum"), made)


def bytes_section(words: Words, group: Group) -> Iterator[Element]:
    """Traffic of each tier and link, what it takes at least, how much each holds and what it costs."""
    run = group.fastest
    facts = run.facts
    yield _tiers_table(words, run, names(group)[group.runs.index(run)])
    if facts.get("placement"):
        yield _placement_table(words, run)


def _tiers_table(words: Words, run: Run, label: str) -> Element:
    facts = run.facts
    rows = []
    for tier, ways in facts["traffic_bytes"].items():
        bound = facts["bounds"]["link_ticks"].get(tier)
        held, cost, joules = (
            facts["peak_bytes"].get(tier),
            facts["memory_cost_usd"].get(tier),
            facts["energy_j"].get(tier),
        )
        share = None if bound is None else bound / max(run.makespan, 1)
        rows.append(
            [
                Cell(text=written(tier)),
                Cell(text=show_bytes(ways["read"]), value=ways["read"]),
                Cell(text=show_bytes(ways["write"]), value=ways["write"]),
                unknown() if share is None else Cell(text=percent(share), value=share),
                unknown() if held is None else Cell(text=show_bytes(held), value=held),
                unknown() if cost is None else Cell(text=dollars(cost), value=cost),
                unknown() if joules is None else Cell(text=f"{joules:.3g} J", value=joules),
            ]
        )
    columns = [
        Column(label="tier", numeric=False),
        Column(label="read"),
        Column(label="written", word="write"),
        Column(label="port busy at least", word="link_ticks"),
        Column(label="held at most", word="peak_bytes"),
        Column(label="memory cost"),
        Column(label="energy", word="energy_j"),
    ]
    order = "" if run.result is None else ", nearest first"
    return table(words, f"Tiers and links{order}: {label}", columns, rows)


def _placement_table(words: Words, run: Run) -> Element:
    rows = [
        [
            Cell(text=written(row["tier"])),
            Cell(text=words.term(row["role"].replace("_", " "), row["role"])),
            Cell(text=f"{row['tensors']:,}", value=row["tensors"]),
            Cell(text=show_bytes(row["bytes"]), value=row["bytes"]),
        ]
        for row in run.facts["placement"]
    ]
    columns = [
        Column(label="tier", numeric=False),
        Column(label="role", numeric=False),
        Column(label="tensors"),
        Column(label="bytes"),
    ]
    return table(words, "Where tensors live, counting each once", columns, rows)


def bounds_section(words: Words, group: Group) -> Iterator[Element]:
    """How near the fastest run is to what no schedule on this design can beat."""
    run = group.fastest
    bounds = run.facts["bounds"]
    limits = [
        ("all arithmetic at the datasheet’s peak", "compute_ticks", bounds["compute_ticks"]),
        *((f"all bytes through {written(tier)}", "link_ticks", ticks) for tier, ticks in bounds["link_ticks"].items()),
        ("longest chain of launches and kernels", "critical_path_ticks", bounds["critical_path_ticks"]),
    ]
    rows = [
        [
            Cell(text=words.term(label, word)),
            Cell(text=show_ticks(ticks), value=ticks),
            Cell(text=percent(ticks / max(run.makespan, 1)), value=ticks / max(run.makespan, 1)),
        ]
        for label, word, ticks in sorted(limits, key=lambda row: -row[2])
    ]
    columns = [
        Column(label="bound", numeric=False, word="bounds"),
        Column(label="at least", word="bounds"),
        Column(label="share of the run", word="makespan_share"),
    ]
    foot = [
        Cell(text="the run"),
        Cell(text=show_ticks(run.makespan), value=run.makespan),
        Cell(text="100 %", value=1.0),
    ]
    yield table(words, "Closed-form lower bounds", columns, rows, foot)


def warnings_section(group: Group) -> Iterator[Element]:
    """What the runs warn of, each once."""
    found = dict.fromkeys(str(text) for run in group.runs for text in run.facts.get("warnings", ()))
    yield el("ul", {"class": "warnings"}, [el("li", None, text) for text in found])


def provenance_section(words: Words, group: Group) -> Iterator[Element]:
    """What was run, exactly, and how to run it again."""
    labels = names(group)
    rows = [
        [
            Cell(text=labels[index]),
            Cell(text=str(run.facts["design"])),
            Cell(text=" ".join(f"{path}={value}" for path, value in run.facts.get("set", {}).items()) or "–"),
            Cell(text=str(run.facts["engine"])),
            Cell(text=str(run.facts["version"])),
            Cell(text=f"{run.facts['operators']:,}", value=run.facts["operators"]),
            Cell(text=f"{run.facts['tiles']:,}", value=run.facts["tiles"]),
            Cell(text=el("code", None, str(run.facts["inputs_sha256"])[:16])),
        ]
        for index, run in enumerate(group.runs)
    ]
    columns = [
        Column(label="run", numeric=False, word="fusion"),
        Column(label="design", numeric=False),
        Column(label="set", numeric=False),
        Column(label="engine", numeric=False),
        Column(label="version", numeric=False),
        Column(label="operators"),
        Column(label="tiles"),
        Column(label="inputs", numeric=False, word="inputs_sha256"),
    ]
    yield table(words, "What was run", columns, rows)
    if all(run.result is None for run in group.runs):
        yield el(
            "p",
            {"class": "note"},
            "Made from saved results alone: trace and design were not at hand, or have changed since. Kernels, the "
            "roofline and what a better part would return need them.",
        )
