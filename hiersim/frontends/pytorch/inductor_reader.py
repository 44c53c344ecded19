"""Reads TorchInductor's final schedule of one graph: its kernels, the nodes they run, the bytes they move."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch._inductor import dependencies, ir
from torch._inductor import scheduler as inductor
from torch._inductor.virtualized import V
from torch.fx import Node as FxNode

from hiersim.frontends import aten
from hiersim.frontends.pytorch.eager import as_call
from hiersim.frontends.pytorch.target import dtype_of
from hiersim.frontends.tables import Access, TensorKey, merged
from hiersim.model.operators import Kind

_HEAVY = (Kind.GEMM, Kind.CONV, Kind.ATTENTION)


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelRecord:
    """One kernel of a compiled graph."""

    name: str
    origins: list[FxNode]
    """The FX nodes that it runs, in graph order."""
    points: int
    """Points of its largest loop nest; 0 where it runs its node whole."""
    reads: list[Access]
    writes: list[Access]


@dataclass(slots=True)
class Reader:
    """Walks a `Scheduler` after its last reordering, before code generation."""

    scheduler: Any
    graph: Any
    inputs: dict[str, int]
    """Graph input -> storage."""
    allocate: Callable[[int, bool], int]
    """(bytes, constant) -> a new storage."""
    storages: dict[str, int] = field(default_factory=dict)
    count: int = 0

    def read(self) -> list[KernelRecord]:
        """All kernels in launch order."""
        nodes = [node for node in self.scheduler.nodes if not self._is_free(node)]
        order = {node: position for position, node in enumerate(self.graph.graph.nodes)}
        external = {id(origin) for node in nodes if node.is_extern() for origin in self._extern_origins(node, order)}
        return [self._kernel(node, order, external) for node in nodes]

    def output_storages(self) -> list[int | None]:
        """Storage of each graph result; None for constants."""
        return [self._output(value) for value in self.graph.graph_outputs]

    def _output(self, value: Any) -> int | None:
        name = value.maybe_get_name() if isinstance(value, ir.IRNode) else None
        return None if name is None else self.storage(name)[0]

    def _is_free(self, node: Any) -> bool:
        """Nodes that launch nothing: empty ones, and the unpacking of tuples."""
        return isinstance(node, inductor.NopKernelSchedulerNode) or isinstance(node.node, ir.MultiOutput)

    # --- storages ---------------------------------------------------------------------------------

    def storage(self, name: str) -> tuple[int, int]:
        """Storage of a buffer, and the byte at which the buffer starts in it."""
        name = self.scheduler.mutation_real_name.get(name, name)
        if name in self.inputs:
            return self.inputs[name], 0
        buffer = self.graph.try_get_buffer(name)
        layout = getattr(buffer, "layout", None)
        if isinstance(layout, ir.NonOwningLayout):
            view = layout.view.get_layout()
            base, start = self.storage(layout.view.get_name())
            return base, start + _int(view.offset) * view.dtype.itemsize
        if isinstance(layout, ir.MutationLayoutSHOULDREMOVE):
            return self.storage(layout.get_buffer().get_name())
        if name not in self.storages:
            constant = name in self.graph.constants
            size = _nbytes(self.graph.constants[name]) if constant else _layout_bytes(buffer.get_layout())
            self.storages[name] = self.allocate(size, constant)
        return self.storages[name], 0

    def _whole(self, name: str, size: int | None = None) -> Access:
        """A buffer as a tensor, with the bytes that a kernel moves of it."""
        storage, start = self.storage(name)
        real = self.scheduler.mutation_real_name.get(name, name)
        if real in self.graph.constants:
            constant = self.graph.constants[real]
            shape, stride, dtype, offset = tuple(constant.shape), tuple(constant.stride()), constant.dtype, 0
        else:
            layout = _real_layout(self.graph.try_get_buffer(real))
            shape, stride = tuple(map(_int, layout.size)), tuple(map(_int, layout.stride))
            dtype, offset = layout.dtype, 0
        key = _key(storage, start + offset, shape, stride, dtype)
        return key, key.size if size is None else min(size, key.size)

    # --- kernels ----------------------------------------------------------------------------------

    def _kernel(self, node: Any, order: dict[FxNode, int], external: set[int]) -> KernelRecord:
        if node.is_extern():
            origins = self._extern_origins(node, order)
            return KernelRecord(
                name=_extern_name(node.node),
                origins=origins,
                points=0,
                reads=self._extern_reads(node),
                writes=self._extern_writes(node, origins),
            )
        computed = self._computed(node, external)
        origins = [origin for origin in computed if id(origin) not in external and _computes(origin)]
        origins.sort(key=lambda origin: order.get(origin, -1))
        return KernelRecord(
            name=self._triton_name(node, origins),
            origins=origins,
            points=max((_points(sub) for sub in node.get_nodes()), default=0),
            reads=self._reads(node),
            writes=self._writes(node),
        )

    def _computed(self, node: Any, external: set[int]) -> set[FxNode]:
        """Nodes that a generated kernel evaluates.

        Inductor's origins also name the producers of buffers that the kernel merely reads, and the other operands
        of the call that an operand is copied for. So keep what can be evaluated from the buffers that the kernel
        reads, and of that what its results need.
        """
        origins = {origin for sub in node.get_nodes() if sub.node is not None for origin in sub.node.get_origins()}
        names = {dep.name for dep in node.read_writes.reads} - set(node.get_buffer_names())
        given = {self._origin_of(name) for name in names if name not in self.inputs}
        if None not in given:
            origins = _evaluable(origins, given, external, names)
        waiting = [item for item in origins if id(item) not in external and origins.isdisjoint(item.users)]
        reached = set(waiting)
        while waiting:
            fresh = {item for item in waiting.pop().all_input_nodes if item in origins} - reached - given
            reached |= fresh
            waiting += fresh
        return reached

    def _origin_of(self, name: str) -> FxNode | None:
        buffer = self.graph.try_get_buffer(self.scheduler.mutation_real_name.get(name, name))
        return buffer.get_origin_node() if isinstance(buffer, ir.Operation | ir.Buffer) else None

    def _extern_origins(self, node: Any, order: dict[FxNode, int]) -> list[FxNode]:
        """An external kernel runs exactly one node; `origins` also names the producers inlined on the way."""
        origin = node.node.get_origin_node()
        if origin is None:
            candidates = [item for item in node.node.get_origins() if _computes(item)]
            heavy = [item for item in candidates if cost_of_node(item).kind in _HEAVY]
            origin = max(heavy or candidates, key=lambda item: order.get(item, -1), default=None)
        return [] if origin is None else [origin]

    def _triton_name(self, node: Any, origins: list[FxNode]) -> str:
        names = sorted({aten.packet(str(item.meta.get("original_aten", item.target))) for item in origins})
        kind = _triton_kind(node)
        name = "_".join(["triton", kind, "fused", *names])[:80].rstrip("_") + f"_{self.count}"
        self.count += 1
        return name

    # --- what kernels move ------------------------------------------------------------------------

    def _reads(self, node: Any) -> list[Access]:
        own = set(node.get_buffer_names())
        mutated = {self.scheduler.mutation_real_name.get(name, name) for name in own}
        sizes: dict[str, dict[Any, int]] = {}
        for dep in node.read_writes.reads:
            if dep.name in own or isinstance(dep, dependencies.WeakDep):
                continue
            real = self.scheduler.mutation_real_name.get(dep.name, dep.name)
            if isinstance(dep, dependencies.StarDep) and real in mutated:
                continue  # only orders this kernel after the last writer of what it overwrites
            sizes.setdefault(real, {})[_region(dep)] = self._dep_bytes(dep, node)
        return merged(self._whole(name, sum(parts.values())) for name, parts in sorted(sizes.items()))

    def _writes(self, node: Any) -> list[Access]:
        own = set(node.get_buffer_names())
        sizes: dict[str, dict[Any, int]] = {}
        for dep in node.read_writes.writes:
            if self._leaves(dep.name, own):
                sizes.setdefault(dep.name, {})[_region(dep)] = self._dep_bytes(dep, node)
        return merged(self._whole(name, sum(parts.values())) for name, parts in sorted(sizes.items()))

    def _leaves(self, name: str, own: set[str]) -> bool:
        """True where somebody outside the kernel needs the buffer."""
        if name in self.scheduler.mutation_real_name:
            return True
        buffer = self.scheduler.name_to_buf[name]
        for user in buffer.users:
            inside = isinstance(user.node, inductor.BaseSchedulerNode) and set(user.node.get_buffer_names()) <= own
            if not user.is_weak and not inside:
                return True
        return False

    def _dep_bytes(self, dep: Any, node: Any) -> int:
        """Bytes behind one dependency; an indirect one touches at most one element per point of the loop nest."""
        size = int(self.scheduler.dep_size_hint(dep))
        if isinstance(dep, dependencies.MemoryDep) and dep.is_indirect():
            points = max((_points(sub) for sub in node.get_nodes()), default=0)
            item = self.graph.get_dtype(dep.name).itemsize
            size = min(size, points * item) if size else points * item
        return size

    def _extern_reads(self, node: Any) -> list[Access]:
        kernel, reads = node.node, []
        mutated = set(kernel.get_mutation_names())
        experts = _expert_reads(kernel)
        for value in _flat(kernel.inputs):
            if not isinstance(value, ir.IRNode) or value.maybe_get_name() is None:
                continue
            if value.get_name() in mutated and not _accumulates(kernel):
                continue
            layout = value.get_layout()
            storage, start = self.storage(value.get_name())
            offset = start + _int(layout.offset) * layout.dtype.itemsize
            shape, stride = tuple(map(_int, value.get_size())), tuple(map(_int, layout.stride))
            key = _key(storage, offset, shape, stride, layout.dtype)
            elements = experts if experts and len(shape) == 3 else key.size
            reads.append((key, min(key.size, elements * int(layout.dtype.itemsize))))
        return merged(reads)

    def _extern_writes(self, node: Any, origins: list[FxNode]) -> list[Access]:
        kernel = node.node
        if kernel.get_mutation_names():
            sources = [size for key, size in self._extern_reads(node)]
            return merged(self._whole(name, max(sources, default=0)) for name in kernel.get_mutation_names())
        if not isinstance(kernel.layout, ir.MultiOutputLayout):
            return merged([self._whole(kernel.get_name())])
        unpacked: list[Any] = [item.node for item in self.scheduler.nodes if isinstance(item.node, ir.MultiOutput)]
        parts = [part for part in unpacked if part.inputs[0].get_name() == kernel.get_name()]
        writes = [self._whole(part.get_name()) for part in parts]
        return merged(writes + list(self._unread_results(parts, origins)))

    def _unread_results(self, parts: list[Any], origins: list[FxNode]) -> Iterator[Access]:
        """Results that the kernel writes although nobody reads them (attention's log-sum-exp)."""
        taken = {part.indices[0][1] for part in parts if part.indices}
        values = origins[0].meta.get("val") if origins else ()
        for index, value in enumerate(values if isinstance(values, tuple | list) else ()):
            if index not in taken and isinstance(value, torch.Tensor) and value.numel():
                size = value.numel() * value.element_size()
                storage = self.allocate(size, False)
                yield _key(storage, 0, tuple(value.shape), tuple(value.stride()), value.dtype), size


def _evaluable(origins: set[FxNode], given: set[Any], external: set[int], read: set[str]) -> set[FxNode]:
    """Of `origins` those whose inputs are graph inputs that are read, given, views of such, or evaluable too."""
    known: dict[FxNode, bool] = {}

    def available(item: FxNode) -> bool:
        if item not in known:
            inner = item in origins or not _computes(item) or not item.all_input_nodes
            missing = id(item) in external or not inner or (item.op == "placeholder" and item.name not in read)
            known[item] = item in given or (not missing and all(available(source) for source in item.all_input_nodes))
        return known[item]

    ordered = sorted(origins, key=lambda item: item.name)
    return {item for item in ordered if available(item) and item not in given}


def cost_of_node(node: FxNode) -> aten.Cost:
    """Cost of an FX node from the shapes in its metadata."""
    return aten.cost_of(call_of_node(node))


def matrix_flops_of(nodes: Iterable[FxNode]) -> int:
    """Matrix FLOPs of a graph's nodes."""
    return sum(cost_of_node(node).matrix_flops for node in nodes if _computes(node))


def call_of_node(node: FxNode) -> aten.Call:
    """An FX node as a call."""
    args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), lambda item: item.meta.get("val"))
    value = node.meta.get("val")
    values = value if isinstance(value, tuple | list) else [value]
    return as_call(node.target, args, kwargs, [item for item in values if isinstance(item, torch.Tensor)])


