"""What came of the mutants, as tables in Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from mutants import Mutant
from reasons import reason

VERDICTS: Final = ("killed", "timeout", "survived")


def report(
    mutants: Sequence[Mutant], notes: Mapping[str, Mapping[str, Any]], modules: Sequence[str]
) -> tuple[str, float]:
    """All tables, and the percentage that died."""
    tried = [mutant for mutant in mutants if notes.get(mutant.key, {}).get("verdict") in VERDICTS]
    rows = [
        table("module", tried, notes, lambda mutant: mutant.module),
        table("operator", tried, notes, lambda mutant: mutant.family),
        survivors(tried, notes, modules),
    ]
    alive = sum(notes[mutant.key]["verdict"] == "survived" for mutant in tried)
    return "\n\n".join(rows) + "\n", 100 * (1 - alive / max(len(tried), 1))


def table(
    title: str, mutants: Sequence[Mutant], notes: Mapping[str, Mapping[str, Any]], group: Callable[[Mutant], str]
) -> str:
    """Verdicts by group, the sum last."""
    counts: dict[str, Counter[str]] = {}
    for mutant in sorted(mutants, key=group):
        for name in (group(mutant), "all"):
            counts.setdefault(name, Counter())[notes[mutant.key]["verdict"]] += 1
    counts["all"] = counts.pop("all", Counter())
    lines = [f"| {title} | mutants | killed | hung | survived | dead |", "|---|--:|--:|--:|--:|--:|"]
    for name, count in counts.items():
        killed, hung, alive = (count[verdict] for verdict in VERDICTS)
        dead = 100 * (killed + hung) / max(count.total(), 1)
        lines.append(f"| {name} | {count.total()} | {killed} | {hung} | {alive} | {dead:.1f} % |")
    return "\n".join(lines)


def survivors(mutants: Sequence[Mutant], notes: Mapping[str, Mapping[str, Any]], modules: Sequence[str]) -> str:
    """Every survivor: place, function, change."""
    lines = ["| place | function | change | kind | why |", "|---|---|---|---|---|"]
    for mutant in sorted(mutants, key=lambda mutant: (mutant.module, mutant.line, mutant.column, mutant.operator)):
        note = notes[mutant.key]
        if note["verdict"] != "survived":
            continue
        file = mutant.module.rpartition(".")[2]
        change = f"`{note['before']}` → `{note['after']}`"
        kind, words = reason(mutant.function, change)
        change = change.replace("|", "\\|")
        lines.append(f"| {file}:{mutant.line} | {mutant.function} | {change} | {kind} | {words} |")
    return "\n".join(lines)
