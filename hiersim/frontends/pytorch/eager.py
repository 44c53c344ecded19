"""Eager capture: a model run once over meta tensors becomes an `OperatorGraph`.

Nothing is allocated and nothing is computed: a dispatch mode sees every ATen call with its shapes, and weak
references tell when each storage dies. Views keep a row, because the host pays for them, but touch no memory.
"""

from __future__ import annotations

import gc
import traceback
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import _engine_run_backward
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.module_tracker import ModuleTracker

from hiersim.errors import HiersimError, TraceError
from hiersim.frontends import aten
from hiersim.frontends.aten import Call, Cost, Operand
from hiersim.frontends.pytorch import meta_values
from hiersim.frontends.pytorch.target import GpuAttention, Target, dtype_of, loss_of, named_tensors, operand
from hiersim.frontends.tables import (
    Access,
    OperatorBuilder,
    Row,
    Storage,
    TensorBuilder,
    TensorKey,
    accesses,
    merged,
)
from hiersim.model.operators import Flag, Kind, Phase, Role
from hiersim.model.trace import OperatorGraph

_RANDOM = torch.Tag.nondeterministic_seeded


class _Modules(ModuleTracker):
    """The modules that run. Nothing is registered for a backward pass that will not come: without gradients PyTorch
    refuses to, of a parameter that is handed to a module."""

    def _fw_pre_hook(self, mod: Any, input: Any) -> None:
        super()._fw_pre_hook(mod, input if torch.is_grad_enabled() else ())

    def _fw_post_hook(self, mod: Any, input: Any, output: Any) -> None:
        super()._fw_post_hook(mod, input, output if torch.is_grad_enabled() else ())


@dataclass(frozen=True, slots=True, kw_only=True)
class EagerCapture:
    """The captured graph and what the capture could not cost."""

    graph: OperatorGraph
    opaque: tuple[str, ...]
    """Names of operators without a cost rule."""
    assumed: tuple[str, ...]
    """What had to be assumed of data."""


