"""The kernels that TorchInductor really makes for a GPU, captured without a GPU and without Triton.

The model is exported, lowered and fused by Inductor for a pretended H100; its final schedule is read just before
code generation. Because that patches PyTorch globally, it runs in a process of its own (`child`).

It is what `torch.compile` does by default. Choices that need measurements on a device (max-autotune templates,
padded matrix shapes, cuDNN attention) are not reproduced.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from unittest import mock

import numpy as np

from hiersim.errors import MissingExtraError, TraceError
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import Flag, Kind, Phase, Role
from hiersim.model.trace import OperatorGraph

TESTED: Final = "2.13"
"""The torch releases whose private interfaces this module was written for."""
POLICY: Final = "inductor (captured)"
_TRAINING: Final = (
    "inductor: counts once what forward and backward share (eager repeats it), "
    "and selects where eager scatters the gradient of the loss"
)


def check_version() -> None:
    """Refuse torch releases that were not tested."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        found = version("torch")
    except PackageNotFoundError:
        raise MissingExtraError("capture", "torch", "torch") from None
    if not found.startswith(f"{TESTED}."):
        raise TraceError(f"inductor capture does not know torch {found}", expected=f"torch {TESTED}.*")


class _Captured(BaseException):
    """Ends a compilation once its schedule is read; not an `Exception`, so that Inductor does not wrap it."""


def _schedule(compile_graph: Callable[[], object], read: Callable[[Any, Any], None]) -> None:
    """Compile up to code generation and hand the scheduler and its graph to `read`.

    Where written-out attention is replaced by a call, the call is of the kernel that a GPU picks, as in eager mode.
    """
    from torch._inductor import config
    from torch._inductor.fx_passes import fuse_attention
    from torch._inductor.scheduler import Scheduler
    from torch._inductor.virtualized import V

    from hiersim.frontends.pytorch.target import attention_of_a_gpu

    def stop(scheduler: Any) -> None:
        read(scheduler, V.graph)
        raise _Captured

    options = {"shape_padding": False, "force_disable_caches": True, "compile_threads": 1}
    patched: Any = Scheduler
    original = patched.codegen
    patched.codegen = stop
    picked = mock.patch.object(fuse_attention, "_scaled_dot_product_attention", attention_of_a_gpu)
    try:
        with config.patch(options), picked:
            compile_graph()
    except _Captured:
        return
    finally:
        patched.codegen = original
    raise TraceError("TorchInductor compiled without scheduling a kernel", expected="a model with tensor operators")


def capture_schedule(loaded: Any, eager: OperatorGraph) -> tuple[KernelGraph, tuple[str, ...]]:
    """Inductor's schedule of a loaded target and the notes of its self-test; patches this process for good."""
    from hiersim.frontends.pytorch import fake_cuda
    from hiersim.frontends.schedule_builder import ScheduleBuilder

    fake_cuda.install()
    builder = ScheduleBuilder()
    for name, size, role in _named_storages(eager):
        builder.named(name, size, role)
    if loaded.train:
        _train(loaded, eager, builder)
    else:
        _infer(loaded, builder)
    schedule = builder.build(POLICY)
    return schedule, compare(eager, schedule, builder.lowered, -1 if loaded.train else builder.asked)


def _named_storages(eager: OperatorGraph) -> list[tuple[str, int, Role]]:
    """What exists before the first kernel: weights, constants, inputs, caches."""
    table = eager.tensors
    roles = (Role.INPUT, Role.WEIGHT, Role.CONSTANT, Role.KV_CACHE)
    return [
        (name, int(table.storage_bytes[index]), Role(int(table.storage_role[index])))
        for index, name in enumerate(table.storage_names)
        if name and table.storage_role[index] in roles
    ]


def _infer(loaded: Any, builder: Any) -> None:
    import torch
    from torch._inductor.compile_fx import compile_fx
    from torch._subclasses.fake_tensor import FakeTensorMode

    from hiersim.frontends.pytorch import inductor_graphs as graphs

    mode = FakeTensorMode(allow_non_fake_inputs=True)
    traced = graphs.export(graphs.make_fake(loaded, mode, graphs.DEVICE), mode)

    def read(scheduler: Any, graph: Any) -> None:
        if len(graph.graph_input_names) != len(traced.names):
            raise TraceError(f"inductor took {len(graph.graph_input_names)} of {len(traced.names)} inputs")
        bound = {
            name: _input_storage(builder, item, value)
            for name, item, value in zip(graph.graph_input_names, traced.names, traced.values, strict=True)
            if isinstance(value, torch.Tensor)
        }
        for storage in _append_graph(builder, scheduler, graph, bound, Phase.FORWARD, frozenset()):
            if storage is not None:
                builder.tensors.storages[storage].output = True

    with torch.no_grad():
        _schedule(lambda: compile_fx(traced.module, traced.values), read)


