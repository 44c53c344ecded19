"""One run of a large synthetic trace, for a process of its own: `python -m benchmarks.large 1000000`."""

from __future__ import annotations

import json
import sys
import time

from benchmarks.measure import peak_mb
from benchmarks.road import last_counts
from benchmarks.workloads import LARGE, roomy
from hiersim.run import simulate
from hiersim.testing.synthetic import layered_trace


def main(operators: int) -> None:
    """Build, simulate, print what was seen as JSON."""
    began = time.process_time()
    trace = layered_trace(operators // 16)
    built = time.process_time()
    result = simulate(trace, roomy(LARGE))
    seen = {
        "build_s": built - began,
        "simulate_s": time.process_time() - built,
        "kernels": len(result.program),
        "nests": len(result.program.depth),
        "stages": int(result.program.stage_counts().sum()),
        "peak_mb": round(peak_mb()),
        "counts": last_counts(),
    }
    sys.stdout.write(json.dumps(seen) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
