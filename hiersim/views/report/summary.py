"""A group of runs in sentences. Every figure is computed from the ledger and carries its value beside its text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from hiersim.units import show_bytes, show_ticks
from hiersim.views.report.runs import Group, Run
from hiersim.views.series.parts import part_words
from hiersim.views.series.stalls import WORK_NAMES, Cause, cause_ticks
from hiersim.views.tables import dollars, percent, written, written_cause
from hiersim.what_ifs import FACTOR, WhatIf

MOST_CAUSES: Final = 3
MOST_RUNS: Final = 3
MOST_PARTS: Final = 3
TOLD: Final = 0.005
"""Shares below half a percent are not spoken of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A number in a sentence."""

    key: str
    """What it is: `stall_fraction`, `cause hbm bandwidth`, `returned`, …"""
    value: float | int
    text: str


Sentence = tuple[str | Figure, ...]


def plain(sentence: Sentence) -> str:
    """The sentence as text."""
    return "".join(part if isinstance(part, str) else part.text for part in sentence)


def share(key: str, value: float) -> Figure:
    """A share of the time, in percent."""
    return Figure(key=key, value=value, text=percent(value))


def waits(run: Run) -> list[tuple[Cause, float]]:
    """Waiting causes and their shares of the makespan, largest first."""
    total = max(run.makespan, 1)
    found = [
        (key, ticks / total) for key, ticks in cause_ticks(run.facts["ledger"]).items() if key[0] not in WORK_NAMES
    ]
    return sorted(found, key=lambda item: (-item[1], item[0][0], item[0][1] or ""))


def waiting(run: Run) -> float:
    """Share of the makespan in which the cores wait, as the ledger has it."""
    total = cause_ticks(run.facts["ledger"])
    return sum(ticks for key, ticks in total.items() if key[0] not in WORK_NAMES) / max(run.makespan, 1)


def names(group: Group) -> dict[int, str]:
    """Index of a run → what tells it from the others: policy, design, changes, how it was launched."""
    several = len({run.facts["design"] for run in group.runs}) > 1
    changed = len({tuple(run.facts.get("set", {}).items()) for run in group.runs}) > 1
    launched = len({run.facts.get("launch", "stream") for run in group.runs}) > 1
    found = {}
    for index, run in enumerate(group.runs):
        parts = [str(run.facts["fusion"]) + (f" on {run.facts['design']}" if several else "")]
        parts += [_changes(run)] if changed else []
        parts += [f"{run.facts.get('launch', 'stream')} launches"] if launched else []
        found[index] = ", ".join(parts)
    return found


def _changes(run: Run) -> str:
    changes = run.facts.get("set", {})
    return " ".join(f"{path}={value}" for path, value in changes.items()) if changes else "as it is"


def sentences(group: Group) -> list[Sentence]:
    """The whole summary: the baseline, what each other run gives back, what a better part would, and the bytes."""
    found = [_baseline(group)]
    found += _others(group)
    if group.what_ifs:
        found.append(_parts(group))
    found.append(_bytes(group))
    return found


def _baseline(group: Group) -> Sentence:
    run = group.base
    on = str(run.title)
    parts: list[str | Figure] = [
        f"{group.trace} on {on}, {run.facts['fusion']}, takes ",
        Figure(key="makespan_ticks", value=run.makespan, text=show_ticks(run.makespan)),
        ". The cores wait ",
        share("stall_fraction", waiting(run)),
        " of that time",
    ]
    told = [(key, value) for key, value in waits(run)[:MOST_CAUSES] if value >= TOLD]
    if told:
        parts.append(": ")
        parts += _listed([[share(_key(key), value), f" for {cause_of(key)}"] for key, value in told])
    return (*parts, ".")


def cause_of(key: Cause) -> str:
    """Who is to blame, in a sentence."""
    words = {"dispatch": "the host’s launches", "dependency": "earlier kernels"}
    return words.get(key[0]) or written_cause(key)


def _key(key: Cause) -> str:
    return f"cause {key[0]} {key[1] or ''}".strip()


def _others(group: Group) -> list[Sentence]:
    """What each other run gives back of the baseline's time, and what it then waits for."""
    labels = names(group)
    found: list[Sentence] = []
    for index, run in enumerate(group.runs[1 : MOST_RUNS + 1], start=1):
        parts: list[str | Figure] = [f"With {labels[index]}, "]
        back = 1 - run.makespan / max(group.base.makespan, 1)
        if back >= 0:
            ratio = group.base.makespan / max(run.makespan, 1)
            parts += [share("returned", back), " of the time comes back ("]
            parts += [Figure(key="speedup", value=ratio, text=f"{ratio:.2f} ×"), " the speed)"]
        else:
            parts += ["it takes ", share("longer", -back), " longer"]
        parts += ["; then the cores wait ", share("stall_fraction", waiting(run))]
        first = waits(run)[:1]
        if first and first[0][1] >= TOLD:
            parts += [", most of all for ", f"{cause_of(first[0][0])} (", share(_key(first[0][0]), first[0][1]), ")"]
        found.append((*parts, "."))
    more = len(group.runs) - 1 - MOST_RUNS
    if more > 0:
        fastest = group.fastest
        label = labels[group.runs.index(fastest)]
        parts = [f"Of all {len(group.runs)} runs {label} is the fastest: "]
        parts.append(Figure(key="makespan_ticks", value=fastest.makespan, text=show_ticks(fastest.makespan)))
        found.append((*parts, "."))
    return found


