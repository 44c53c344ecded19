"""Broken files by the hundred thousand: `python tests/fuzz --help`. Each is read, or refused in one line.

Guided by what readers say: a mutant that makes a reader say something new is kept and changed further. Cases run in
forked processes, so that a crash of a library is a finding like any other. Findings are files below `--out`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Final

ROOT: Final = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "unit"), str(ROOT / "tests" / "fuzz")]

from formats import Format, formats  # noqa: E402

from hiersim.config.load import load_design  # noqa: E402
from hiersim.errors import HiersimError  # noqa: E402
from hiersim.fusion.eager import eager  # noqa: E402
from hiersim.lowering.lower import lower  # noqa: E402
from hiersim.model.trace import Trace  # noqa: E402
from hiersim.run import simulate  # noqa: E402

SECONDS: Final = 5.0
BYTES: Final = 10**9
BATCH: Final = 2000
LARGEST: Final = 50_000
"""Bytes of a mutant that is changed further."""
POOL: Final = 400
MOST_STAGES: Final = 3000
"""A trace with more is lowered, but not played."""


class TooLongError(Exception):
    """A case ran over its time."""


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


def batch(form: Format, pool: list[bytes], said: set[str], count: int, seed: int, until: float) -> dict:  # type: ignore[type-arg]
    """So many cases in a process of their own."""
    with TemporaryDirectory(prefix="fuzz-") as folder:
        path, answer = Path(folder) / f"case{form.suffix}", Path(folder) / "answer.json"
        child = os.fork()
        if child == 0:
            try:
                answer.write_text(json.dumps(cases(form, pool, said, count, seed, until, path)))
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        if answer.exists():
            report: dict = json.loads(answer.read_text())  # type: ignore[type-arg]
            return report
        problem = f"the process died: status {status}"
        data = path.read_bytes().hex() if path.exists() else ""
        return {"done": count, "said": [], "kept": [], "findings": [(problem, data)]}


def cases(form: Format, pool: list[bytes], said: set[str], count: int, seed: int, until: float, path: Path) -> dict:  # type: ignore[type-arg]
    """Mutants, what is new among them, and what went wrong."""
    draw, heard = random.Random(seed), set(said)
    kept: list[str] = []
    findings: list[tuple[str, str]] = []
    pool = list(pool)
    signal.signal(signal.SIGALRM, _ring)
    done = 0
    for done in range(1, count + 1):
        if time.monotonic() > until:
            break
        data = draw.choice(form.seeds if draw.random() < 0.3 else pool)
        for _ in range(draw.choice((1, 1, 1, 2, 3, 6))):
            try:
                data = draw.choice(form.mutators)(data, draw)
            except (ValueError, KeyError, IndexError, OSError, RecursionError, NotImplementedError, EOFError):
                break  # an earlier change broke the form that this mutator knows
            except Exception:
                break
        path.write_bytes(data)
        problem, word = judge(form, path, played=done % 10 == 0)
        if problem:
            findings.append((problem, data.hex()))
        if word not in heard and len(data) < LARGEST:
            heard.add(word)
            kept.append(data.hex())
            pool.append(data)
    return {"done": done, "said": sorted(heard - said), "kept": kept, "findings": findings}


def judge(form: Format, path: Path, played: bool) -> tuple[str, str]:
    """What is wrong with how a file was taken, or nothing; and what the reader said, without numbers and names."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        trace = form.read(path)
        if played:
            play(trace)
        word = f"read {min(len(trace.graph.operators), 9)} {len(trace.header.notes)}"
    except HiersimError as error:
        word = str(error)
        if "\n" in word or error.exit_code not in (1, 2) or "please report" in word:
            return f"not one line: {word}", word
    except TooLongError:
        return f"took longer than {SECONDS} s", "slow"
    except BaseException:
        return traceback.format_exc(), "raised"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    plain = re.sub(r"'[^']*'|\d+|[^ -~]", "", word.replace(str(path), ""))
    return (f"took {grown} bytes of memory" if grown > BYTES else ""), plain


def play(trace: Trace) -> None:
    """What a user does next."""
    tiny = load_design("tiny")
    if lower(eager(trace), tiny).stage_counts().sum() < MOST_STAGES:
        simulate(trace, tiny)


def _ring(signum: int, frame: FrameType | None) -> None:
    raise TooLongError


if __name__ == "__main__":
    sys.exit(main())
