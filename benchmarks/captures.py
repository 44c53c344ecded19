"""What captures cost: `python -m benchmarks.captures [NAME …]` prints time and peak memory of each.

Each is the command that a user types, eager and inductor together, in a new process. What it may take is counted in
processor time, so that a machine with other work gives the same answer; the wall time is what such a machine took.
Needs the extras torch, hf and timm. Exit code 1 when one takes more than it may.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MOST_SECONDS: Final = 180.0
MOST_BYTES: Final = 4 * 10**9
TOLERANCE: Final = 0.005
"""Of FLOPs, relative."""
CAPTURES: Final = {
    "llama3-8b-prefill": (), "llama3-8b-decode": (), "llama3-70b-prefill": (), "llama3-70b-decode": (),
    "mixtral-8x7b-prefill": (), "mixtral-8x7b-decode": (), "bert-large-prefill": (), "gpt2-large-prefill": (),
    "gpt2-train": (), "vit-large-infer": (), "resnet50-infer": (), "timm:regnety_032": ("--batch", "8"),
    "sd15-unet-infer": (), "dit-xl-infer": (), "bev-vision-infer": (),
}  # fmt: skip
"""Targets of `hiersim capture torch`, and their options."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one capture."""

    wall_s: float
    cpu_s: float
    peak_bytes: int
    """Of the largest process: TorchInductor has one of its own beside that of the command."""
    problem: str = ""

    @property
    def fits(self) -> bool:
        """Done within what it may take, by the time of all its processes."""
        return not self.problem and self.cpu_s <= MOST_SECONDS and self.peak_bytes <= MOST_BYTES


def cost_of(target: str, mode: str) -> Cost:
    """Capture `target` once."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "hiersim", "capture", "torch", target, *CAPTURES.get(target, ()), "--mode", mode,
            "-o", str(Path(folder) / "trace.npz"),
        ]  # fmt: skip
        begun = time.perf_counter()
        with (Path(folder) / "said").open("w+") as said:
            process = subprocess.Popen(command, stdout=said, stderr=said)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            wall = time.perf_counter() - begun
            said.seek(0)
            lines = said.read().strip().splitlines() or [f"exit code {process.returncode}"]
    unit = 1 if sys.platform == "darwin" else 1024
    return Cost(
        wall_s=wall, cpu_s=usage.ru_utime + usage.ru_stime, peak_bytes=usage.ru_maxrss * unit,
        problem=lines[-1] if process.returncode else "",
    )  # fmt: skip


def agrees(target: str) -> tuple[int, int]:
    """Matrix FLOPs of an eager capture, and those that `torch.utils.flop_counter` counts."""
    from benchmarks.torch_flops import flops_by_torch
    from hiersim.frontends.pytorch.record import record
    from hiersim.frontends.pytorch.workload import Workload

    options = CAPTURES.get(target, ())
    workload = Workload(batch=int(options[1]) if options[:1] == ("--batch",) else None)
    trace, _ = record(target, False, workload=workload)
    return int(trace.graph.operators.matrix_flops.sum()), flops_by_torch(target, workload=workload)


def flops(names: list[str]) -> int:
    """Print how FLOPs compare; 1 where they differ by more than they may."""
    print("| capture | matrix FLOPs | by torch | |\n|---|--:|--:|---|")
    alike = True
    for name in names:
        ours, by_torch = agrees(name)
        good = abs(ours - by_torch) <= TOLERANCE * by_torch
        alike = alike and good
        print(f"| `{name}` | {ours:,} | {by_torch:,} | {'' if good else 'differs'} |", flush=True)
    return int(not alike)


def main() -> int:
    """Print a row for each capture as it ends."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.captures", description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", default=list(CAPTURES), help="targets (default: those that are promised)")
    parser.add_argument("--mode", default="inductor", choices=["eager", "inductor"])
    parser.add_argument("--flops", action="store_true", help="instead: FLOPs beside those that torch counts")
    arguments = parser.parse_args()
    if arguments.flops:
        return flops(arguments.names)
    print(f"load {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores, {arguments.mode}\n")
    print("| capture | wall | processor | memory | |\n|---|--:|--:|--:|---|")
    costs = []
    for name in arguments.names:
        cost = cost_of(name, arguments.mode)
        costs.append(cost)
        verdict = cost.problem or ("" if cost.fits else "takes more than it may")
        memory = f"{cost.peak_bytes / 1e6:.0f} MB"
        print(f"| `{name}` | {cost.wall_s:.0f} s | {cost.cpu_s:.0f} s | {memory} | {verdict} |", flush=True)
    return int(not all(cost.fits for cost in costs))


if __name__ == "__main__":
    sys.exit(main())