def _parts(group: Group) -> Sentence:
    """What the best parts would give back from the fastest run, and always what a larger cache would."""
    label = names(group)[group.runs.index(group.fastest)]
    begin = "From there" if len(group.runs) == 2 and group.fastest is not group.base else f"Starting from {label}"
    best = [item for item in group.what_ifs if item.returned >= TOLD][:MOST_PARTS]
    caches = [item for item in group.what_ifs if item.name.endswith(" capacity") and item not in best]
    if not best and not caches:
        return (f"{begin}, nothing that is made twice as good returns half a percent.",)
    return (f"{begin}, ", *_listed([_returns(item) for item in (*best, *caches)]), *_elsewhere(group, best), ".")


def _elsewhere(group: Group, told: list[WhatIf]) -> list[str | Figure]:
    """A part that is waited for most and whose improvement is none of those `told`: why it returns so little."""
    most = waits(group.fastest)[:1]
    for (name, tier), value in most:
        for item in group.what_ifs:
            if item.name == f"{tier} {name}" and item not in told and 0 <= item.returned < value / FACTOR:
                returned = share(f"what-if {item.name}", item.returned)
                return [f"; {part_words(item)}, waited for most, returns ", returned, ": the rest then waits elsewhere"]
    return []


def _returns(item: WhatIf) -> list[str | Figure]:
    verb = "halving" if item.name.endswith(("latency", "launches")) else "doubling"
    assert FACTOR == 2
    words: list[str | Figure] = [f"{verb} {part_words(item)} "]
    if item.returned >= 0:
        words += ["returns ", share(f"what-if {item.name}", item.returned)]
    else:
        words += ["costs ", share(f"what-if {item.name}", -item.returned)]
    if item.cost_usd:
        words += [" for ", Figure(key=f"cost {item.name}", value=item.cost_usd, text=dollars(item.cost_usd))]
    return words


def _bytes(group: Group) -> Sentence:
    """Traffic at the home tier against what is compulsory, and what the memory costs; of the fastest run."""
    run = group.fastest
    least = int(run.facts["bounds"]["compulsory_bytes"])
    parts: list[str | Figure] = [
        "It moves " if len(group.runs) == 1 else "The fastest run moves ",
        Figure(key="home_bytes", value=run.home_bytes, text=show_bytes(run.home_bytes)),
        f" through {written(run.home)}",
    ]
    if least and run.home_bytes:
        ratio = run.home_bytes / least
        parts += [", ", Figure(key="over compulsory", value=ratio, text=f"{ratio:.2f} ×"), " the least possible"]
    for tier, size in behind(run).items():
        parts += ["; ", Figure(key=f"behind {tier}", value=size, text=show_bytes(size))]
        parts.append(f" do not fit it and live in {written(tier)}")
    cost = run.facts["memory_cost_usd"].get("total")
    if cost:
        parts += ["; its memory costs ", Figure(key="memory_cost_usd", value=cost, text=dollars(cost))]
    return (*parts, ".")


def behind(run: Run) -> dict[str, int]:
    """Bytes of tensors by tier behind the last that kernels address; placement lists tiers nearest first."""
    found: dict[str, int] = {}
    reached = False
    for row in run.facts.get("placement", ()):
        reached = reached or row["tier"] == run.home
        if reached and row["tier"] != run.home:
            found[row["tier"]] = found.get(row["tier"], 0) + row["bytes"]
    return found


def _listed(items: Iterable[list[str | Figure]]) -> list[str | Figure]:
    """`a, b and c`."""
    rows = list(items)
    found: list[str | Figure] = []
    for place, row in enumerate(rows):
        if place:
            found.append(" and " if place == len(rows) - 1 else ", ")
        found += row
    return found
