"""The process that `ncu` watches: `python -m hiersim.measure.counted ASKED DONE SECONDS`.

ASKED is a JSON list of names of cases; to DONE it appends one line for each call that was made inside the watched part.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch

from hiersim.measure.clock import CudaClock
from hiersim.measure.kernels import precision, prepared
from hiersim.measure.recipe import Make, Recipe
from hiersim.measure.suites import cases_of


def main(asked: str, done: str, seconds: str) -> int:
    """Call each case once, watched, until the time is up."""
    names = json.loads(Path(asked).read_text())
    cases = cases_of(sorted({name.partition("/")[0] for name in names}))
    known = {case.case: case for case in cases if isinstance(case, Recipe)}
    clock = CudaClock(torch.device("cuda"), 0.0)
    end = time.monotonic() + float(seconds)
    with Path(done).open("w") as log, torch.no_grad():
        for name in names:
            case = known[name]
            for mode in case.modes:
                if time.monotonic() > end:
                    return 0
                with precision(case.dtype):
                    _watch(case, mode, clock)
                log.write(json.dumps({"case": name, "mode": mode}) + "\n")
                log.flush()
    return 0


def _watch(case: Recipe, mode: str, clock: CudaClock) -> None:
    call = prepared(case, mode, Make(clock.device))
    for _ in range(2):
        call()
    clock.synchronize()
    torch.cuda.profiler.start()
    clock.spin()
    call()
    clock.synchronize()
    torch.cuda.profiler.stop()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
