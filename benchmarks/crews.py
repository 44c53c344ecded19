"""Who computes a sweep of 10 000 designs, and what does it cost beside the points themselves?

    python -m benchmarks.crews                     # local processes, then a Dask cluster on this machine
    python -m benchmarks.crews --trace relu        # points of almost no work: what is left is the crew's own
    python -m benchmarks.crews local --points 2500

The same sweep runs once for each crew, in a process of its own: `local` (two processes of this machine), `local-3`
(three), `dask` (a `LocalCluster` of three workers) and `dask-killed` (the same, one worker gets SIGKILL half way). Said
of each: wall and processor time from the call to the result, of the process and all that it started; the most memory
that each process had; and the axes that xarray finds in the file. A cluster is up before the call, as with `--dask
ADDRESS`; what it takes by the second when it idles is measured before, told, and taken off. Files must be equal byte
for byte. *Overhead* is the processor time that is not spent on points in the workers, by points: starting workers where
they are started, imports, handing out, sending, collecting, and writing the file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hiersim as hs
from benchmarks.processes import cpu_seconds, note_peaks
from hiersim.model.trace import Trace
from hiersim.sweeps import job
from hiersim.sweeps.axes import Vary
from hiersim.sweeps.columns import Columns
from hiersim.sweeps.folder import RESULTS
from hiersim.testing.synthetic import layered_trace

DASK_WORKERS = 3
LOCAL = {"local": 2, "local-3": DASK_WORKERS}
"""Crews of processes of this machine, and how many."""
CREWS = (*LOCAL, "dask", "dask-killed")
LAYERS = 63
"""Of 16 operators each: 1 008."""
RELU = Path(__file__).parents[1] / "docs" / "examples" / "relu.jsonl"


def trace_of(name: str) -> Trace:
    """`layers`, 1 008 operators; or `relu`, one."""
    return layered_trace(LAYERS) if name == "layers" else hs.load_trace(str(RELU))


def axes(points: int) -> Vary:
    """About so many designs: sizes of the L2 and bandwidths of the HBM, as many of each."""
    side = round(points**0.5)
    return {
        "memory.l2.capacity": f"10 MiB..{10 + side - 1} MiB+1 MiB",
        "memory.hbm.bandwidth": f"1 TB/s..{1000 + 10 * (side - 1)} GB/s+10 GB/s",
    }


def watched() -> list[float]:
    """Processor seconds of each run of points from now on, as it comes back; also of those of this process itself."""
    found: list[float] = []
    own, sent = job.Bench.done, vars(job.Sent)["columns"].fget

    def done(self: job.Bench, points: Sequence[int]) -> job.Done:
        made = own(self, points)
        found.append(made.cpu_seconds)
        return made

    def columns(self: job.Sent) -> Columns:
        found.append(self.cpu_seconds)
        made: Columns = sent(self)
        return made

    job.Bench.done = done  # type: ignore[method-assign]
    job.Sent.columns = property(columns)  # type: ignore[assignment,method-assign]
    return found


def idling(root: int, seconds: float = 4.0) -> float:
    """Processor seconds that the processes take each second when they have nothing to do."""
    before, began = cpu_seconds(root), time.perf_counter()
    time.sleep(seconds)
    return (cpu_seconds(root) - before) / (time.perf_counter() - began)


def child(crew: str, name: str, points: int, folder: str) -> None:
    """One sweep by one crew; prints what was seen as JSON."""
    trace, own, memory, killed = trace_of(name), os.getpid(), dict[int, int](), list[int]()
    with ExitStack() as stack:
        how: dict[str, Any] = {"workers": LOCAL.get(crew)}
        if crew not in LOCAL:
            how = {"dask": stack.enter_context(_client(stack))}

        def progress(done: int, of: int) -> None:
            note_peaks(own, memory)
            if crew == "dask-killed" and 2 * done >= of and not killed:
                killed.append(next(iter(how["dask"].run(os.getpid).values())))
                os.kill(killed[0], signal.SIGKILL)

        idle = 0.0 if crew in LOCAL else idling(own)
        before, began = cpu_seconds(own), time.perf_counter()
        worked = watched()
        found = hs.sweep(trace, "h100-sxm", vary=axes(points), out=folder, progress=progress, **how)
        wall, cpu = time.perf_counter() - began, cpu_seconds(own) - before
    assert not found.failed, found.failed
    assert bool(killed) == (crew == "dask-killed")
    seen = {
        "crew": crew, "points": len(found), "operators": len(trace.graph.operators), "wall_s": round(wall, 2),
        "cpu_s": round(cpu, 2), "idle_cpu": round(idle, 3),
        "ms_per_point": round(1e3 * sum(worked) / len(found), 3),
        "overhead_ms_per_point": round(1e3 * (cpu - idle * wall - sum(worked)) / len(found), 3),
        "peak_mb": sorted(memory.values(), reverse=True),
    }  # fmt: skip
    print(json.dumps(seen))


def _client(stack: ExitStack) -> Any:
    from distributed import Client, LocalCluster

    cluster = LocalCluster(n_workers=DASK_WORKERS, threads_per_worker=1, dashboard_address=None, silence_logs=50)
    client = Client(stack.enter_context(cluster))
    client.wait_for_workers(DASK_WORKERS)
    return client


def opened(folder: Path) -> str:
    """The axes that xarray finds."""
    time_s = hs.load_sweep(folder).to_xarray().time_s
    return ", ".join(f"{name} {len(values)}" for name, values in time_s.coords.items() if values.ndim)


def main() -> None:
    """Each crew in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("crews", nargs="*", metavar="CREW", help=", ".join(CREWS))
    parser.add_argument("--points", type=int, default=10_000)
    parser.add_argument("--trace", choices=["layers", "relu"], default="layers")
    parser.add_argument("--child", nargs=2, metavar=("CREW", "DIR"))
    options = parser.parse_args()
    if options.child:
        child(options.child[0], options.trace, options.points, options.child[1])
        return
    seen: dict[str, dict[str, Any]] = {}
    files: set[str] = set()
    with tempfile.TemporaryDirectory() as scratch:
        for crew in options.crews or CREWS:
            folder = Path(scratch) / crew
            command = [sys.executable, "-m", "benchmarks.crews", "--child", crew, str(folder)]
            command += ["--trace", options.trace, "--points", str(options.points)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            seen[crew] = json.loads(done.stdout.splitlines()[-1])
            data = (folder / RESULTS).read_bytes()
            files.add(hashlib.sha256(data).hexdigest())
            print(json.dumps(seen[crew]), f"{len(data):,} bytes, axes: {opened(folder)}", flush=True)
    assert len(files) == 1, "files differ"
    if {"local-3", "dask"} <= set(seen):
        extra = seen["dask"]["overhead_ms_per_point"] - seen["local-3"]["overhead_ms_per_point"]
        print(f"all files equal; a point's overhead is {extra:+.3f} ms of processor time more with Dask")


if __name__ == "__main__":
    main()
