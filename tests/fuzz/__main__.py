"""Broken files by the million: `python tests/fuzz --help`. Each is read, or refused in one line.

Guided by coverage and by what readers say: a mutant that runs a new branch, or makes a reader say something new, is
kept and changed further. Cases run in forked processes, so that a crash of a library is a finding like any other. Each
format gets the same processor time. Findings are files below `--out`; `state.json` there lets the next call go on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "unit"), str(ROOT / "tests" / "fuzz")]

import probes  # noqa: E402

probes.watch()
from formats import Format, formats  # noqa: E402
from trial import batch  # noqa: E402

BATCH: Final = 4000
"""Cases of one process, at most."""
POOL: Final = 300
"""Mutants of a format that are changed further, besides its sound files."""
EVERY: Final = 60.0
"""Seconds between two lines about how far it is."""


@dataclass(slots=True)
class Progress:
    """How far one format is."""

    cases: int = 0
    seconds: float = 0.0
    pool: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


@dataclass(slots=True)
class State:
    """What a later call needs to go on."""

    turn: int = 0
    formats: dict[str, Progress] = field(default_factory=dict)
    cases: dict[str, int] = field(default_factory=dict)
    """By the hash of the source that they were tried on."""
    hits: dict[str, list[int]] = field(default_factory=dict)
    """Probes that ran, of the last source."""

    @property
    def done(self) -> int:
        """Cases of all formats."""
        return sum(self.cases.values())


def main() -> int:
    """Fuzz until the cases or the minutes are spent. Exit code 1 when anything was found."""
    parser = argparse.ArgumentParser(prog="python tests/fuzz", description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, default=20_000, help="how many of this call")
    parser.add_argument("--minutes", type=float, default=0, help="stop after so long")
    parser.add_argument("--seed", type=int, default=1, help="of the random numbers")
    parser.add_argument("--formats", nargs="+", help="which ones (default: all)")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "fuzz", help="folder of findings and state")
    arguments = parser.parse_args()
    known = formats()
    arguments.out.mkdir(parents=True, exist_ok=True)
    found = run(
        {name: known[name] for name in arguments.formats or sorted(known)}, arguments.out, arguments.cases,
        arguments.seed, time.monotonic() + 60 * arguments.minutes if arguments.minutes else float("inf"),
    )  # fmt: skip
    return int(bool(found))


def run(chosen: dict[str, Format], out: Path, count: int, seed: int, until: float) -> Counter[str]:
    """Batch after batch, always of the format that has had the least time."""
    state, source = resumed(out / "state.json"), source_hash()
    for name in chosen:
        state.formats.setdefault(name, Progress())
    for number in state.hits.get(source, []):
        probes.hits[number] = 1
    found, begun, shown = Counter[str](), state.done, time.monotonic()
    while state.done - begun < count and time.monotonic() < until:
        name = min(chosen, key=lambda one: state.formats[one].seconds)
        form, at = chosen[name], state.formats[name]
        pool = [*form.seeds, *map(bytes.fromhex, at.pool)]
        size = min(BATCH, count - state.done + begun)
        report = batch(form, pool, set(at.said), size, seed * 1_000_003 + state.turn, until)
        state.turn += 1
        state.cases[source] = state.cases.get(source, 0) + report["done"]
        at.cases += report["done"]
        at.seconds += report["seconds"]
        at.said += report["said"]
        at.pool = [*at.pool, *report["kept"]][-POOL:]
        found.update(report["found"])
        for problem, data in report["findings"]:
            keep(out, name, form.suffix, problem, bytes.fromhex(data))
        state.hits = {source: [number for number in range(len(probes.places)) if probes.hits[number]]}
        save(state, out / "state.json")
        if time.monotonic() - shown > EVERY:
            shown = time.monotonic()
            print(f"{state.done} cases, {sum(found.values())} findings", flush=True)
    tell(chosen, state, found, source)
    return found


def tell(chosen: dict[str, Format], state: State, found: Counter[str], source: str) -> None:
    """What was done, format by format, and what was found."""
    for name, form in chosen.items():
        at = state.formats[name]
        ran = [sum(column) for column in zip(*map(probes.ran, form.modules), strict=True)]
        print(
            f"{name}: {at.cases} cases in {at.seconds:.0f} s, {len(at.said)} things said, "
            f"{ran[0]} of {ran[1]} branches of its reader, {len(at.pool)} mutants kept"
        )
    print(f"{state.done} cases in all, {state.cases.get(source, 0)} of them on this source")
    print(f"{sum(found.values())} findings of {len(found)} kinds")
    for problem, count in found.most_common():
        print(f"- {count} x {problem}")


def resumed(path: Path) -> State:
    """The state of an earlier call, or a new one."""
    if not path.exists():
        return State()
    held: dict[str, Any] = json.loads(path.read_text())
    return State(**{**held, "formats": {name: Progress(**at) for name, at in held["formats"].items()}})


def save(state: State, path: Path) -> None:
    """Whole or not at all."""
    path.with_suffix(".new").write_text(json.dumps(asdict(state)))
    os.replace(path.with_suffix(".new"), path)


def source_hash() -> str:
    """Of all readers and what they need."""
    total = hashlib.sha256()
    for path in sorted((ROOT / "hiersim").rglob("*.py")):
        if path.parts[len(ROOT.parts) + 1] in ("frontends", "model", "errors.py", "wire.py", "units.py"):
            total.update(path.read_bytes())
    return total.hexdigest()[:12]


def keep(out: Path, name: str, suffix: str, problem: str, data: bytes) -> None:
    """Write the file of a finding and what went wrong with it."""
    stem = f"{name}-{hashlib.sha256(data).hexdigest()[:10]}"
    (out / f"{stem}{suffix}").write_bytes(data)
    (out / f"{stem}.log").write_text(problem)


if __name__ == "__main__":
    sys.exit(main())