def _input_storage(builder: Any, item: Any, value: Any) -> int:
    from hiersim.frontends.tables import Storage

    size = int(value.untyped_storage().nbytes())
    if item is None:
        storage: int = builder.tensors.storage(Storage(size=size, role=Role.CONSTANT))
        return storage
    named: int = builder.named(item.name, size, item.role)
    return named


def _train(loaded: Any, eager: OperatorGraph, builder: Any) -> None:
    """Forward and backward as Inductor compiles them, the optimizer as eager runs it."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    from hiersim.frontends.pytorch import inductor_graphs as graphs
    from hiersim.frontends.schedule_builder import append_eager
    from hiersim.frontends.tables import Storage

    mode = FakeTensorMode(allow_non_fake_inputs=True)
    traced = graphs.export(graphs.make_fake(loaded, mode, torch.device("cpu")), mode)
    forward, backward = graphs.differentiate(traced, mode)
    joint = frozenset(node.name for module in (forward, backward) for node in module.graph.nodes)
    made: dict[str, int] = {}
    for name, item, value in zip(graphs.placeholders(forward), traced.names, traced.values, strict=True):
        if isinstance(value, torch.Tensor):
            made[name] = _input_storage(builder, item, value)
    saved = [getattr(node, "name", "") for node in graphs.results(forward)]  # before compilation renames nodes
    outputs = _compile(builder, forward, dict(made), Phase.FORWARD, joint)
    made |= {name: storage for name, storage in zip(saved, outputs, strict=True) if storage is not None}
    loss = next(storage for storage in outputs if storage is not None)
    builder.tensors.storages[loss].output = True

    phase = eager.operators.phase
    start = [row for row in np.flatnonzero(phase == Phase.BACKWARD)[:1] if eager.operators.kind[row] == Kind.COPY]
    append_eager(builder, eager, [int(row) for row in start])  # the gradient of the loss: one
    seed = builder.writes[-1][0][0].storage if start else builder.tensors.storage(Storage(size=4, role=Role.INPUT))
    bound = made | {name: seed for name in graphs.placeholders(backward) if name.startswith("tangents")}
    unbound = [name for name in graphs.placeholders(backward) if name not in bound]
    if unbound:
        raise TraceError(f"the backward graph reads '{unbound[0]}', which the forward graph does not return")
    gradients = _compile(builder, backward, bound, Phase.BACKWARD, joint)
    for item, storage in zip(traced.names, gradients, strict=True):
        if storage is not None and item is not None:
            entry = builder.tensors.storages[storage]
            entry.name, entry.role = f"grad.{item.name}", Role.GRADIENT
            builder.by_name[entry.name] = storage
    append_eager(builder, eager, [int(row) for row in np.flatnonzero(phase == Phase.OPTIMIZER)])


def _compile(builder: Any, module: Any, bound: dict[str, int], phase: Phase, joint: frozenset[str]) -> list[int | None]:
    import torch
    from torch._inductor.compile_fx import compile_fx_inner

    from hiersim.frontends.pytorch import inductor_graphs as graphs

    outputs: list[int | None] = []
    values = graphs.rehome(module)
    names = graphs.placeholders(module)

    def read(scheduler: Any, graph: Any) -> None:
        inner = graph.graph_input_names  # all of them: `graph_inputs` lacks plain arguments, such as `use_cache=False`
        inputs = {known: bound[name] for known, name in zip(inner, names, strict=True) if name in bound}
        outputs.extend(_append_graph(builder, scheduler, graph, inputs, phase, joint))

    with torch.no_grad():
        backward = phase is Phase.BACKWARD
        _schedule(lambda: compile_fx_inner(module, values, is_backward=backward, is_inference=False), read)
    return outputs


def _append_graph(
    builder: Any, scheduler: Any, graph: Any, inputs: dict[str, int], phase: Phase, joint: frozenset[str]
) -> list[int | None]:
    """Append the kernels of one compiled graph; returns the storages of its results.

    `joint` names the nodes of the graph before it was cut in two: one that runs in both is recomputed.
    """
    from hiersim.frontends.pytorch.inductor_reader import Reader, matrix_flops_of
    from hiersim.frontends.tables import Storage

    builder.asked += matrix_flops_of(graph.graph.nodes)

    def allocate(size: int, constant: bool) -> int:
        role = Role.CONSTANT if constant else Role.ACTIVATION
        storage: int = builder.tensors.storage(Storage(size=size, role=role))
        return storage

    generated = sum(name.startswith("triton_") for name in builder.names)
    reader = Reader(scheduler=scheduler, graph=graph, inputs=inputs, allocate=allocate, count=generated)
    counted: set[str] = builder.counted
    for record in reader.read():
        rows = []
        for node in record.origins:
            key = node.name if node.name in joint else f"{phase.name}:{node.name}"
            row, whole = _row(node, phase, record.points)
            rows.append((row, key in counted))
            if whole and key not in counted:
                counted.add(key)
                builder.lowered += _lowered_flops(node, row)
        if not rows:
            rows.append((_layout_copy(builder, record, phase), False))
        builder.kernel(record.name, rows, record.reads, record.writes)
    return reader.output_storages()


def _row(node: Any, phase: Phase, points: int) -> tuple[Any, bool]:
    """A node as an operator row, and whether the kernel evaluates all of it.

    A kernel with fewer points than the node has elements needs only some of them (the last token, the targets
    of a loss) and computes no more.
    """
    import torch

    from hiersim.frontends import aten
    from hiersim.frontends.pytorch.inductor_reader import call_of_node
    from hiersim.frontends.tables import Row

    call = call_of_node(node)
    cost, whole = aten.limited(aten.cost_of(call), call, points)
    operands = tuple(item for item in call.args if isinstance(item, aten.Operand))
    flags = Flag.RANDOM if torch.Tag.nondeterministic_seeded in node.target.tags else Flag.NONE
    flags |= Flag.MUTATES if node.target._schema.is_mutable else Flag.NONE
    dtype = aten.arithmetic_dtype(cost.kind, operands, call.outputs)
    return Row(name=call.name, module=_module(node), phase=phase, flags=flags, dtype=dtype, cost=cost), whole


def _layout_copy(builder: Any, record: Any, phase: Phase) -> Any:
    """A kernel without a node of its own rearranges an operand for the next call (channels last)."""
    from hiersim.frontends.aten import Cost
    from hiersim.frontends.tables import Row

    roles = {builder.tensors.storages[key.storage].role for key, _ in record.reads}
    flags = Flag.CONST if roles <= {Role.WEIGHT, Role.CONSTANT} else Flag.NONE
    dtype = record.writes[0][0].dtype
    cost = Cost(kind=Kind.COPY)
    return Row(name="inductor.layout_copy", module="", phase=phase, flags=flags, dtype=dtype, cost=cost)


def _lowered_flops(node: Any, row: Any) -> int:
    """Matrix FLOPs of a product with an inner or outer size of 1, where the node is its multiplication."""
    from hiersim.frontends import aten

    source = aten.packet(str(node.meta.get("original_aten", "")))
    multiplies = aten.packet(row.name) == "mul" and source in ("mm", "bmm", "addmm", "baddbmm")
    return 2 * row.cost.vector_flops if multiplies else 0


def _module(node: Any) -> str:
    """Path of the module that issued the node; a backward node names the module of its forward node."""
    from hiersim.frontends.pytorch.inductor_graphs import LOSS_PREFIX

    stack = node.meta.get("nn_module_stack") or node.meta.get("fwd_nn_module_stack") or {}
    if not stack:
        return ""
    path = str(list(stack.values())[-1][0])
    for prefix in ("L['self'].", "L['self']"):
        path = path.removeprefix(prefix)
    return "" if path == LOSS_PREFIX else path.removeprefix(f"{LOSS_PREFIX}.")


def compare(eager: OperatorGraph, schedule: KernelGraph, lowered: int, asked: int = -1) -> tuple[str, ...]:
    """The self-test: both do the same matrix work, exactly; the difference in other work is noted.

    `asked` are the matrix FLOPs of the graph that was scheduled, where it holds each node once. The schedule may do
    less than eager mode where that graph does: TorchInductor drops what no result needs, and shares what is the same.

    Raises
    ------
    TraceError
        The matrix FLOPs differ: the schedule was read wrongly.
    """
    first, once = schedule.recomputed == 0, (eager.operators.flags & Flag.RECOMPUTED) == 0
    fused = int(schedule.operators.matrix_flops[first].sum())
    plain = int(eager.operators.matrix_flops[once].sum())
    dropped = plain - fused - lowered if fused == asked else 0
    if fused + lowered + max(0, dropped) != plain:
        problem = f"the captured schedule does {fused + lowered} matrix FLOPs and eager mode {plain}"
        raise TraceError(problem, expected="the same")
    notes = [f"inductor: {lowered} matrix FLOPs of thin products run as pointwise work"] if lowered else []
    if dropped > 0:
        notes.append(f"inductor: {dropped} matrix FLOPs of eager mode are left out: needed by no result, or shared")
    for word, column in (("vector FLOPs", "vector_flops"), ("special operations", "special_ops")):
        before, compiled = int(getattr(eager.operators, column)[once].sum()), getattr(schedule.operators, column)
        after, again = int(compiled[first].sum()), int(compiled[~first].sum())
        change = (after - before) / before if before else 0.0
        notes.append(f"inductor: {word} {100 * change:+.3f} % against eager, {again} recomputed on top")
    if np.any(eager.operators.phase == Phase.BACKWARD):
        notes.append(_TRAINING)
    opaque = sorted(
        {schedule.operators.label(int(row)) for row in np.flatnonzero(schedule.operators.kind == Kind.OPAQUE)}
    )
    if opaque:
        notes.append(f"inductor: operators without a cost formula: {', '.join(opaque)}")
    return tuple(notes)
