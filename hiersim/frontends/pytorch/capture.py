"""`capture_torch`: a PyTorch model becomes a trace, without a GPU and without its weights."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path

from hiersim import errors
from hiersim.errors import HiersimError, MissingExtraError, TraceError, nearest
from hiersim.frontends.archive import load_archive
from hiersim.frontends.pytorch.capture_process import CaptureProcess, run_once
from hiersim.frontends.pytorch.workload import PLAIN, Workload
from hiersim.model.regions import Shapes
from hiersim.model.trace import Trace

MODES = ("eager", "inductor", "dynamo")


def require_torch() -> None:
    """Raise `MissingExtraError` where torch is not installed."""
    try:
        import torch  # noqa: F401
    except ImportError:
        raise MissingExtraError("capture", "torch", "torch") from None


def capture_torch(
    target: str, mode: str = "eager", train: bool = False, workload: Workload = PLAIN, shapes: str = "automatic",
    process: CaptureProcess | None = None,
) -> Trace:  # fmt: skip
    """Capture a model.

    Parameters
    ----------
    target : str
        A bundled name; `hf:NAME` or `hf:config.json` of transformers; `timm:NAME`; or `package.module:function`
        returning (model, args) or (model, args, kwargs), which is called under the meta device.
    mode : str
        `eager`; `inductor` for the eager graph and TorchInductor's schedule beside it; `dynamo` for the eager graph as
        TorchDynamo cuts it into regions.
    train : bool
        Record a training step: forward, loss, backward, AdamW. Bundled names know it themselves.
    workload : Workload
        Batch, sequence, phase, image size, element type and settings of an `hf:` or `timm:` target.
    shapes : str
        Of mode `dynamo`: what a region does when sizes change, `automatic`, `static` or `dynamic`.
    process : CaptureProcess or None
        Of mode `inductor`: the process whose imports several captures share; None for one of its own.

    Raises
    ------
    TraceError
        The target cannot be imported, or needs real data.
    MissingExtraError
        PyTorch is not installed.
    """
    require_torch()
    if mode not in MODES:
        raise TraceError(f"'{mode}' is not a capture mode", expected=nearest(mode, MODES))
    if mode != "dynamo" and shapes != "automatic":
        raise TraceError("only a mode that compiles regions treats sizes", key="--shapes", expected="--mode dynamo")
    known = {item.name.lower(): item for item in Shapes}
    if shapes not in known:
        raise TraceError(f"'{shapes}' is no way to treat sizes", key="--shapes", expected=nearest(shapes, known))
    if mode == "inductor":
        return capture_in_subprocess(target, train, workload, process)
    from hiersim.frontends.pytorch.record import record

    return record(target, train, mode, workload, known[shapes])[0]


def capture_in_subprocess(
    target: str, train: bool, workload: Workload = PLAIN, process: CaptureProcess | None = None
) -> Trace:
    """The eager graph and Inductor's schedule of `target`; see `capture_torch`."""
    from hiersim.frontends.pytorch.inductor import check_version

    check_version()
    with tempfile.TemporaryDirectory(prefix="hiersim-") as folder:
        output = Path(folder) / "trace.npz"
        words = [target, str(output), str(int(train)), workload.to_json()]
        status, stderr = (run_once if process is None else process.run)(words, Path(folder))
        if status != 0 or not output.exists():
            raise _error_of(stderr)
        return load_archive(output)


def _error_of(stderr: str) -> HiersimError:
    """The error of the other process, as it was raised there."""
    last = (stderr.strip().splitlines() or ["it left no message"])[-1]
    try:
        report = json.loads(last)
        kind: type[HiersimError] = getattr(errors, report.pop("kind"))
        return (HiersimError if kind is MissingExtraError else kind)(**report)
    except (ValueError, AttributeError, TypeError, KeyError):
        raised = [line for line in stderr.splitlines() if re.match(r"[\w.]*(Error|Exception)\b", line)]
        return TraceError(
            f"inductor capture failed: {(raised or [last])[-1]}", expected="a model that torch.compile accepts"
        )
