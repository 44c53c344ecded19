"""Broken files by the hundred thousand: `python tests/fuzz --help`. Each is read, or refused in one line.

Guided by what readers say: a mutant that makes a reader say something new is kept and changed further. Cases run in
forked processes, so that a crash of a library is a finding like any other. Findings are files below `--out`.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "unit"), str(ROOT / "tests" / "fuzz")]

from formats import formats  # noqa: E402
from trial import batch  # noqa: E402

BATCH: Final = 2000
"""Cases of one process."""
POOL: Final = 400
"""Mutants of a format that are changed further, besides its sound files."""


def main() -> int:
    """Fuzz until the cases or the minutes are spent. Exit code 1 when anything was found."""
    parser = argparse.ArgumentParser(prog="python tests/fuzz", description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, default=20_000, help="how many in all")
    parser.add_argument("--minutes", type=float, default=0, help="stop after so long")
    parser.add_argument("--seed", type=int, default=1, help="of the random numbers")
    parser.add_argument("--formats", nargs="+", help="which ones (default: all)")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "fuzz", help="folder of the findings")
    arguments = parser.parse_args()
    known = formats()
    chosen = arguments.formats or sorted(known)
    until = time.monotonic() + 60 * arguments.minutes if arguments.minutes else float("inf")
    arguments.out.mkdir(parents=True, exist_ok=True)
    done: Counter[str] = Counter()
    found: Counter[str] = Counter()
    pools = {name: list(known[name].seeds) for name in chosen}
    said: dict[str, set[str]] = {name: set() for name in chosen}
    turn = 0
    while sum(done.values()) < arguments.cases and time.monotonic() < until:
        name = chosen[turn % len(chosen)]
        count = min(BATCH, arguments.cases - sum(done.values()))
        report = batch(known[name], pools[name], said[name], count, arguments.seed * 1_000_003 + turn, until)
        turn += 1
        done[name] += report["done"]
        said[name] |= set(report["said"])
        pools[name] += [bytes.fromhex(item) for item in report["kept"]]
        pools[name] = [*known[name].seeds, *pools[name][len(known[name].seeds) :][-POOL:]]
        for problem, data in report["findings"]:
            found[problem.splitlines()[-1][:100]] += 1
            keep(arguments.out, name, known[name].suffix, problem, bytes.fromhex(data))
    for name in chosen:
        print(f"{name}: {done[name]} cases, {len(said[name])} things said")
    print(f"{sum(done.values())} cases, {sum(found.values())} findings of {len(found)} kinds")
    for problem, count in found.most_common():
        print(f"- {count} x {problem}")
    return int(bool(found))


def keep(out: Path, name: str, suffix: str, problem: str, data: bytes) -> None:
    """Write the file of a finding and what went wrong with it."""
    stem = f"{name}-{hashlib.sha256(data).hexdigest()[:10]}"
    (out / f"{stem}{suffix}").write_bytes(data)
    (out / f"{stem}.log").write_text(problem)


if __name__ == "__main__":
    sys.exit(main())
