"""Record the profiles of notebook 3 on a GPU: `python record_encoder.py` writes them beside itself."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile, schedule

WIDTH, HEADS, BLOCKS = 768, 12, 6
SHAPES = ((1, 128), (32, 512))
"""Sequences and tokens of each."""
EVENTS = ("cpu_op", "cuda_runtime", "cuda_driver", "kernel", "gpu_memcpy", "gpu_memset")
HEAD = (
    "schemaVersion", "deviceProperties", "cuda_driver_version", "cuda_runtime_version", "cupti_version",
    "displayTimeUnit", "baseTimeNanoseconds",
)  # fmt: skip


class Block(nn.Module):
    """Attention and a feed-forward net, normalized before each."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, tokens, width = x.shape
        shape = (batch, tokens, 3, HEADS, width // HEADS)
        query, key, value = self.qkv(self.first(x)).view(shape).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, tokens, width))
        return x + self.down(functional.gelu(self.up(self.second(x))))


def record(model: nn.Module, batch: int, tokens: int) -> dict[str, object]:
    """One forward pass after sixty others, as the profiler exports it, without what no reader needs."""
    x = torch.randn(batch, tokens, WIDTH, device="cuda", dtype=torch.bfloat16)
    steps = schedule(wait=1, warmup=10, active=1)
    watched = [ProfilerActivity.CPU, ProfilerActivity.CUDA]
    with torch.inference_mode(), sdpa_kernel(SDPBackend.FLASH_ATTENTION), TemporaryDirectory() as folder:
        for _ in range(50):
            model(x)
        with profile(activities=watched, record_shapes=True, schedule=steps) as profiler:
            for _ in range(12):
                model(x)
                torch.cuda.synchronize()
                profiler.step()
        file = Path(folder, "trace.json")
        profiler.export_chrome_trace(str(file))
        whole = json.loads(file.read_text())
    events = [event for event in whole["traceEvents"] if event.get("ph") == "X" and event.get("cat") in EVENTS]
    return {**{key: whole[key] for key in HEAD if key in whole}, "traceEvents": events}


def main() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(*[Block() for _ in range(BLOCKS)]).cuda().bfloat16().eval()
    for batch, tokens in SHAPES:
        text = json.dumps(record(model, batch, tokens), separators=(",", ":")).encode()
        path = Path(__file__).with_name(f"encoder-b{batch}.json.gz")
        path.write_bytes(gzip.compress(text, 9, mtime=0))


if __name__ == "__main__":
    main()
