"""Captures the models again, with TorchInductor's schedules: `python tests/fusion/capture.py [NAME …]`."""

from __future__ import annotations

import sys
from pathlib import Path

from hiersim.frontends.archive import save_trace
from hiersim.frontends.pytorch.capture import capture_torch
from hiersim.frontends.pytorch.capture_process import CaptureProcess
from hiersim.views.traces import summary_of

HERE = Path(__file__).parent
MODELS = (
    "unet", "mobilenet", "densenet", "convnext", "mixer", "t5", "dlrm", "moe", "lstm", "mamba", "generator",
    "encoder_train", "mixer_train",
)  # fmt: skip
LATER = ("swin", "gqa", "dit", "gru", "wav", "gqa_train")


def capture(name: str, process: CaptureProcess) -> None:
    """Write `captured/NAME.npz`."""
    module = "later_models" if name in LATER else "models"
    trace = capture_torch(f"{module}:{name}", "inductor", name.endswith("_train"), process=process)
    save_trace(trace, HERE / "captured" / f"{name}.npz")
    print(f"{name}: {summary_of(trace)}")


if __name__ == "__main__":
    (HERE / "captured").mkdir(exist_ok=True)
    sys.path.insert(0, str(HERE))
    with CaptureProcess() as shared:
        for model in sys.argv[1:] or (*MODELS, *LATER):
            try:
                capture(model, shared)
            except Exception as error:
                print(f"{model}: {error}")
