"""The results as a file for programs and as Markdown tables for docs/benchmarks.md."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.aims import aims
from benchmarks.measure import Figure, Line, Skipped

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
SHOWN = {
    "times_reference": ("x reference", "{:.1f}"),
    "times_c_events": ("x C event loop", "{:.2f}"),
    "kernels": ("kernels", "{:,}"),
    "nests": ("nests", "{:,}"),
    "copies": ("copies", "{:,}"),
    "of_plain": ("rate / plain", "{:.2f}"),
    "exponent": ("exponent", "{:.2f}"),
    "last_over_first": ("last / first", "{:.2f}"),
    "designs_per_s": ("designs/s", "{:,.1f}"),
    "predicted_s": ("predicts", "{:.4g} s"),
    "operators_per_s": ("operators/s", "{:,.0f}"),
    "build_s": ("build", "{:.2f} s"),
    "simulate_s": ("simulate", "{:.2f} s"),
    "peak_mb": ("peak memory", "{:,} MB"),
    "import_s": ("import", "{:.2f} s"),
}


def save(folder: Path, machine: Mapping[str, Any], lines: Sequence[Line]) -> None:
    """Write `results.json` and `results.md` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = [line.to_dict() for line in lines if isinstance(line, Figure)]
    skipped = [
        {"group": line.group, "name": line.name, "why": line.why} for line in lines if isinstance(line, Skipped)
    ]  # fmt: skip
    document = {"machine": dict(machine), "figures": figures, "skipped": skipped}
    (folder / "results.json").write_text(json.dumps(document, indent=1) + "\n")
    (folder / "results.md").write_text(markdown(machine, lines))


def markdown(machine: Mapping[str, Any], lines: Sequence[Line]) -> str:
    """All tables, one for each group."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    head = (
        f"{machine['date']}, {machine['cpu']}, {machine['cores']} cores (load {machine['load_before']} before), "
        f"{machine['system']}, Python {machine['python']}, {versions}, commit {machine['commit']}."
    )
    if machine["interpreted"]:
        head += f" **Interpreted, not compiled: {', '.join(machine['interpreted'])}.**"
    groups = dict.fromkeys(line.group for line in lines)
    parts = [
        head,
        _aims([line for line in lines if isinstance(line, Figure)]),
        *(_table(group, [line for line in lines if line.group == group]) for group in groups),
    ]
    return "\n\n".join(parts) + "\n"


def _aims(figures: Sequence[Figure]) -> str:
    """Promises beside what was seen; processor seconds."""
    words = {True: "yes", False: "**no**", None: ""}
    rows = [[aim.what, aim.wanted, aim.seen or "not measured", words[aim.held]] for aim in aims(figures)]
    return "\n".join(
        ["### Aims", "", "| what | wanted | seen | held |", "| --- | --: | --: | --- |", *map(_markdown_row, rows)]
    )


def paste(page: Path, text: str) -> None:
    """Put `text` between the marks of `page`.

    Raises
    ------
    ValueError
        When the page lacks the marks.
    """
    head, _, rest = page.read_text().partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not end:
        raise ValueError(f"{page} lacks {BEGIN} … {END}")
    page.write_text(f"{head}{BEGIN}\n\n{text}\n{END}{tail}")


def _table(group: str, lines: Sequence[Line]) -> str:
    figures = [line for line in lines if isinstance(line, Figure)]
    extra = [key for key in SHOWN if any(key in figure.facts for figure in figures)]
    counted = any(figure.counts for figure in figures)
    head = ["what", "CPU min", "CPU median", "wall median", "n", "rate", *(SHOWN[key][0] for key in extra)]
    if counted:
        head.append("counted work")
    rows = [_row(figure, extra, counted) for figure in figures]
    table = [_markdown_row(head), _markdown_row(["---"] + ["--:"] * (5 + len(extra)) + ["---"] * counted)]
    table += [_markdown_row(row) for row in rows]
    if not figures:
        table = []
    missing = [f"Not measured: {line.name} ({line.why})." for line in lines if isinstance(line, Skipped)]
    body = "\n".join(table)
    return "\n\n".join(part for part in (f"### {group[0].upper()}{group[1:]}", body, "\n".join(missing)) if part)


def _row(figure: Figure, extra: Iterable[str], counted: bool) -> list[str]:
    facts = [SHOWN[key][1].format(figure.facts[key]) if key in figure.facts else "" for key in extra]
    cpu, wall = figure.to_dict()["cpu_s"], figure.to_dict()["wall_s"]
    row = [
        figure.name, seconds(cpu["min"]), seconds(cpu["median"]), seconds(wall["median"]), str(cpu["repeats"]),
        f"{quantity(figure.rate)} {figure.unit}/s", *facts,
    ]  # fmt: skip
    if counted:
        row.append(", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in figure.counts.items()))
    return row


def _markdown_row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def seconds(value: float) -> str:
    """A time with three digits."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if value * factor >= 1:
            return f"{value * factor:.3g} {unit}" if value * factor < 999.5 else f"{value * factor:.0f} {unit}"
    return f"{value * 1e9:.3g} ns"


def quantity(value: float) -> str:
    """A rate with three digits."""
    for letter, factor in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= factor:
            return f"{value / factor:.3g} {letter}"
    return f"{value:.3g}"
