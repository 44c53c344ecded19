"""What a report is about: runs in groups that compare, each with its replay where trace and design are at hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hiersim.errors import HiersimError
from hiersim.results import Result
from hiersim.views.report.saved import Facts
from hiersim.what_ifs import WhatIf, what_ifs


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """One result in its JSON form, and the replay that gives what that form leaves out."""

    facts: Facts
    result: Result | None = None

    @property
    def makespan(self) -> int:
        """Ticks."""
        return int(self.facts["makespan_ticks"])

    @property
    def title(self) -> str:
        """The machine, as its design calls it."""
        return self.result.design.title if self.result is not None else str(self.facts["design"])

    @property
    def home(self) -> str:
        """The tier whose traffic a run is judged by: the last that kernels address."""
        return str(self.facts["home_tier"])

    @property
    def home_bytes(self) -> int:
        """Bytes read and written there."""
        ways: dict[str, int] = self.facts["traffic_bytes"].get(self.home, {"read": 0, "write": 0})
        return ways["read"] + ways["write"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Group:
    """Runs of one trace, the first is the baseline."""

    runs: tuple[Run, ...]
    what_ifs: tuple[WhatIf, ...] = ()
    """Of the fastest run."""

    @property
    def trace(self) -> str:
        """Its name."""
        return str(self.runs[0].facts["trace"])

    @property
    def base(self) -> Run:
        """What the others are compared with."""
        return self.runs[0]

    @property
    def fastest(self) -> Run:
        """The run that takes least time, of equals the first."""
        return min(self.runs, key=lambda run: run.makespan)


def of_results(results: Iterable[Result], with_what_ifs: bool = True) -> tuple[Group, ...]:
    """Results of replays that were just made, in groups."""
    return grouped([Run(facts=result.to_dict(), result=result) for result in results], with_what_ifs)


def of_saved(facts: Iterable[Facts], with_what_ifs: bool = True, replay: bool = True) -> tuple[Group, ...]:
    """Saved results in groups, each replayed where it can be."""
    return grouped([_saved_run(row, replay) for row in facts], with_what_ifs)


def _saved_run(facts: Facts, replay: bool) -> Run:
    """The replay where there is one: its tiers stand nearest first, those of a file by the alphabet."""
    result = replayed(facts) if replay else None
    return Run(facts=facts if result is None else result.to_dict(), result=result)


def grouped(runs: Sequence[Run], with_what_ifs: bool) -> tuple[Group, ...]:
    """Runs of one trace together, in the order in which they come."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(str(run.facts["trace"]), []).append(run)
    return tuple(_group(tuple(members), with_what_ifs) for members in groups.values())


def _group(runs: tuple[Run, ...], with_what_ifs: bool) -> Group:
    group = Group(runs=runs)
    chosen = group.fastest.result
    if chosen is None or not with_what_ifs:
        return group
    return Group(runs=runs, what_ifs=what_ifs(chosen))


def replayed(facts: Facts) -> Result | None:
    """The run of a saved result once more; None unless its trace and design are bundled and it comes out the same.

    The digest of the inputs and the makespan have to agree: a result of other data is never mixed with this one.
    """
    from hiersim import bundled
    from hiersim.config.load import load_design
    from hiersim.frontends.load import load_trace
    from hiersim.run import simulate

    name, machine = str(facts["trace"]), str(facts["design"])
    if name not in bundled.traces() or machine not in bundled.designs():
        return None
    changes: dict[str, Any] = dict(facts.get("set", {}))
    try:
        design = load_design(machine)
        changed = design.replace(changes) if changes else design
        policy = str(facts["fusion"]).split(" (")[0]
        launch = str(facts.get("launch", "stream"))
        result = simulate(load_trace(name), changed, policy, changes=changes, launch=launch)
    except HiersimError:
        return None
    same = result.inputs_sha256 == facts["inputs_sha256"] and int(result.makespan) == facts["makespan_ticks"]
    return result if same else None
