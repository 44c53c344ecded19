"""`python -m benchmarks`: measure, print Markdown, write out/bench/results.json."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks import engines, fusing, hierarchy, road, whole_processes
from benchmarks.measure import Figure, Line, Sample, Skipped, machine
from benchmarks.report import markdown, paste, save
from benchmarks.workloads import roomy, trace_of

GROUPS: dict[str, Callable[[argparse.Namespace], Iterator[Line]]] = {
    "start": lambda options: whole_processes.cold_start(options.repeats),
    "engines": lambda options: engines.same_programs(options.repeats),
    "large": lambda options: engines.large_programs(options.repeats),
    "tiles": lambda options: engines.by_tiles(options.repeats, options.largest),
    "tiers": lambda options: engines.by_tiers(options.repeats),
    "kernels": lambda options: engines.by_kernels(options.repeats),
    "hierarchy": lambda options: hierarchy.with_everything_on(options.repeats),
    "road": lambda options: road.warm_changes(options.repeats),
    "parts": lambda options: road.parts(options.repeats),
    "sweep": lambda options: road.sweep(options.repeats),
    "layers": lambda options: road.by_layers(options.repeats),
    "operators": lambda options: road.by_operators(options.repeats, options.largest),
    "fusing": lambda options: fusing.large_traces(options.repeats, options.largest),
    "memory": lambda options: iter([whole_processes.large_trace(options.largest)]),
    "rooflines": lambda options: road.against_rooflines(options.repeats),
    "peers": lambda options: peers(options.repeats),
}


def peers(repeats: int) -> Iterator[Line]:
    """The peers under HIERSIM_PEERS_PYTHON; says which were not there."""
    group = "peers, Llama-3-70B prefill"
    if road.engine_name() != "reference":
        ours = road.warm_change(trace_of("llama3-70b-prefill"), roomy(), "eager", repeats)
        yield replace(ours, group=group, name="hiersim, a simulation with ledger: " + ours.name)
    python = os.environ.get("HIERSIM_PEERS_PYTHON")
    if not python:
        yield Skipped(group=group, name="all peers", why="HIERSIM_PEERS_PYTHON names no interpreter")
        return
    script = str(Path(__file__).with_name("peers.py"))
    answer = subprocess.run([python, script], capture_output=True, text=True, check=False)
    if answer.returncode:
        yield Skipped(group=group, name="all peers", why=f"{python} exits with {answer.returncode}")
        return
    seen = json.loads(answer.stdout)
    for peer in seen["found"]:
        sample = Sample(cpu=tuple(peer["cpu_s"]), wall=tuple(peer["cpu_s"]))
        facts = {key: peer[key] for key in ("import_s", "predicted_s", "designs_per_s", "first_s")}
        note = f"an interpreter of its own, Python {seen['python']}; times are processor times"
        yield Figure(
            group=group, name=f"{peer['name']}, {peer['rows']} operator estimates", unit="estimates",
            work=peer["rows"], sample=sample, facts=facts, note=note,
        )  # fmt: skip
    for name, why in seen["missing"].items():
        yield Skipped(group=group, name=name, why=why)


def main() -> None:
    """Measure the chosen groups; results so far are kept when it is interrupted."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; all by default")
    parser.add_argument("--out", type=Path, default=Path("out/bench"), help="folder for the results")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--largest", type=int, default=10**6, help="tiles and operators of the largest case")
    parser.add_argument("--paste", type=Path, metavar="PAGE", help="put the tables between the marks of this page")
    options = parser.parse_args()
    unknown = [name for name in options.groups if name not in GROUPS]
    if unknown:
        parser.error(f"'{unknown[0]}' is not one of {', '.join(GROUPS)}")
    facts, lines = machine(), []
    for name in options.groups or GROUPS:
        sys.stderr.write(f"{name} …\n")
        for line in GROUPS[name](options):
            lines.append(line)
            save(options.out, facts, lines)
    sys.stdout.write(markdown(facts, lines))
    if options.paste:
        paste(options.paste, markdown(facts, lines))


if __name__ == "__main__":
    main()