class Recorder(TorchDispatchMode):
    """Records each operator that runs inside it."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.names = {module: name for name, module in model.named_modules()}
        self.running: list[str] = []
        """Paths of the modules whose forward runs, outermost first."""
        self._hooks: list[Any] = []
        self.phase = Phase.FORWARD
        self.tensors = TensorBuilder()
        self.operators = OperatorBuilder()
        self.reads: list[list[Access]] = []
        self.writes: list[list[Access]] = []
        self.modules: Any = _Modules()
        self.closed = False
        self.assumed: set[str] = set()
        """What had to be assumed of data."""
        self.checkpointed = False
        """Whether an operator ran for the second time."""
        self._collected = Phase.FORWARD
        self._live: dict[int, int] = {}

    def __enter__(self) -> Any:
        self.modules.__enter__()
        hooks = torch.nn.modules.module
        self._hooks = [
            hooks.register_module_forward_pre_hook(lambda module, _: self.running.append(self.names.get(module, ""))),
            hooks.register_module_forward_hook(self._left, always_call=True),
        ]
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for hook in self._hooks:
            hook.remove()
        self.modules.__exit__(*error)

    def _left(self, *_: Any) -> None:
        self.running.pop()

    def storage(self, tensor: Tensor) -> int:
        """Id of the tensor's storage; its death is noted as the row that was issued last."""
        untyped = tensor.untyped_storage()
        address = untyped._cdata
        if address not in self._live:
            index = self.tensors.storage(Storage(size=int(untyped.nbytes())))
            self._live[address] = index
            weakref.finalize(untyped, self._freed, address, index).atexit = False
        return self._live[address]

    def _freed(self, address: int, index: int) -> None:
        if self.closed:
            return
        if self._live.get(address) == index:
            del self._live[address]
        self.tensors.storages[index].free = len(self.operators.rows) - 1

    def key(self, tensor: Tensor) -> TensorKey:
        """The tensor as a row of the trace."""
        item, storage = tensor.element_size(), self.storage(tensor)
        offset = int(tensor.storage_offset()) * item
        return TensorKey(
            storage=storage,
            dtype=dtype_of(tensor.dtype),
            shape=tuple(int(size) for size in tensor.shape),
            offset=offset,
            size=distinct_bytes(tensor),
        )

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten._local_scalar_dense.default:
            return self._scalar(args[0])
        out = meta_values.call(func, args, kwargs, self.assumed)
        if func.namespace in ("aten", "prims") and aten.packet(str(func)) not in aten.NOT_OPERATORS:
            self._record(func, args, kwargs, out)
        return out

    def _scalar(self, tensor: Tensor) -> Any:
        """The value of `.item()`, for which the host waits."""
        if tensor.device.type != "meta":
            return torch.ops.aten._local_scalar_dense.default(tensor)
        self._append("aten._local_scalar_dense.default", Cost(kind=Kind.SYNC), Flag.NONE, (operand(tensor),), [], [])
        return meta_values.scalar_of(tensor)

    def _record(self, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if _on_device(leaf)]
        outputs = [leaf for leaf in tree_leaves(out) if _on_device(leaf)]
        call = as_call(func, args, kwargs, outputs)
        flags = Flag.MUTATES if func._schema.is_mutable else Flag.NONE
        if _RANDOM in func.tags:
            flags |= Flag.RANDOM
        if torch.is_grad_enabled() and torch._C._current_graph_task_id() >= 0:  # a checkpoint runs forward again
            flags |= Flag.RECOMPUTED
        operands = tuple(operand(tensor) for tensor in inputs)
        if self._is_view(func, inputs, outputs):
            self._append(call.name, Cost(kind=Kind.VIEW), flags, operands, [], [])
            return
        written = _written(func, args, kwargs)
        reads = self._reads(call, func, args, inputs, written)
        writes = self._writes(call, written, outputs)
        self._append(call.name, aten.cost_of(call), flags, operands or call.outputs, reads, writes)

    def _is_view(self, func: Any, inputs: list[Tensor], outputs: list[Tensor]) -> bool:
        """Storage identity decides: `reshape` and `_unsafe_view` do not say it in their schema.

        An operator whose tensors all live on the host (AdamW's step counters) launches nothing either.
        """
        if not inputs and not outputs:
            return True
        if torch.Tag.inplace_view in func.tags:
            return True
        if func._schema.is_mutable or not inputs:
            return False
        known = {tensor.untyped_storage()._cdata for tensor in inputs}
        return bool(outputs) and all(tensor.untyped_storage()._cdata in known for tensor in outputs)

    def _reads(self, call: Call, func: Any, args: Any, inputs: list[Tensor], written: list[Tensor]) -> list[Access]:
        name = aten.functional(call.name)
        if name in aten.SHAPE_ONLY:
            return []
        table: Any = args[aten.TABLE_READS[name]] if name in aten.TABLE_READS else None
        overwritten = bool(written) and (name in aten.OVERWRITES or "out" in str(func._overloadname))
        partial = bool(written) and name in aten.PARTIAL_WRITES
        reads: list[Access] = []
        for tensor in inputs:
            key = self.key(tensor)
            size = key.size
            if tensor is table:
                size = min(size, aten.gathered_elements(call) * tensor.element_size())
            elif any(tensor is target for target in written):
                if overwritten or (partial and not aten.accumulates(call)):
                    continue
                if partial:
                    size = min(size, aten.scattered_elements(call) * tensor.element_size())
            reads.append((key, size))
        return merged(reads)

    def _writes(self, call: Call, written: list[Tensor], outputs: list[Tensor]) -> list[Access]:
        name = aten.functional(call.name)
        writes: list[Access] = []
        for tensor in written:
            key = self.key(tensor)
            partial = name in aten.PARTIAL_WRITES
            writes.append((key, aten.scattered_elements(call) * tensor.element_size() if partial else key.size))
        # Inference batch norm returns statistics on paper only; the kernel writes the first result.
        results = outputs[:1] if "batch_norm" in name and aten.cost_of(call).kind == Kind.POINTWISE else outputs
        storages = {key.storage for key, _ in writes}
        fresh = [(key, key.size) for key in map(self.key, results) if key.storage not in storages]
        return merged(writes + fresh)

    def _append(
        self,
        name: str,
        cost: Cost,
        flags: Flag,
        operands: tuple[Operand, ...],
        reads: list[Access],
        writes: list[Access],
    ) -> None:
        dtype = aten.arithmetic_dtype(cost.kind, operands, ())
        module = (self.running or [""])[-1] if flags & Flag.RECOMPUTED else self._module()
        self.checkpointed |= bool(flags & Flag.RECOMPUTED)
        if self.checkpointed or self.phase is not self._collected:
            gc.collect()  # checkpoints refer to themselves: without this, when their tensors die would be chance
            self._collected = self.phase
        row = Row(name=name, module=module, phase=self.phase, flags=flags, dtype=dtype, cost=cost)
        self.operators.rows.append(row)
        self.reads.append(reads)
        self.writes.append(writes)

    def _module(self) -> str:
        """The innermost module, without the name of the root's class."""
        names = [name for name in self.modules.parents if name != "Global"]
        return max(names, key=lambda name: (len(name), name)).partition(".")[2] if names else ""


