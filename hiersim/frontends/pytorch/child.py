"""Captures an Inductor schedule: `python -m hiersim.frontends.pytorch.child TARGET OUTPUT TRAIN WORKLOAD`.

TRAIN is 0 or 1, WORKLOAD is JSON. Its last line on standard error is the error as JSON, when there is one.
"""

from __future__ import annotations

import importlib
import json
import sys

from hiersim.errors import HiersimError
from hiersim.frontends.archive import save_trace
from hiersim.frontends.integrity import check_trace
from hiersim.frontends.pytorch.inductor import capture_schedule
from hiersim.frontends.pytorch.record import record, with_schedule
from hiersim.frontends.pytorch.workload import Workload


def main(target: str, output: str, train: str, workload: str) -> int:
    """Capture `target` and write it to `output`."""
    try:
        trace, loaded = record(target, train == "1", "inductor", Workload.from_json(workload))
        if target.startswith("hf:"):
            importlib.import_module("hiersim.frontends.pytorch.huggingface").as_on_a_device()
        schedule, notes = capture_schedule(loaded, trace.graph)
        save_trace(check_trace(with_schedule(trace, "inductor", schedule, notes)), output)
    except HiersimError as error:
        place = {key: getattr(error, key) for key in ("problem", "file", "line", "key", "expected")}
        print(json.dumps({"kind": type(error).__name__, **place}), file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
