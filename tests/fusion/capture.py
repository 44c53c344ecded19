"""Captures the models again, with TorchInductor's schedules: `python tests/fusion/capture.py [NAME …]`."""

from __future__ import annotations

import sys
from pathlib import Path

from hiersim.frontends.archive import save_trace
from hiersim.frontends.pytorch.capture import capture_torch
from hiersim.frontends.pytorch.capture_process import CaptureProcess
from hiersim.frontends.pytorch.workload import PLAIN, Workload
from hiersim.views.traces import summary_of

HERE = Path(__file__).parent
MODELS = (
    "unet", "mobilenet", "densenet", "convnext", "mixer", "t5", "dlrm", "moe", "lstm", "mamba", "generator",
    "encoder_train", "mixer_train",
)  # fmt: skip
LATER = ("swin", "gqa", "dit", "gru", "wav", "gqa_train")
TEXT = {"num_hidden_layers": "2", "hidden_size": "512", "num_attention_heads": "8", "vocab_size": "8192"}
LIBRARIES: dict[str, tuple[str, dict[str, int], dict[str, str]]] = {
    "deit_train": ("timm:deit3_small_patch16_224", {"batch": 8}, {"depth": "2"}),
    "efficientnet": ("timm:efficientnet_b0", {"batch": 8}, {}),
    "electra_train": ("hf:electra", {"batch": 4, "sequence": 256}, {"num_hidden_layers": "2"}),
    "gemma2": (
        "hf:gemma2",
        {"batch": 4, "sequence": 256},
        {**TEXT, "num_key_value_heads": "4", "head_dim": "64", "intermediate_size": "1536"},
    ),
    "neox": ("hf:gpt_neox", {"batch": 4, "sequence": 256}, {**TEXT, "intermediate_size": "2048"}),
    "regnet": ("timm:regnety_016", {"batch": 8}, {}),
    "resnet18_train": ("timm:resnet18", {"batch": 8}, {}),
}
"""Models of transformers 5.24 and timm 1.0.31, as they are or with two layers: target, workload, settings."""


def capture(name: str, process: CaptureProcess) -> None:
    """Write `captured/NAME.npz`."""
    if name in LIBRARIES:
        target, sizes, settings = LIBRARIES[name]
        workload = Workload(**sizes, settings=tuple(settings.items()))
    else:
        target, workload = f"{'later_models' if name in LATER else 'models'}:{name}", PLAIN
    trace = capture_torch(target, "inductor", name.endswith("_train"), workload, process=process)
    save_trace(trace, HERE / "captured" / f"{name}.npz")
    print(f"{name}: {summary_of(trace)}")


if __name__ == "__main__":
    (HERE / "captured").mkdir(exist_ok=True)
    sys.path.insert(0, str(HERE))
    with CaptureProcess() as shared:
        for model in sys.argv[1:] or (*MODELS, *LATER, *LIBRARIES):
            try:
                capture(model, shared)
            except Exception as error:
                print(f"{model}: {error}")