def _on_device(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.device.type == "meta"


def distinct_bytes(tensor: Tensor) -> int:
    """Bytes of different elements: dimensions of stride 0 count once, overlapping windows at most their extent."""
    elements, extent = 1, 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        if size == 0:
            return 0
        elements *= int(size) if stride else 1
        extent += (int(size) - 1) * int(stride)
    return min(elements, extent) * tensor.element_size()


def as_call(func: Any, args: Any, kwargs: Any, outputs: list[Tensor]) -> Call:
    """The call without its tensors."""

    def plain(value: Any) -> Any:
        if isinstance(value, Tensor):
            return operand(value)
        return tuple(plain(item) for item in value) if isinstance(value, list | tuple) else value

    return Call(
        name=str(func),
        args=tuple(plain(value) for value in args),
        kwargs={name: plain(value) for name, value in kwargs.items()},
        outputs=tuple(operand(tensor) for tensor in outputs),
    )


def _written(func: Any, args: Any, kwargs: Any) -> list[Tensor]:
    """Arguments that the schema declares as written."""
    found: list[Tensor] = []
    for position, argument in enumerate(func._schema.arguments):
        if argument.alias_info is None or not argument.alias_info.is_write:
            continue
        value = args[position] if position < len(args) and not argument.kwarg_only else kwargs.get(argument.name)
        found += [leaf for leaf in tree_leaves(value) if _on_device(leaf)]
    return found


def capture_eager(target: Target) -> EagerCapture:
    """Run `target` once and record it; a training target runs one step of warm-up first."""
    recorder = Recorder(target.model)
    with runs(target):
        if target.train:
            outputs = _train(target, recorder)
        else:
            register(target, recorder)
            with torch.device("meta"), torch.no_grad(), GpuAttention(), recorder:
                outputs = tree_leaves(target.model(**target.kwargs))
    return finished(recorder, outputs)


def finished(recorder: Recorder, outputs: list[Any]) -> EagerCapture:
    """What was recorded, when a run is over and returned `outputs`."""
    for tensor in outputs:
        if _on_device(tensor):
            recorder.tensors.storages[recorder.storage(tensor)].output = True
    recorder.closed = True
    return _finish(recorder)


@contextmanager
def runs(target: Target) -> Iterator[None]:
    """What a model raises becomes one line that says where in the model."""
    try:
        yield
    except HiersimError:
        raise
    except Exception as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_model(frame.filename)]
        place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
        text = " ".join(str(error).split())[:200] or "no message"
        problem = f"'{target.name}' does not run on meta tensors: {type(error).__name__}: {text}{place}"
        narrow = "float16" in text.lower()
        wanted = "--dtype fp32" if narrow else "a model whose shapes do not depend on data"
        raise TraceError(problem, expected=wanted) from error


def is_model(file: str) -> bool:
    """Whether a file is neither PyTorch's nor one of this package's captures."""
    return not file.startswith((str(Path(torch.__file__).parent), str(Path(__file__).parent)))


def register(target: Target, recorder: Recorder) -> None:
    """Name what is there before the first operator."""
    for item in named_tensors(target):
        storage = recorder.tensors.storages[recorder.storage(item.tensor)]
        if not storage.name:
            storage.name, storage.role = item.name, item.role