def _computes(node: FxNode) -> bool:
    """False for views and for the unpacking of tuples."""
    if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
        return False
    return aten.packet(str(node.target)) not in aten.VIEWS | aten.NOT_OPERATORS


def _int(value: Any) -> int:
    try:
        return int(value)
    except TypeError:
        return int(V.graph.sizevars.optimization_hint(value))


def _nbytes(tensor: torch.Tensor) -> int:
    return int(tensor.numel() * tensor.element_size())


def _real_layout(buffer: Any) -> Any:
    layout = buffer.get_layout()
    return layout.real_layout() if isinstance(layout, ir.MutationLayoutSHOULDREMOVE) else layout


def _layout_bytes(layout: Any) -> int:
    return _int(layout.storage_size()) * int(layout.dtype.itemsize)


def _key(storage: int, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], dtype: torch.dtype) -> TensorKey:
    elements = prod(size for size, step in zip(shape, stride, strict=True) if step)
    extent = 1 + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    size = min(elements, extent) * dtype.itemsize if prod(shape) else 0
    return TensorKey(storage=storage, dtype=dtype_of(dtype), shape=tuple(map(int, shape)), offset=offset, size=size)


def _region(dep: Any) -> Any:
    """Names the part of a buffer that a dependency touches, whatever order its loops run in."""
    if not isinstance(dep, dependencies.MemoryDep):
        return "all"
    start = dep.index.subs({symbol: 0 for symbol in dep.var_names})
    return (str(start), str(dep.get_numel()))


