"""The history of the error table: what docs/fidelity.md said of the H100, commit by commit.

    python -m benchmarks.fidelity_history > docs/fidelity-history.md

Reads the versions of that page from git, along the main line: every figure is one that was committed.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGE = "docs/fidelity.md"
LINE = re.compile(r"^ +(\w+) +all +(\d+) +([\d.]+) % +[\d.]+ +[\d.]+ +[\d.]+ % +[\d.]+ %$", re.MULTILINE)


class Version(NamedTuple):
    """What one version of the page said: MAPE in % by suite, and how many operators that were."""

    commit: str
    date: str
    subject: str
    counts: dict[str, int]
    errors: dict[str, str]


def git(*arguments: str) -> str:
    """What git prints."""
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def table_of(page: str) -> tuple[dict[str, int], dict[str, str]]:
    """Operators and MAPE by suite in the first table `operators by suite`, that of the H100; empty without one."""
    _, found, rest = page.partition("operators by suite")
    lines = LINE.findall(rest.partition("worst 5")[0]) if found else []
    return {suite: int(n) for suite, n, _ in lines}, {suite: error for suite, _, error in lines}


def versions() -> list[Version]:
    """Versions along the main line whose table differs from the one before, oldest first."""
    log = git("log", "--first-parent", "--reverse", "--format=%h%x09%cs%x09%s", "--", PAGE)
    found: list[Version] = []
    for line in log.splitlines():
        commit, date, subject = line.split("\t", 2)
        counts, errors = table_of(git("show", f"{commit}:{PAGE}"))
        if errors and (not found or (counts, errors) != (found[-1].counts, found[-1].errors)):
            found.append(Version(commit, date, subject, counts, errors))
    return found


def page(found: list[Version]) -> str:
    """The history as a page."""
    suites = list(dict.fromkeys(suite for version in found for suite in version.errors))
    lines = [
        "# History of the error table",
        "",
        "MAPE in % of the operators of the bundled H100 measurements, as [fidelity.md](fidelity.md) printed it at each",
        "commit of the main line that changed the table. Made by `make fidelity-history` from versions of that page.",
        "",
        f"| date | commit | n | {' | '.join(suites)} | what changed |",
        f"|---|---|--:|{'--:|' * len(suites)}---|",
    ]
    for version in found:
        cells = " | ".join(version.errors.get(suite, "–") for suite in suites)
        total = version.counts.get("all", sum(version.counts.values()))
        lines.append(f"| {version.date} | `{version.commit}` | {total} | {cells} | {version.subject} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(versions()), end="")
