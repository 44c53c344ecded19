"""Written-out attention under TorchInductor for real: which forms become a call, and do the rules say the same?"""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from hiersim.frontends.pytorch.capture import capture_torch
from hiersim.fusion.agreement import agreement
from hiersim.fusion.inductor.policy import inductor_rules, partition
from hiersim.model.operators import Kind

pytestmark = [pytest.mark.torch, pytest.mark.slow, pytest.mark.xdist_group("written attention")]

MODEL = """
import torch
from torch import nn

class Layer(nn.Module):
    def __init__(self, scale, mask):
        super().__init__()
        self.project = nn.ModuleList([nn.Linear(128, 128) for _ in range(4)])
        self.scale, self.mask = scale, mask

    def forward(self, x, keep):
        q, k, v = (part(x).view(2, 64, 4, 32).permute(0, 2, 1, 3) for part in self.project[:3])
        scores = q @ k.transpose(-1, -2)
        scores = scores / 5.66 if self.scale == "div" else scores * 0.1768
        if self.mask:
            scores = scores + (1.0 - keep[:, None, None, :]) * torch.finfo(x.dtype).min
        y = torch.softmax(scores, dim=-1) @ v
        return self.project[3](y.permute(0, 2, 1, 3).reshape(2, 64, 128)) * keep[:, :, None]

def build(scale, mask, dtype):
    model = Layer(scale, mask).to(dtype).eval()
    return model, (torch.zeros(2, 64, 128, dtype=dtype), torch.ones(2, 64, dtype=dtype))

def masked(): return build("div", True, torch.bfloat16)
def multiplied(): return build("mul", False, torch.bfloat16)
def full_precision(): return build("div", True, torch.float32)
"""


@pytest.mark.parametrize(
    ("form", "calls", "copies"),
    [("masked", 1, False), ("multiplied", 1, True), ("full_precision", 0, True)],
)
def test_a_form_becomes_a_call_or_stays(
    form: str, calls: int, copies: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call is of the kernel that a GPU picks, and copies into a product's layout go where it needs none."""
    (tmp_path / "written_attention.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    trace = capture_torch(f"written_attention:{form}", "inductor")
    captured, ruled = trace.schedules["inductor"], inductor_rules(trace)
    for made in (captured, ruled):
        assert int((made.operators.kind == Kind.ATTENTION).sum()) == calls, made.policy
        assert any("clone" in name for name in made.names) is copies, made.policy
    assert len(ruled) == len(captured)
    found = agreement(trace, partition(trace.graph), captured)
    assert (found.precision, found.recall) == (1, 1), found.causes