def _train(target: Target, recorder: Recorder) -> list[Tensor]:
    """One steady-state step with AdamW (foreach); the results are the loss, the parameters and the optimizer state."""
    parameters = dict(target.model.named_parameters())
    optimizer = torch.optim.AdamW(list(parameters.values()), lr=1e-4, foreach=True)
    with GpuAttention():
        with meta_values.MetaValues():
            backward(_forward(target))
            optimizer.step()
        optimizer.zero_grad()
        register(target, recorder)
        states = _register_state(optimizer, parameters, recorder)
        with recorder, _only_own_garbage():
            loss = _forward(target)
            recorder.phase = Phase.BACKWARD
            backward(loss)
            recorder.phase = Phase.OPTIMIZER
            for name, parameter in parameters.items():
                if parameter.grad is not None:
                    storage = recorder.tensors.storages[recorder.storage(parameter.grad)]
                    storage.name, storage.role = f"grad.{name}", Role.GRADIENT
            optimizer.step()
    return [loss.detach(), *parameters.values(), *states]


@contextmanager
def _only_own_garbage() -> Iterator[None]:
    """Garbage is collected when asked for, among what is made inside alone, which is quick."""
    was_on = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_on:
            gc.enable()


def _forward(target: Target) -> Tensor:
    with torch.device("meta"):
        return loss_of(target.model(**target.kwargs))


def backward(loss: Tensor) -> None:
    """`loss.backward()` under GpuAttention: torch leaves its modes inside that, where checkpoints run forward again."""
    seed = torch.ones_like(loss, memory_format=torch.preserve_format)
    _engine_run_backward((loss,), (seed,), False, False, (), allow_unreachable=True, accumulate_grad=True)


def _register_state(optimizer: Any, parameters: Mapping[str, Tensor], recorder: Recorder) -> list[Tensor]:
    states: list[Tensor] = []
    for name, parameter in parameters.items():
        for key, value in optimizer.state[parameter].items():
            if _on_device(value):
                storage = recorder.tensors.storages[recorder.storage(value)]
                storage.name, storage.role = f"{key}.{name}", Role.OPTIMIZER_STATE
                states.append(value)
    return states


def _finish(recorder: Recorder) -> EagerCapture:
    """Columns from the recording; storages that no row touches and nobody named are dropped."""
    rows = recorder.operators.rows
    last: dict[int, int] = {}
    first_is_read: dict[int, bool] = {}
    for row, (reads, writes) in enumerate(zip(recorder.reads, recorder.writes, strict=True)):
        for is_read, access in ((True, reads), (False, writes)):
            for key, _ in access:
                last[key.storage] = row
                first_is_read.setdefault(key.storage, is_read)
    for index, storage in enumerate(recorder.tensors.storages):
        if storage.role is Role.ACTIVATION and first_is_read.get(index, False):
            storage.role = Role.CONSTANT  # created before the recording: a tensor that the model keeps outside itself
        if storage.role is Role.KV_CACHE and any(key.storage == index for row in recorder.writes for key, _ in row):
            storage.output = True
        if storage.output or storage.role not in (Role.ACTIVATION, Role.GRADIENT):
            storage.free = -1
        elif storage.free >= 0:
            storage.free = max(storage.free, last.get(index, 0))
    _drop_unused(recorder, set(last))
    tensors = recorder.tensors
    moved = accesses(recorder.reads, tensors), accesses(recorder.writes, tensors)
    graph = OperatorGraph(
        tensors=tensors.build(), operators=recorder.operators.build(), reads=moved[0], writes=moved[1]
    )
    opaque = tuple(sorted({row.name for row in rows if row.cost.kind is Kind.OPAQUE}))
    return EagerCapture(graph=graph, opaque=opaque, assumed=tuple(sorted(recorder.assumed)))


def _drop_unused(recorder: Recorder, used: set[int]) -> None:
    storages = recorder.tensors.storages
    kept = [index for index, storage in enumerate(storages) if index in used or storage.name]
    number = {index: position for position, index in enumerate(kept)}
    recorder.tensors.storages = [storages[index] for index in kept]

    def renumber(key: TensorKey) -> TensorKey:
        return TensorKey(
            storage=number[key.storage], dtype=key.dtype, shape=key.shape, offset=key.offset, size=key.size
        )

    for lists in (recorder.reads, recorder.writes):
        lists[:] = [[(renumber(key), size) for key, size in row] for row in lists]