def _points(node: Any) -> int:
    """Points of a scheduler node's loop nest."""
    sizes = getattr(node, "_sizes", ())
    return prod(_int(size) for group in sizes for size in group) if sizes else 0


def _flat(values: Any) -> Iterable[Any]:
    for value in values:
        yield from value if isinstance(value, list | tuple) else [value]


def _expert_reads(kernel: Any) -> int:
    """Elements that a grouped product reads of its weights; 0 for every other kernel."""
    origin = kernel.get_origin_node()
    if origin is None or aten.packet(str(origin.target)) != "_grouped_mm":
        return 0
    return aten.gathered_elements(call_of_node(origin))


def _accumulates(kernel: Any) -> bool:
    origin = kernel.get_origin_node()
    return origin is not None and aten.accumulates(call_of_node(origin))


def _extern_name(kernel: Any) -> str:
    name = getattr(kernel, "python_kernel_name", None) or str(getattr(kernel, "op_overload", type(kernel).__name__))
    return str(name)


def _triton_kind(node: Any) -> str:
    """poi, red or per, by Inductor's rule: a reduction is persistent where its row is short."""
    if isinstance(node, inductor.ForeachKernelSchedulerNode):
        return "for"
    if not node.is_reduction():
        return "poi"
    _, (_, columns) = node.group
    hints = [getattr(getattr(sub.node, "data", None), "reduction_hint", None) for sub in node.get_nodes()]
    inner = any(hint is not None and hint.name == "INNER" for hint in hints)
    return "per" if _int(columns) <= (1024 if inner else 64) else "red"
