"""Does a sweep that is killed again and again equal one that is left alone?

    python -m benchmarks.kills --kills 100

A sweep runs in a process of its own with two workers. At a random moment the process, a worker, or all of them are
killed with SIGKILL, and the sweep is started again, until it is done; then another begins. Now and then the disk is
full instead: from a random part on, the system cuts what is written after a few bytes and refuses the rest. And now and
then a byte of a part is changed before the sweep goes on. Held against it: the file of results, byte by byte, and that
no point of a whole part that was on the disk is computed again.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.processes import children
from hiersim.errors import HiersimError
from hiersim.sweeps import drive
from hiersim.sweeps.folder import DIGITS, PARTS, RESULTS
from hiersim.sweeps.run import sweep

TRACE, DESIGN = "docs/examples/relu.jsonl", "tiny"
CAPACITIES = "1 MiB..300 MiB+1 MiB"
POINTS = 300
PART = re.compile(rf"(\d{{9}})-(\d{{9}})-([0-9a-f]{{{DIGITS}}})\.parquet")
CUT = 100
"""Bytes of a file that go onto a full disk."""
REFUSED = 2
"""Exit status of a sweep that could not write."""
FULL, DAMAGE = 0.1, 0.15
"""How often the disk is full, and how often a part is damaged before a sweep goes on."""


def child(folder: str, workers: int, room: int) -> None:
    """The sweep, in runs so short that there is always one under way; says how many points it found and computed."""
    drive.RUN_SECONDS = drive.PATIENCE_SECONDS = 0.02  # type: ignore[misc]
    done: list[int] = []

    def progress(count: int, of: int) -> None:
        done.append(count)
        if len(done) == room:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (CUT, resource.RLIM_INFINITY))

    found = sweep(
        TRACE, DESIGN, vary={"memory.l2.capacity": CAPACITIES}, out=folder, workers=workers,
        progress=progress, report=lambda text: print(text, file=sys.stderr),
    )  # fmt: skip
    assert len(found) == POINTS
    print(f"computed {(done[-1] - done[0]) if done else 0}")


def start(folder: Path, workers: int = 2, room: int = 0) -> subprocess.Popen[str]:
    """The sweep in a process, at the head of a group of its own; with `room`, for so many reports of progress."""
    command = [sys.executable, "-m", "benchmarks.kills", "--child", str(folder), "--workers", str(workers)]
    command += ["--room", str(room)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def finished(folder: Path) -> set[int]:
    """Points of the whole parts that are on the disk."""
    points: set[int] = set()
    for path in (folder / PARTS).glob("[0-9]*.parquet"):
        match = PART.fullmatch(path.name)
        assert match is not None, path
        if hashlib.sha256(path.read_bytes()).hexdigest()[:DIGITS] != match.group(3):
            continue
        span = set(range(int(match.group(1)), int(match.group(2)) + 1))
        assert not points & span, f"points {sorted(points & span)} are there twice"
        points |= span
    return points


def strike(process: subprocess.Popen[str], whom: str) -> bool:
    """Kill the parent, one worker, or all; false when there was nobody to kill."""
    try:
        if whom == "all":
            os.killpg(process.pid, signal.SIGKILL)
        elif whom == "parent":
            process.kill()
        else:
            workers = children(process.pid)
            if not workers:
                return False
            os.kill(workers[-1], signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def ended(process: subprocess.Popen[str]) -> int:
    """Wait for the process, and for its workers, which may outlive a killed parent by a moment only."""
    code = process.wait(timeout=120)
    for _ in range(600):
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return code
        time.sleep(0.1)
    raise AssertionError("workers outlived the sweep by a minute")


def damaged(folder: Path, chance: random.Random) -> bool:
    """Change a byte of a part; false where there is none."""
    parts = sorted((folder / PARTS).glob("[0-9]*.parquet"))
    if not parts:
        return False
    path = chance.choice(parts)
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    return True


def one_sweep(folder: Path, chance: random.Random, kills: int, longest: float) -> Counter[str]:
    """Run a sweep to its end with at most so many kills on the way; returns what was done to it, how often."""
    struck, known = Counter[str](), set[int]()
    while True:
        full = struck["kills"] < kills and chance.random() < FULL
        process = start(folder, room=chance.randrange(1, 40) if full else 0)
        whom = chance.choice(["parent", "worker", "all"])
        if struck["kills"] < kills and not full:
            try:
                process.wait(timeout=chance.uniform(0, longest))
            except subprocess.TimeoutExpired:
                struck["kills"] += strike(process, whom)
        code = ended(process)
        output, errors = process.communicate()
        assert code in (0, -signal.SIGKILL, *((REFUSED,) if full else ())), errors
        if code == 0:
            computed = int(output.split()[-1])
            assert computed <= POINTS - len(known), f"{computed} points computed, {len(known)} were finished"
            return struck
        if code == REFUSED:
            assert "cannot be written" in errors, errors
            struck["full disks"] += 1
        if not (folder / RESULTS).exists():
            there = finished(folder) if folder.exists() and (folder / PARTS).exists() else set()
            assert known <= there, f"finished points were lost: {sorted(known - there)}"
            if chance.random() < DAMAGE and damaged(folder, chance):
                struck["damaged parts"] += 1
                there = finished(folder)
            known = there


def alone(scratch: Path) -> tuple[bytes, float]:
    """The results of sweeps that nobody kills, and the seconds that the second one took."""
    seconds, found = 0.0, set[bytes]()
    for name, workers in (("one", 1), ("two", 2)):
        began = time.monotonic()
        process = start(scratch / name, workers)
        assert ended(process) == 0, process.communicate()[1]
        seconds = time.monotonic() - began
        found.add((scratch / name / RESULTS).read_bytes())
    assert len(found) == 1, "one and two workers differ"
    return found.pop(), seconds


def main() -> None:
    """Count kills until there are enough."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--child", metavar="DIR")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--room", type=int, default=0)
    options = parser.parse_args()
    if options.child:
        try:
            child(options.child, options.workers, options.room)
        except HiersimError as error:
            print(error, file=sys.stderr)
            sys.exit(REFUSED)
        return
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as scratch:
        expected, longest = alone(Path(scratch))
        total = Counter({"kills": 0, "full disks": 0, "damaged parts": 0, "sweeps": 0})
        while total["kills"] < options.kills:
            folder = Path(scratch) / f"sweep-{total['sweeps']}"
            total.update(one_sweep(folder, chance, options.kills - total["kills"], longest))
            total["sweeps"] += 1
            assert (folder / RESULTS).read_bytes() == expected, "results differ"
            assert not (folder / PARTS).exists()
            what = ", ".join(f"{count} {name}" for name, count in total.items())
            print(f"{what}: all equal, {len(expected):,} bytes", flush=True)


if __name__ == "__main__":
    main()
