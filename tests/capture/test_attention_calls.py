"""The attention that FlashAttention's authors time: what its reader writes down is what PyTorch calls."""

from math import prod, sqrt
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from hiersim.frontends.aten import VIEWS, packet  # noqa: E402
from hiersim.frontends.published.attention_calls import reference_call  # noqa: E402
from hiersim.model.operators import DType  # noqa: E402

pytestmark = pytest.mark.torch
BATCH, HEADS, LENGTH, HEAD = 2, 4, 32, 16
Calls = list[tuple[str, tuple[int, ...]]]


class _Noted(TorchDispatchMode):  # type: ignore[misc]
    """Notes each call with the sides of its result."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Calls = []

    def __torch_dispatch__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = call(*args, **(kwargs or {}))
        sides = tuple(result.shape) if isinstance(result, torch.Tensor) else ()
        self.calls.append((packet(str(call)), sides))
        return result


def _reference(qkv: Any) -> Any:
    q, k, v = qkv.unbind(dim=2)
    scores = torch.einsum("bthd,bshd->bhts", q, k / sqrt(HEAD))
    weights = torch.nn.functional.dropout(torch.softmax(scores, dim=-1), 0.0)
    return torch.einsum("bhts,bshd->bthd", weights, v)


def _called() -> Calls:
    """A second call of both passes, when there is a gradient to add to; states that are kept launch nothing."""
    qkv = torch.randn(BATCH, LENGTH, 3, HEADS, HEAD, requires_grad=True)
    for _ in range(2):
        with _Noted() as noted:
            result = _reference(qkv)
            result.backward(torch.randn_like(result), retain_graph=True)
    return [call for call in noted.calls if call[0] != "detach"]


def _written() -> Calls:
    sketch = reference_call(DType.FP16, BATCH, HEADS, LENGTH, HEAD, passes="fwd+bwd")
    return [(packet(call.operator), call.writes[0].shape) for call in sketch.taken]


def _kernels(calls: Calls) -> Calls:
    """Without views and sides of one, heads of all sequences together."""
    launched = [(name, [side for side in sides if side != 1]) for name, sides in calls if name not in VIEWS]
    flat = [(name, [BATCH * HEADS, *s[2:]] if s[:2] == [BATCH, HEADS] else s) for name, s in launched]
    return [(name, tuple(sides)) for name, sides in flat]


def test_the_kernels_are_those_that_pytorch_calls() -> None:
    called, written = _kernels(_called()), _kernels(_written())
    packed = called.index(("stack", (BATCH, LENGTH, 3, HEADS, HEAD)))
    called[packed : packed + 1] = [("copy_", (BATCH, LENGTH, HEADS, HEAD))] * 3  # one part after the other
    step = [name for name, _ in called].index("_softmax_backward_data")
    called.insert(step, ("mul", called[step][1]))  # a kernel of its own on a GPU
    assert [(name, prod(sides)) for name, sides in written] == [(name, prod(sides)) for name, sides in called]
    forward = 1 + [name for name, _ in called].index("randn_like")
    assert written[:forward] == called[:forward], "keys are copied as columns, queries and values as rows"


def test_so_are_the_views() -> None:
    seen = [sorted(name for name, _ in calls if name in VIEWS - {"narrow"}) for calls in (_called(), _written())]
    assert seen[0] == seen[1]
