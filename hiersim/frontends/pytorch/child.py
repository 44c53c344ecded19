"""Captures an Inductor schedule: `python -m hiersim.frontends.pytorch.child TARGET OUTPUT TRAIN WORKLOAD`.

TRAIN is 0 or 1, WORKLOAD is JSON. Its last line on standard error is the error as JSON, when there is one. Without
words it serves: each line of standard input is a request of `CaptureProcess`, made in a fork; the answer is its status.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any, Final

from hiersim.errors import HiersimError
from hiersim.frontends.archive import save_trace
from hiersim.frontends.integrity import check_trace
from hiersim.frontends.pytorch.inductor import capture_schedule
from hiersim.frontends.pytorch.record import record, with_schedule
from hiersim.frontends.pytorch.workload import Workload

WARM: Final = (
    "torch._inductor.compile_fx", "torch._inductor.scheduler", "torch.export._trace", "torch._export.db.logging",
    "torch._inductor.fx_passes.fuse_attention", "torch._inductor.fx_passes.pad_mm",
    "hiersim.frontends.pytorch.inductor_reader", "hiersim.frontends.pytorch.inductor_graphs",
    "hiersim.frontends.schedule_builder",
)  # fmt: skip
"""What every capture imports. Importing them changes nothing that a capture sees."""


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


def serve() -> int:
    """A fork for each line, until there are no more."""
    for name in WARM:
        importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        _import_library(request["words"][0])
        child = os.fork()
        if child == 0:
            _answer(request)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    return 0


def _import_library(target: str) -> None:
    """What captures of such targets share; a library that is not there is told by the capture."""
    try:
        if target.startswith("hf:"):
            importlib.import_module("hiersim.frontends.pytorch.huggingface")._library()
    except HiersimError:
        pass


def _answer(request: dict[str, Any]) -> None:
    """Capture in this process, which ends with the status."""
    status = 1
    try:
        errors = os.open(Path(request["folder"]) / "stderr", os.O_WRONLY | os.O_CREAT)
        os.dup2(errors, 1)
        os.dup2(errors, 2)
        os.chdir(request["cwd"])
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = request["folder"]
        sys.path[:] = dict.fromkeys([*request["path"], *sys.path])
        importlib.invalidate_caches()
        status = main(*request["words"])
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) if len(sys.argv) > 1 else serve())
