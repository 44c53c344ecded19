"""`KernelGraph`: a partition of operators into kernels, with what each reads and writes outside itself."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

import numpy as np

from hiersim.model.memo import Memo
from hiersim.model.operators import Accesses, IntArray, OperatorTable, Role, TensorTable

GUARDS_OF_A_WEIGHT: Final = 4
"""What TorchDynamo checks for each parameter of a module: `python -m benchmarks.guards` counts 20 guards, and 8 more
for each linear layer, which has two parameters (torch 2.13)."""

TOKEN_MODULE: Final = re.compile(r"token\.(\d{1,9})(\.|$)")
"""How the module of an operator begins where one trace makes several tokens."""


class Launch(IntEnum):
    """Who launches a kernel; decides what the host pays for it."""

    EAGER = 0
    """An operator dispatched by the framework, one at a time."""
    COMPILED = 1
    """A call from generated wrapper code."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Entries:
    """What the host does to enter compiled regions, K kernels: just before it launches each of them."""

    calls: IntArray
    """(K,) compiled regions that are entered."""
    guards: IntArray
    """(K,) guards that are checked for that."""
    recompiled: IntArray
    """(K,) regions that are compiled again."""
    traced: IntArray
    """(K,) operators in those."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KernelGraph(Memo):
    """Kernels in launch order.

    Kernel `k` runs the operators `operator_ptr[k]:operator_ptr[k + 1]`; an operator that a compiler
    inlined into several kernels has one row in each, and all rows but the first have `recomputed` set.
    """

    policy: str
    """The fusion policy that made it: `eager`, `inductor (captured)`."""
    tensors: TensorTable
    """`storage_free` counts kernels here, not operators."""
    operators: OperatorTable
    """(N,) rows, sorted by kernel."""
    recomputed: IntArray
    """(N,) 1 where the operator's work repeats that of an earlier row."""
    operator_ptr: IntArray
    """(K + 1,)"""
    names: tuple[str, ...]
    """(K,) what a profiler would show."""
    launch: IntArray
    """(K,) values of `Launch`."""
    host_views: IntArray
    """(K,) operators without a kernel that the host dispatches just before this one."""
    host_syncs: IntArray
    """(K,) 1 where the host waits for all earlier kernels before it launches this one."""
    reads: Accesses
    """(K + 1,) CSR: tensors read from outside the kernel."""
    writes: Accesses
    """(K + 1,) CSR: tensors written for others; what stays inside the kernel is not listed."""
    release: tuple[int, int] | None = field(default=None, metadata={"stored": False})
    """Release of PyTorch whose kernels a framework launches; None: the latest that is known. No file has it."""
    entries: Entries | None = None
    """Guards and compilations of the regions that the kernels are in; None where nothing was cut into regions."""

    def __len__(self) -> int:
        return len(self.names)

    @property
    def entered(self) -> Entries | None:
        """What the host does to enter compiled code; None where the framework launches every kernel.

        Where nothing is known of regions, all compiled kernels are one: it is entered before the first of them, of
        each token where there are several, and after each wait of the host, with guards on the weights.
        """
        return self.entries if self.entries is not None else self.derived(_one_region)


def _one_region(graph: KernelGraph) -> Entries | None:
    """The entries of a graph whose compiled kernels are one region, as far as the host does not wait between them."""
    compiled = np.flatnonzero(graph.launch == Launch.COMPILED)
    if not len(compiled):
        return None
    called = np.stack([_tokens(graph), np.cumsum(graph.host_syncs != 0)])[:, compiled]
    first = np.ones(len(compiled), np.bool_)
    first[1:] = np.any(called[:, 1:] != called[:, :-1], axis=0)
    guarded = first.copy()
    guarded[1:] &= called[0, 1:] != called[0, :-1]
    columns = {name: np.zeros(len(graph), np.int64) for name in ("calls", "guards", "recompiled", "traced")}
    columns["calls"][compiled[first]] = 1
    columns["guards"][compiled[guarded]] = GUARDS_OF_A_WEIGHT * int((graph.tensors.storage_role == Role.WEIGHT).sum())
    return Entries(**columns)


def _tokens(graph: KernelGraph) -> IntArray:
    """(K,) the token that each kernel works on, where modules say so; else -1."""
    found = [TOKEN_MODULE.match(text) for text in graph.operators.strings]
    number = np.array([int(token.group(1)) if token else -1 for token in found], np.int64)
    tokens: IntArray = number[graph.operators.module[graph.operator_ptr[:-1]]]
    return tokens
