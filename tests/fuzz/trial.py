"""One mutant after the other: changed, read, and judged."""

from __future__ import annotations

import json
import os
import random
import re
import resource
import signal
import time
import traceback
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any, Final

import networkx  # noqa: F401  # before a clock runs: readers import it where they need it
from formats import Format

from hiersim.config.load import load_design
from hiersim.errors import HiersimError
from hiersim.fusion.eager import eager
from hiersim.lowering.lower import lower
from hiersim.model.trace import Trace
from hiersim.run import simulate

Report = dict[str, Any]
"""`done`: cases; `said`: what readers had not said before; `kept`: mutants that made them; `findings`."""
SECONDS: Final = 5.0
"""Processor time of a case: others may use the machine too."""
BYTES: Final = 10**9
LARGEST: Final = 50_000
"""Bytes of a mutant that is changed further."""
MOST_STAGES: Final = 3000
"""A trace with more is lowered, but not played."""


class TooLongError(Exception):
    """A case ran over its time."""


def batch(form: Format, pool: list[bytes], said: set[str], count: int, seed: int, until: float) -> Report:
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
            report: Report = json.loads(answer.read_text())
            return report
        problem = f"the process died: status {status}"
        data = path.read_bytes().hex() if path.exists() else ""
        return {"done": count, "said": [], "kept": [], "findings": [(problem, data)]}


def cases(form: Format, pool: list[bytes], said: set[str], count: int, seed: int, until: float, path: Path) -> Report:
    """Mutants, what is new among them, and what went wrong."""
    draw, heard = random.Random(seed), set(said)
    kept: list[str] = []
    findings: list[tuple[str, str]] = []
    pool = list(pool)
    signal.signal(signal.SIGPROF, _ring)
    done = 0
    for done in range(1, count + 1):
        if time.monotonic() > until:
            break
        data = draw.choice(form.seeds if draw.random() < 0.3 else pool)
        for _ in range(draw.choice((1, 1, 1, 2, 3, 6))):
            try:
                data = draw.choice(form.mutators)(data, draw)
            except Exception:  # an earlier change broke the form that this mutator knows
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
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
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
        signal.setitimer(signal.ITIMER_PROF, 0)
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
