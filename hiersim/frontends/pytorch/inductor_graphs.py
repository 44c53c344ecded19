"""From a model to the FX graphs that TorchInductor compiles, all tensors fake and on a pretended GPU."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx import GraphModule, traceback
from torch.utils import checkpoint
from torch.utils._pytree import tree_map

from hiersim.errors import TraceError
from hiersim.frontends.pytorch.target import GpuAttention, Named, Target, input_names, loss_of, named_tensors
from hiersim.model.operators import Role

LOSS_PREFIX = "hiersim_model"
"""Attribute under which a loss holds its model; no part of the model's paths."""
_CHECKPOINT = "hiersim_checkpoint"
DEVICE = torch.device("cuda:0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """A graph with its inputs in placeholder order."""

    module: GraphModule
    values: list[Any]
    """Fake tensors, one per placeholder."""
    names: list[Named | None]
    """What each placeholder stands for; None for values that another graph made."""


class _Loss(nn.Module):
    """The model with its loss as the only result."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        setattr(self, LOSS_PREFIX, model)

    def forward(self, **kwargs: Any) -> Tensor:
        return loss_of(getattr(self, LOSS_PREFIX)(**kwargs))


def _fake(value: Any, mode: FakeTensorMode, device: torch.device) -> Any:
    return FakeTensor(mode, value.detach(), device) if isinstance(value, Tensor) else value


def _of_mode(value: Any, mode: FakeTensorMode) -> Any:
    """A constant that the model makes while it runs, which export keeps in a mode of its own, in ours."""
    if not isinstance(value, FakeTensor) or value.fake_mode is mode:
        return value
    shell = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
    return FakeTensor(mode, shell, DEVICE if value.device.type == "meta" else value.device)


def make_fake(target: Target, mode: FakeTensorMode, device: torch.device) -> Target:
    """`target` with every tensor replaced by a fake one on `device`; ties between parameters are kept."""
    seen: dict[int, Any] = {}
    for module in target.model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                if id(parameter) not in seen:
                    learns = target.train and parameter.requires_grad
                    fake = nn.Parameter(_fake(parameter, mode, device), requires_grad=learns)
                    seen[id(parameter)] = (parameter, fake)
                module._parameters[name] = seen[id(parameter)][1]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                if id(buffer) not in seen:
                    seen[id(buffer)] = (buffer, _fake(buffer, mode, device))
                module._buffers[name] = seen[id(buffer)][1]
    kwargs = tree_map(lambda value: _fake(value, mode, device), target.kwargs)
    return dataclasses.replace(target, kwargs=kwargs)


def export(target: Target, mode: FakeTensorMode) -> Traced:
    """The whole model as one ATen graph, with its parameters as inputs and the module path of every node."""
    model = _Loss(target.model) if target.train else target.model
    with mode, torch.set_grad_enabled(target.train), GpuAttention(), _checkpoints_noted():
        program = torch.export.export(model, (), target.kwargs, strict=False)
    _tag_checkpoints(program.graph_module)
    named = {item.name: item for item in named_tensors(target)}
    aliases = dict(target.model.named_parameters(remove_duplicate=False)) | dict(
        target.model.named_buffers(remove_duplicate=False)
    )
    canonical = {id(item.tensor): item for item in named.values()}
    inputs = iter(list(input_names(target.kwargs)))
    values: list[Any] = []
    names: list[Named | None] = []
    nodes = [node for node in program.graph_module.graph.nodes if node.op == "placeholder"]
    for node, spec in zip(nodes, program.graph_signature.input_specs, strict=True):
        value = node.meta.get("val")
        if spec.kind.name == "USER_INPUT":
            item = next(inputs) if isinstance(value, Tensor) else None
        elif spec.kind.name in ("PARAMETER", "BUFFER"):
            item = canonical[id(aliases[str(spec.target).removeprefix(f"{LOSS_PREFIX}.")])]
        else:
            item = Named(name=str(spec.target), role=Role.CONSTANT, tensor=_of_mode(value, mode))
        values.append(value if item is None else item.tensor)
        names.append(item)
    return Traced(module=program.graph_module, values=values, names=names)


@contextmanager
def _checkpoints_noted() -> Iterator[None]:
    """Export forgets checkpoints; here each of their nodes keeps the number of its checkpoint."""
    count = itertools.count(1)

    def noted(*args: Any, **kwargs: Any) -> Iterator[None]:
        with traceback.annotate({_CHECKPOINT: next(count)}):
            yield

    patched: Any = checkpoint
    original = patched._checkpoint_without_reentrant_generator
    patched._checkpoint_without_reentrant_generator = noted
    try:
        with traceback.preserve_node_meta():
            yield
    finally:
        patched._checkpoint_without_reentrant_generator = original


def _tag_checkpoints(module: GraphModule) -> None:
    """Tag the nodes of checkpoints as `torch.compile` does, for the partitioner to let backward compute them again."""
    for node in module.graph.nodes:
        number = (node.meta.pop("custom", None) or {}).get(_CHECKPOINT)
        if number is not None and node.op == "call_function":
            node.meta["recompute"] = checkpoint.CheckpointPolicy.PREFER_RECOMPUTE
            node.meta["ac_graph_id"] = number


def differentiate(traced: Traced, mode: FakeTensorMode) -> tuple[GraphModule, GraphModule]:
    """Forward and backward graphs, cut where the fewest bytes must be saved, as `torch.compile` does."""
    from torch._functorch import partitioners
    from torch._functorch.aot_autograd import aot_module_simplified
    from torch._inductor.compile_fx import partition_fn
    from torch._inductor.decomposition import select_decomp_table
    from torch._inductor.virtualized import V

    found: list[GraphModule] = []

    def partition(module: GraphModule, inputs: Any, **options: Any) -> tuple[GraphModule, GraphModule]:
        found.extend(partition_fn(module, inputs, **options))
        raise _Cut

    patched: Any = partitioners
    keeps_random_state = patched.has_recomputable_rng_ops
    # True would wrap attention to keep a random state, which a dropout of 0 never uses.
    patched.has_recomputable_rng_ops = lambda _: False
    try:
        with mode, V.set_fake_mode(mode):
            aot_module_simplified(
                traced.module,
                traced.values,
                fw_compiler=_never,
                bw_compiler=_never,
                partition_fn=partition,
                decompositions=select_decomp_table(),
                keep_inference_input_mutations=True,
            )
    except _Cut:
        return found[0], found[1]
    finally:
        patched.has_recomputable_rng_ops = keeps_random_state
    raise TraceError("the model's loss does not depend on its parameters", expected="a differentiable loss")


class _Cut(BaseException):
    """Ends the tracing once both graphs are there."""


def _never(gm: GraphModule, example_inputs: Any) -> Any:
    """Stands where AOTAutograd wants a compiler; tracing ends before it is called."""
    return gm.forward


def rehome(module: GraphModule) -> list[Any]:
    """Move a graph traced on the host to the pretended GPU, in place; returns its inputs.

    Autograd in C++ refuses to run for a device that is not there, so training graphs are traced on the host.
    """
    from torch.fx.passes.fake_tensor_prop import FakeTensorProp

    mode = FakeTensorMode(allow_non_fake_inputs=True)
    values: list[Any] = []
    for node in module.graph.nodes:
        if node.op == "placeholder":
            value = node.meta.get("val")
            if isinstance(value, Tensor):
                shell = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")
                value = FakeTensor(mode, shell, DEVICE)
            node.meta["val"] = value
            values.append(value)
        elif node.op == "call_function":
            node.args = torch.fx.node.map_aggregate(node.args, _on_gpu)
            node.kwargs = torch.fx.node.map_aggregate(node.kwargs, _on_gpu)
    module.recompile()
    FakeTensorProp(module, mode=mode).propagate_dont_convert_inputs(*values)
    return values


def _on_gpu(value: Any) -> Any:
    return DEVICE if isinstance(value, torch.device) else value


def placeholders(module: GraphModule) -> list[str]:
    """Names of a graph's inputs."""
    return [node.name for node in module.graph.nodes if node.op == "placeholder"]


def results(module: GraphModule) -> list[Any]:
    """What a graph returns: nodes and None."""
    (output,) = (node for node in module.graph.nodes if node.op == "output")
    return list(output.args[0])
