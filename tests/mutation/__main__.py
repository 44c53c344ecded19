"""How many mutants of the engine core die: `make mutants`, or `python tests/mutation --help`.

Every mutant is tried in a forked process. Verdicts are appended to a session file as they come; a run that was
stopped goes on where it was, as long as the sources are the same.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import select
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "properties"), str(ROOT / "tests" / "unit")]

from corpus import cases  # noqa: E402
from gates import COMPILED, REFERENCE  # noqa: E402
from interpreted import EVENT_CORE  # noqa: E402
from mutants import Mutant  # noqa: E402
from tables import report  # noqa: E402
from trial import Bench, engine_of, judge  # noqa: E402

from hiersim.engines import compiled, reference  # noqa: E402

MODULES: Final = (
    "hiersim.engines.ledger",
    "hiersim.engines.reference",
    "hiersim.columns",
    *(f"hiersim.engines.core.{name}" for name in EVENT_CORE),
)


def main() -> int:
    """Parse arguments, try mutants, print tables. Exit code 1 when fewer than `--least` percent die."""
    parser = argparse.ArgumentParser(prog="python tests/mutation", description=__doc__.split("\n")[0])
    parser.add_argument("--modules", nargs="+", default=MODULES, help="dotted names of what is mutated")
    parser.add_argument(
        "--sample", type=int, default=0, help="so many mutants, the first in a random order (default: all)"
    )
    parser.add_argument("--lines", default="", help="only mutants of these lines: 120-180")
    parser.add_argument("--only", default="", help="only mutants whose key contains this")
    parser.add_argument("--jobs", type=int, default=1, help="processes at once")
    parser.add_argument("--minutes", type=float, default=0, help="stop after so long; the session can be resumed")
    parser.add_argument("--session", type=Path, default=ROOT / "out" / "mutation" / "session.jsonl")
    parser.add_argument("--again", action="store_true", help="try survivors again: programs or gates were added")
    parser.add_argument("--least", type=float, default=90, help="percent that must die")
    arguments = parser.parse_args()
    assert Path(str(compiled.__file__)).is_relative_to(ROOT), "another hiersim is imported"
    bench = prepare(arguments.modules)
    mutants = chosen(bench, arguments)
    known = resume(arguments.session, bench)
    if arguments.again:
        known = {key: note for key, note in known.items() if note["verdict"] != "survived"}
    wanted = [mutant for mutant in mutants if mutant.key not in known]
    print(f"{len(mutants)} mutants, {len(wanted)} to try", flush=True)
    with arguments.session.open("a") as session:
        try_all(bench, wanted, known, session, arguments)
    text, percent = report(mutants, known, sorted(bench.sources))
    (arguments.session.parent / "report.md").write_text(text)
    print(text)
    return 0 if percent >= arguments.least else 1


def prepare(modules: Sequence[str]) -> Bench:
    """The corpus, and the check that nothing dies without a mutation."""
    begin = time.perf_counter()
    bench = Bench(ROOT, modules, MODULES, cases())
    for engine, gates in ((compiled, COMPILED), (reference, REFERENCE)):
        for gate in gates:
            gate(engine)
    stages = sum(int(case.program.stage_counts().sum()) for case in bench.cases)
    print(f"{len(bench.cases)} programs of {stages} stages in {time.perf_counter() - begin:.0f} s", flush=True)
    for name in {engine_of(name): name for name in bench.sources}.values():
        source = bench.sources[name]
        alone = Bench(ROOT, modules, MODULES, bench.cases)
        alone.sources = {name: source, **bench.sources}
        begin = time.perf_counter()
        note = attempt(alone, None)
        assert note["verdict"] == "survived", f"the unchanged {name} dies: {note}"
        print(f"the unchanged {name} survives in {time.perf_counter() - begin:.1f} s", flush=True)
    return bench


def chosen(bench: Bench, arguments: argparse.Namespace) -> list[Mutant]:
    """The mutants that the arguments ask for, in an order that is random but always the same."""
    mutants = [mutant for source in bench.sources.values() for mutant in source.mutants()]
    if arguments.lines:
        low, high = (int(line) for line in arguments.lines.split("-"))
        mutants = [mutant for mutant in mutants if low <= mutant.line <= high]
    mutants = [mutant for mutant in mutants if arguments.only in mutant.key]
    shuffled = random.Random(1).sample(mutants, len(mutants))[::-1]
    return shuffled[: arguments.sample or len(shuffled)]


def resume(path: Path, bench: Bench) -> dict[str, dict[str, Any]]:
    """Verdicts of an earlier run on the same sources; a session on others is begun anew."""
    digest = hashlib.sha256("\0".join(source.text for source in bench.sources.values()).encode()).hexdigest()
    lines = path.read_text().splitlines() if path.exists() else []
    if lines and json.loads(lines[0]).get("sources") == digest:
        return {note["key"]: note for note in map(json.loads, lines[1:])}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"sources": digest}) + "\n")
    return {}


def try_all(
    bench: Bench, mutants: Sequence[Mutant], known: dict[str, dict[str, Any]], session: Any,
    arguments: argparse.Namespace,
) -> None:  # fmt: skip
    """Try mutants, `jobs` at once."""
    waiting = list(mutants)[::-1]
    running: dict[int, tuple[Mutant, int, float]] = {}
    begin = time.perf_counter()
    late = False
    while running or (waiting and not late):
        late = bool(arguments.minutes) and time.perf_counter() - begin > 60 * arguments.minutes
        while waiting and len(running) < arguments.jobs and not late:
            mutant = waiting.pop()
            process, pipe = start(bench, mutant)
            running[pipe] = (mutant, process, time.perf_counter())
        for pipe in select.select(list(running), [], [])[0]:
            mutant, process, started = running.pop(pipe)
            note = {"key": mutant.key, **collect(pipe, process), "seconds": round(time.perf_counter() - started, 2)}
            known[mutant.key] = note
            if "case" in note:
                bench.score[note["case"]] += 1
            session.write(json.dumps(note) + "\n")
            session.flush()
            if len(known) % 100 == 0:
                alive = sum(one["verdict"] == "survived" for one in known.values())
                print(f"{len(known)} tried, {alive} alive, {time.perf_counter() - begin:.0f} s", flush=True)


def attempt(bench: Bench, mutant: Mutant | None) -> dict[str, Any]:
    """Try one mutant and wait."""
    process, pipe = start(bench, mutant)
    return collect(pipe, process)


def start(bench: Bench, mutant: Mutant | None) -> tuple[int, int]:
    """Fork; the process and the pipe into which it writes its note at its end."""
    sys.stdout.flush()
    receive, send = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(receive)
        judge(bench, mutant, send)
    os.close(send)
    return process, receive


def collect(pipe: int, process: int) -> dict[str, Any]:
    """Read what a process wrote, and wait for it. One that a signal ended has hung."""
    with os.fdopen(pipe) as stream:
        lines = stream.read().splitlines()
    ended_by = os.WTERMSIG(status) if os.WIFSIGNALED(status := os.waitpid(process, 0)[1]) else 0
    note: dict[str, Any] = {"verdict": "killed", "by": "end of process"}
    for line in lines:
        note.update(json.loads(line))
    return {**note, "verdict": "timeout", "by": f"signal {ended_by}"} if ended_by else note


if __name__ == "__main__":
    sys.exit(main())
