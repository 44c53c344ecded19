"""One mutant after the other: changed, read, and judged."""

from __future__ import annotations

import functools
import gzip
import json
import os
import re
import resource
import signal
import tempfile
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

import networkx  # noqa: F401  # before a clock runs: readers import it where they need it
import probes
from formats import Format
from mutate import Draw

from hiersim.config.load import load_design
from hiersim.errors import HiersimError
from hiersim.fusion.eager import eager
from hiersim.lowering.lower import lower
from hiersim.model.design import Design
from hiersim.model.trace import Trace
from hiersim.run import simulate

Report = dict[str, Any]
"""`done` cases and their `seconds`; `said`: what readers had not said before; `hit`: probes that ran the first time;
`kept`: mutants that made either; `findings`, `found` times."""
SECONDS: Final = 5
"""Processor time of a case: others may use the machine too."""
BYTES: Final = 10**9
"""Address space that a batch may take beyond what it begins with."""
BATCH_SECONDS: Final = 20.0
LONGEST_WAIT: Final = 1800.0
"""Wall time of a batch."""
LARGEST: Final = 20_000
"""Bytes of a mutant that is changed further."""
MOST_STAGES: Final = 3000
"""A trace with more is lowered, but not played."""
MOST_ALIKE: Final = 3
"""Findings of one kind that a batch keeps."""
MEMORY: Final = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


class TooLongError(Exception):
    """A case ran over its time."""


@dataclass(slots=True)
class _Clock:
    """Rings when a case has not ended for so many ticks of a second. One timer for all: system calls are dear."""

    case: int = 0
    last: int = -1
    ticks: int = 0

    def ring(self, signum: int, frame: FrameType | None) -> None:
        self.ticks = self.ticks + 1 if self.case == self.last else 0
        self.last = self.case
        if self.ticks >= SECONDS:
            self.ticks = 0
            raise TooLongError


def batch(form: Format, pool: list[bytes], said: set[str], count: int, seed: int, until: float) -> Report:
    """So many cases, or those of some seconds, in a process of their own with limits of its own."""
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=MEMORY) as folder:
        path, answer = Path(folder) / f"case{form.suffix}", Path(folder) / "answer.json"
        child = os.fork()
        if child == 0:
            try:
                _limit()
                answer.write_text(json.dumps(cases(form, pool, said, count, seed, until, path)))
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        if answer.exists():
            report: Report = json.loads(answer.read_text())
            for number in report["hit"]:
                probes.hits[number] = 1
            return report
        problem = f"the process died: status {status}"
        findings = [(problem, path.read_bytes().hex() if path.exists() else "")]
        none: dict[str, list[Any]] = {"said": [], "hit": [], "kept": []}
        return {"done": 1, "seconds": BATCH_SECONDS, "findings": findings, "found": {problem: 1}, **none}


def _limit() -> None:
    """The process dies when even the clock of `cases` cannot stop it, and has no more memory than it may take."""
    resource.setrlimit(resource.RLIMIT_CPU, (int(BATCH_SECONDS) + 4 * SECONDS, resource.RLIM_INFINITY))
    signal.setitimer(signal.ITIMER_REAL, LONGEST_WAIT)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + BYTES, resource.RLIM_INFINITY))


def cases(form: Format, pool: list[bytes], said: set[str], count: int, seed: int, until: float, path: Path) -> Report:
    """Mutants, what is new among them, and what went wrong."""
    draw, heard, words = Draw(seed), set(said), form.words
    draw.words = words
    pool, kept, found = list(pool), [], Counter[str]()
    findings: list[tuple[str, str]] = []
    before, limit = bytes(probes.hits), len(probes.places)
    covered = probes.hits.count(1, 0, limit)
    clock, begun = _Clock(), time.process_time()
    warnings.simplefilter("error")  # a reader that lets Python warn is a finding
    signal.signal(signal.SIGPROF, clock.ring)
    signal.setitimer(signal.ITIMER_PROF, 1, 1)
    try:
        for clock.case in range(1, count + 1):
            data = mutant(form, pool, draw)
            path.write_bytes(data)
            problem, word = judge(form, path, played=clock.case % 50 == 0)
            if problem:
                found[kind_of(problem)] += 1
                if found[kind_of(problem)] <= MOST_ALIKE:
                    findings.append((problem, data.hex()))
            now = probes.hits.count(1, 0, limit)
            if (now > covered or word not in heard) and len(data) < LARGEST:
                kept.append(data.hex())
                pool.append(data)
            covered = now
            heard.add(word)
            if clock.case % 16 == 0 and (time.process_time() - begun > BATCH_SECONDS or time.monotonic() > until):
                break
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    hit = [number for number in range(limit) if probes.hits[number] > before[number]]
    seconds = time.process_time() - begun
    return {
        "done": clock.case, "seconds": seconds, "said": sorted(heard - said), "hit": hit, "kept": kept,
        "findings": findings, "found": found,
    }  # fmt: skip


def mutant(form: Format, pool: list[bytes], draw: Draw) -> bytes:
    """A sound file or an earlier mutant, changed once or a few times."""
    data = draw.choice(form.seeds if draw.random() < 0.25 else pool)
    draw.other = draw.choice(pool)
    for _ in range(draw.choice((1, 1, 1, 2, 3, 6))):
        try:
            data = draw.choice(form.mutators)(data, draw)
        except Exception:  # an earlier change broke the form that this mutator knows
            break
    return gzip.compress(data, 1) if form.zipped and draw.random() < 0.02 else data


def judge(form: Format, path: Path, played: bool) -> tuple[str, str]:
    """What is wrong with how a file was taken, or nothing; and what the reader said, without numbers and names."""
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
        return f"took longer than {SECONDS} s\n{traceback.format_exc()}", "slow"
    except BaseException:
        return traceback.format_exc(), "raised"
    return "", re.sub(r"'[^']*'|\d+|[^ -~]", "", word.replace(str(path), ""))


def kind_of(problem: str) -> str:
    """Where the innermost own line was, and what it raised."""
    last = problem.strip().splitlines()[-1].split(":")[0]
    at = re.findall(r'hiersim/([\w/]+\.py)", line (\d+)', problem)
    return f"{last[:100]} at {at[-1][0]}:{at[-1][1]}" if at else last[:100]


def play(trace: Trace) -> None:
    """What a user does next."""
    if lower(eager(trace), _tiny()).stage_counts().sum() < MOST_STAGES:
        simulate(trace, _tiny())


@functools.cache
def _tiny() -> Design:
    return load_design("tiny")
