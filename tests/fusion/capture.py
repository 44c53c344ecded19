"""Captures the models again, with TorchInductor's schedules: `python tests/fusion/capture.py [NAME …]`."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
MODELS = (
    "unet", "mobilenet", "densenet", "convnext", "mixer", "t5", "dlrm", "moe", "lstm", "mamba", "generator",
    "encoder_train", "mixer_train",
)  # fmt: skip
LATER = ("swin", "gqa", "dit", "gru", "wav", "gqa_train")


def capture(name: str) -> None:
    """Write `captured/NAME.npz`."""
    from hiersim.frontends.archive import save_trace
    from hiersim.frontends.pytorch.capture import capture_torch, summary

    sys.path.insert(0, str(HERE))
    module = "later_models" if name in LATER else "models"
    trace = capture_torch(f"{module}:{name}", "inductor", name.endswith("_train"))
    save_trace(trace, HERE / "captured" / f"{name}.npz")
    print(f"{name}: {summary(trace)}")


if __name__ == "__main__":
    (HERE / "captured").mkdir(exist_ok=True)
    for model in sys.argv[1:] or (*MODELS, *LATER):
        try:
            capture(model)
        except Exception as error:
            print(f"{model}: {error}")
