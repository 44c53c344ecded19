"""Captures the models of `models` again, with TorchInductor's schedules: `python tests/fusion/capture.py [NAME …]`."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
MODELS = (
    "unet", "mobilenet", "densenet", "convnext", "mixer", "t5", "dlrm", "moe", "lstm", "mamba", "generator",
    "encoder_train", "mixer_train",
)  # fmt: skip


def capture(name: str) -> None:
    """Write `captured/NAME.npz`."""
    from hiersim.frontends.archive import save_trace
    from hiersim.frontends.pytorch.capture import capture_torch, summary

    sys.path.insert(0, str(HERE))
    trace = capture_torch(f"models:{name}", "inductor", name.endswith("_train"))
    save_trace(trace, HERE / "captured" / f"{name}.npz")
    print(f"{name}: {summary(trace)}")


if __name__ == "__main__":
    (HERE / "captured").mkdir(exist_ok=True)
    for model in sys.argv[1:] or MODELS:
        try:
            capture(model)
        except Exception as error:
            print(f"{model}: {error}")
