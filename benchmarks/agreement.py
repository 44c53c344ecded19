"""Both engines on every bundled trace, with every schedule that it carries, on every bundled design that holds it.

    python -m benchmarks.agreement lower FOLDER      # programs, and what the compiled engine makes of them
    pypy3 -m benchmarks.agreement play FOLDER        # what the reference engine makes of them; goes on where it ended
    python -m benchmarks.agreement compare FOLDER    # fails where a field differs, or a program is missing

700 million stages take the reference engine hours. It is plain Python, so that PyPy can play them, several times as
fast; NumPy and SimPy have to be there, and HIERSIM_PURE=1 in the environment. Fields are compared by their hashes.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import pickle
import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from hiersim.engines import reference
from hiersim.model.program import Program
from hiersim.model.timeline import StageLog, Timeline


def lower(folder: Path) -> None:
    """Write each program, and the hashes of the compiled engine's timeline.

    It plays stages event by event where it logs them, else ahead, all of them or with fast-forward: the same in each.
    """
    from hiersim.engines import compiled
    from hiersim.testing.contracts import differences

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "compiled.jsonl").open("w") as file:
        for number, (name, program) in enumerate(programs()):
            played = compiled.simulate(program, keep_log=True, fast_forward=False)
            for fast_forward in (False, True):
                other = compiled.simulate(program, fast_forward=fast_forward)
                assert not differences(played, dataclasses.replace(other, log=played.log)), name
            (folder / f"{number:04}.pickle").write_bytes(pickle.dumps(program))
            row = {"number": number, "name": name, "stages": stages_of(program), "hashes": hashes(played)}
            file.write(json.dumps(row) + "\n")


def programs() -> Iterator[tuple[str, Program]]:
    """Trace, design and schedule, and their program."""
    from hiersim import bundled
    from hiersim.config.load import load_design
    from hiersim.errors import CapacityError
    from hiersim.frontends.load import load_trace
    from hiersim.lowering.lower import lower as program_of
    from hiersim.run import kernels_of

    for trace in bundled.traces():
        loaded = load_trace(trace)
        for design in map(load_design, bundled.designs()):
            for fusion in ("eager", *loaded.schedules):
                try:
                    yield f"{trace} {design.name} {fusion}", program_of(kernels_of(loaded, design, fusion), design)
                except CapacityError:
                    continue


def stages_of(program: Program) -> int:
    """Stages that an engine plays without fast-forward."""
    return int(program.stage_counts().sum())


def play(folder: Path) -> None:
    """Append the hashes of the reference engine's timelines, small programs first."""
    setattr(reference, "MAX_STAGES", 10**8)  # noqa: B010  # a limit for the patience of users
    path = folder / "reference.jsonl"
    done = {row["number"] for row in rows(path)} if path.exists() else set()
    with path.open("a") as file:
        for row in sorted(rows(folder / "compiled.jsonl"), key=lambda row: (row["stages"], row["number"])):
            if row["number"] in done:
                continue
            program = pickle.loads((folder / f"{row['number']:04}.pickle").read_bytes())
            began = time.perf_counter()
            made = hashes(reference.simulate(program, keep_log=True))
            seconds = round(time.perf_counter() - began, 3)
            file.write(json.dumps({"number": row["number"], "seconds": seconds, "hashes": made}) + "\n")
            file.flush()
            del program
            gc.collect()  # gigabytes, of which PyPy does not know that arrays hold them


def hashes(timeline: Timeline) -> dict[str, str]:
    """Type, shape and SHA-256 of every field but the engine's name; those of the stage log by their own names."""
    assert timeline.log is not None
    fields = {item.name: getattr(timeline, item.name) for item in dataclasses.fields(Timeline)}
    fields |= {f"log.{item.name}": getattr(timeline.log, item.name) for item in dataclasses.fields(StageLog)}
    return {name: _hash(value) for name, value in fields.items() if name not in ("engine", "log")}


def _hash(value: Any) -> str:
    if not isinstance(value, np.ndarray):
        return repr(value)
    return f"{value.dtype} {value.shape} {sha256(np.ascontiguousarray(value).tobytes()).hexdigest()}"


def rows(path: Path) -> list[dict[str, Any]]:
    """The lines of a file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def compare(folder: Path) -> None:
    """Say how many programs agree; exit with 1 where a field differs or a program was not played."""
    wanted, found = rows(folder / "compiled.jsonl"), {row["number"]: row for row in rows(folder / "reference.jsonl")}
    faults = 0
    for row in wanted:
        hashed = found.get(row["number"], {"hashes": None})["hashes"]
        if hashed != row["hashes"]:
            faults += 1
            fields = [name for name, value in row["hashes"].items() if hashed and hashed.get(name) != value]
            print(f"{row['name']}: {', '.join(fields) or 'not played'}")
    stages = sum(row["stages"] for row in wanted if row["number"] in found)
    seconds = sum(row["seconds"] for row in found.values())
    print(
        f"{len(wanted) - faults} of {len(wanted)} programs agree in every field; {stages:,} stages in {seconds:,.0f} s"
    )
    sys.exit(faults > 0)


if __name__ == "__main__":
    {"lower": lower, "play": play, "compare": compare}[sys.argv[1]](Path(sys.argv[2]))
