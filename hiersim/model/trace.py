"""`Trace`: what a model does, operator by operator.

A trace holds the eager operators of one model run (`OperatorGraph`) and, beside them, any schedules that a compiler
really made (`KernelGraph`), groupings of its own operators (`Partition`), or the times that a profiler took
(`DeviceProfile`). The order of operators is their issue order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hiersim.model.kernels import KernelGraph
from hiersim.model.memo import Memo
from hiersim.model.operators import Accesses, IntArray, OperatorTable, TensorTable
from hiersim.model.partition import Partition
from hiersim.model.profile import DeviceProfile
from hiersim.model.regions import Regions
from hiersim.presenting import drawn_by


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OperatorGraph:
    """The eager operators of a trace and what each reads and writes."""

    tensors: TensorTable
    operators: OperatorTable
    reads: Accesses
    writes: Accesses
    regions: Regions | None = None
    """How a tracing compiler cut the operators into graphs; None: nothing cuts them, and there are no guards."""
    release: tuple[int, int] | None = field(default=None, metadata={"stored": False})
    """Release of PyTorch that ran them, of measured ones; None: the latest whose kernels are known. No file has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceHeader:
    """Where a trace comes from: enough to make it again."""

    name: str
    model: str = ""
    workload: str = ""
    """Batch, sequence and phase in words: `4 x 1024 prefill`."""
    producer: str = ""
    """What made it: `hiersim 0.1.0, torch 2.13.0`."""
    command: str = ""
    """The command that makes it again."""
    dtype: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CompilerEstimate:
    """What a compiler expected the kernels of its schedule to take."""

    cycles: IntArray
    """(K,) cycles of its target's clock for each kernel; -1 where it says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Trace(Memo):
    """One model run: its eager operators and the schedules captured from compilers."""

    header: TraceHeader
    graph: OperatorGraph
    schedules: Mapping[str, KernelGraph] = field(default_factory=dict)
    groupings: Mapping[str, Partition] = field(default_factory=dict)
    """Partitions of the eager operators by name, written back by `hiersim fuse` or by hand."""
    measured: DeviceProfile | None = None
    """Times that a profiler took, where the trace comes from one. They decide no prediction."""
    estimates: Mapping[str, CompilerEstimate] = field(default_factory=dict)
    """By schedule, what its compiler expected, where it says so. They decide no prediction either."""

    def __repr__(self) -> str:
        schedules = "".join(f", {name} {len(kernels)} kernels" for name, kernels in self.schedules.items())
        groupings = "".join(f", {name} {len(kernels)} kernels" for name, kernels in self.groupings.items())
        return f"Trace({self.name}: {len(self.graph.operators)} operators{schedules}{groupings})"

    _repr_html_ = drawn_by("hiersim.views.notebook:trace_html", "The trace as a notebook shows it: what it is made of.")

    @property
    def name(self) -> str:
        """The trace's name, as results print it."""
        return self.header.name
