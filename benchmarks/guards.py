"""`python -m benchmarks.guards`: what TorchDynamo's guards, entries and recompilations cost the host, as Markdown.

Needs PyTorch, no GPU. The compiled graphs do nothing, so that a call is guards, the entry and the arguments' way in.
`host.guard`, `host.region_entry`, `host.recompile` and `host.recompile_operator` of the bundled designs are from here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch._dynamo
from torch import nn
from torch._dynamo import convert_frame

CALLS, REPEATS = 2000, 7


class Chain(nn.Module):
    """A chain of small layers: parameters to guard."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(1, 1) for _ in range(layers)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def broken(breaks: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """A function of `breaks` + 1 regions."""
    lines = ["def function(x):", *(["    x = x + 1", "    torch._dynamo.graph_break()"] * breaks), "    return x + 1"]
    names: dict[str, Any] = {"torch": torch}
    exec("\n".join(lines), names)
    found: Callable[[torch.Tensor], torch.Tensor] = names["function"]
    return found


def nothing(graph: Any, inputs: Any) -> Callable[..., Any]:
    """A backend whose graphs return at once."""
    result = (torch.zeros(1),)
    return lambda *_: result


def leaves(manager: Any) -> int:
    """Guards of a tree."""
    inner = list(manager.get_child_managers())
    if hasattr(manager, "get_key_value_managers"):
        inner += [one for pair in manager.get_key_value_managers().values() for one in pair if one is not None]
    return len(manager.get_leaf_guards()) + sum(map(leaves, inner))


def measured(function: Any) -> tuple[int, float]:
    """Guards of all regions of a function, and microseconds of processor time of a call: the least of some rounds."""
    torch._dynamo.reset()
    codes: list[Any] = []
    hook = convert_frame.register_bytecode_hook(lambda code, _: codes.append(code))
    compiled, x = torch.compile(function, backend=nothing), torch.zeros(1)
    compiled(x)
    hook.remove()
    entries = [entry for code in codes for entry in torch._C._dynamo.eval_frame._debug_get_cache_entry_list(code)]
    times = []
    for _ in range(REPEATS):
        begin = time.process_time()
        for _ in range(CALLS):
            compiled(x)
        times.append((time.process_time() - begin) / CALLS)
    return sum(leaves(entry.guard_manager.root) for entry in entries), 1e6 * min(times)


def compiling(layers: int) -> float:
    """Seconds of processor time to compile 4 x `layers` operators with Dynamo and AOTAutograd."""
    torch._dynamo.reset()
    parts = [nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.LayerNorm(8), nn.GELU()) for _ in range(layers)]
    compiled = torch.compile(nn.Sequential(*parts), backend="aot_eager")
    begin = time.process_time()
    compiled(torch.zeros(3, 8))
    return time.process_time() - begin


def lines() -> Iterator[str]:
    """The tables."""
    yield "| function | guards | call, us |\n|---|--:|--:|"
    for layers in (1, 4, 16, 64, 256):
        guards, us = measured(Chain(layers))
        yield f"| module of {layers} layers | {guards} | {us:.1f} |"
    for breaks in (0, 1, 3):
        guards, us = measured(broken(breaks))
        yield f"| function of {breaks + 1} regions | {guards} | {us:.1f} |"
    compiling(1)
    yield "\n| operators | compiled in, s |\n|--:|--:|"
    for layers in (1, 4, 16):
        yield f"| {4 * layers} | {compiling(layers):.2f} |"


if __name__ == "__main__":
    with torch.no_grad():
        for line in lines():
            print(line, flush=True)
