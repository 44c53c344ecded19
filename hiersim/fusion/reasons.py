"""Why two operators are in different kernels: a closed list, each with what would have to change."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Reason(Enum):
    """A reason; its value is the word that `explain --why-not` prints."""

    LAUNCHES_NOTHING = "launches-nothing"
    ONE_KERNEL_EACH = "one-kernel-each"
    NOT_ELEMENTWISE = "not-elementwise"
    ELEMENT_COUNT = "element-count"
    NOT_ADJACENT = "not-adjacent"
    PARTIAL_READ = "partial-read"
    TWO_PRODUCTS = "two-products"
    LIBRARY_CALL = "library-call"
    HOST_SYNC = "host-sync"
    GRAPH_BREAK = "graph-break"
    PHASE = "phase"
    NOT_COMPILED = "not-compiled"
    LOOP_NEST = "loop-nest"
    INDEXING = "indexing"
    KERNEL_SIZE = "kernel-size"
    NO_SHARED_DATA = "no-shared-data"
    LITTLE_SHARED_DATA = "little-shared-data"
    DISTANCE = "distance"
    NOT_SLIDING = "not-sliding"
    WORKING_SET = "working-set"
    RECOMPUTATION = "recomputation"
    CYCLE = "cycle"
    OTHER_FUSION_FIRST = "other-fusion-first"
    COMPILER = "compiler"


MEANING: dict[Reason, tuple[str, str]] = {
    Reason.LAUNCHES_NOTHING: (
        "one of them is a view or a host sync, which launches no kernel",
        "name an operator that launches one",
    ),
    Reason.ONE_KERNEL_EACH: ("the policy gives every operator like these its own kernel", "another policy"),
    Reason.NOT_ELEMENTWISE: (
        "one of them is not element-wise, and the policy fuses nothing else",
        "a policy that fuses reductions, gathers or products (inductor-rules, epilogue)",
    ),
    Reason.ELEMENT_COUNT: (
        "their results have different numbers of elements, so that their loops do not match",
        "results of equal size, or a policy that computes a value again",
    ),
    Reason.NOT_ADJACENT: (
        "neither reads what the other writes, and the policy fuses only along data",
        "ask for each pair of operators on the way from one to the other",
    ),
    Reason.PARTIAL_READ: (
        "the consumer reads a part of what the producer writes, or through another order of elements",
        "a consumer of the whole result",
    ),
    Reason.TWO_PRODUCTS: ("a kernel has one product, and both sides have theirs", "fused chains of products"),
    Reason.LIBRARY_CALL: (
        "one of them is a library call (cuBLAS, cuDNN, flash attention), into which nothing is fused",
        "a template that the compiler generates itself (max-autotune), or the policy epilogue",
    ),
    Reason.HOST_SYNC: (
        "the host waits for a value of the device between them",
        "a model that does not ask for the value (.item(), data-dependent control flow)",
    ),
    Reason.GRAPH_BREAK: (
        "a graph break lies between them: the compiler saw them in different regions, or one in none",
        "code that the tracing compiler can follow at that line",
    ),
    Reason.PHASE: (
        "one belongs to the forward pass and one to the backward pass, which are compiled apart",
        "nothing: what lies between is the loss",
    ),
    Reason.NOT_COMPILED: ("the optimizer is not compiled with the model", "a compiled optimizer step"),
    Reason.LOOP_NEST: (
        "their loop nests differ: other numbers of points, or reductions over other axes",
        "equal iteration domains",
    ),
    Reason.INDEXING: (
        "the consumer reads the stored result at other places than the producer writes it (a slice, a window)",
        "the same index expression in both, or a result that is not stored",
    ),
    Reason.KERNEL_SIZE: (
        "together they have more buffers, or operators, than one kernel may have",
        "a larger max_fusion_size",
    ),
    Reason.NO_SHARED_DATA: ("they share no data, so that nothing would be saved", "a common operand"),
    Reason.LITTLE_SHARED_DATA: (
        "what they share is too little to be worth a kernel",
        "a smaller score_fusion_memory_threshold",
    ),
    Reason.DISTANCE: (
        "they only read the same data and are too far apart: fusing them would keep tensors alive longer",
        "an order of operators that brings them together",
    ),
    Reason.NOT_SLIDING: (
        "one of them does not go over its operands row by row, or its window is not square",
        "convolutions, poolings, products of one matrix, element-wise operators and reductions along rows",
    ),
    Reason.WORKING_SET: (
        "weights and the smallest window of what they are fused with need more than the cores' memory",
        "more memory in the cores, or smaller layers",
    ),
    Reason.RECOMPUTATION: (
        "halo rows do not fit the cores, and computing them again takes longer than moving the bytes that stay there",
        "more memory in the cores, or a slower memory behind them",
    ),
    Reason.CYCLE: (
        "a third kernel must run after one of them and before the other",
        "the operator between them in the same kernel, or gone",
    ),
    Reason.OTHER_FUSION_FIRST: (
        "alone they could share a kernel; fused with others first, they no longer can",
        "fewer or smaller fusions around them",
    ),
    Reason.COMPILER: (
        "the compiler kept them apart; by its rules, as this tool knows them, it need not have",
        "see docs/fusion.md for where rules and captured schedules disagree",
    ),
}
"""What each reason says, and what would have to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether two operators share a kernel, and if not, why."""

    reason: Reason | None
    """None where they share one."""
    detail: str = ""
    """What the reason is about, in words: the loop nests that differ, the bytes that are shared."""

    @property
    def together(self) -> bool:
        """True where a kernel runs both."""
        return self.reason is None
