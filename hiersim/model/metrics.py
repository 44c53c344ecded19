"""Every word that hiersim prints, declared once: unit, meaning and which way is better.

`hiersim define` and docs/glossary.md are made from this table, and a test holds every JSON key against it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One word of the output."""

    name: str
    unit: str
    meaning: str
    better: str = ""
    """`lower`, `higher`, or empty where neither is."""


_DECLARED: Final = (
    # what was run
    ("schema", "-", "Version of the JSON form, an integer.", ""),
    ("trace", "-", "Name of the trace that was replayed.", ""),
    ("design", "-", "Name of the design it was replayed on.", ""),
    ("fusion", "-", "Fusion policy that grouped the operators into kernels, and whether the groups were captured.", ""),
    ("launch", "-", "How the host launched: `stream`, a call for every kernel, or `graph`, a replay of a captured graph for all kernels that need no value on the host.", ""),
    ("engine", "-", "Simulation engine that ran.", ""),
    ("version", "-", "Version of hiersim.", ""),
    ("inputs_sha256", "-", "SHA-256 of the trace, the resolved design, the policy and the launch mode: equal hashes mean equal results.", ""),
    ("rows", "-", "The results of a comparison, first the baseline; of `validate`, the classes of operators.", ""),
    ("set", "-", "Values of the design that were changed for this run.", ""),
    # how long
    ("makespan_ticks", "ps", "Time from the first host launch to the last arrival, in ticks of 1 ps.", "lower"),
    ("time_s", "s", "The makespan in seconds.", "lower"),
    ("cycles", "core cycles", "The makespan in cycles of the core clock, rounded up.", "lower"),
    # how much
    ("operators", "count", "Operators that were executed; an operator inlined into two kernels counts twice.", ""),
    ("kernels", "count", "Kernels that were launched.", "lower"),
    ("tiles", "count", "Tiles that were run: one step of one wave of blocks over the cores.", ""),
    ("flops", "FLOP", "Useful floating-point operations, by the unit that did them; masked-out work does not count.", ""),
    ("recomputed_flops", "FLOP", "Part of `flops` that repeats work of another kernel (inlined by a compiler, or recomputation), by unit.", "lower"),
    ("matrix", "-", "The matrix unit: tensor cores or systolic arrays.", ""),
    ("vector", "-", "The vector unit: scalar and SIMD arithmetic with the special functions.", ""),
    ("cores", "-", "All cores as one engine: it works while its matrix or its vector unit does.", ""),
    # how well
    ("utilization", "0-1", "Useful FLOPs divided by (datasheet peak x time), by unit and overall.", "higher"),
    ("overall", "0-1", "Utilization of all units together: all FLOPs over the sum of what the units could do.", "higher"),
    ("stall_fraction", "0-1", "Share of the makespan in which the cores wait: everything but useful, padding and tail.", "lower"),
    # where the time went
    ("ledger", "ticks", "Every tick of the makespan under exactly one name, per engine.", ""),
    ("ticks", "ps", "Time of one ledger entry.", ""),
    ("entry", "-", "Name of a ledger entry: work (useful, padding, tail) or waiting (the others).", ""),
    ("tier", "-", "Tier to blame for a waiting entry; null where no tier is.", ""),
    ("phase", "-", "Where in its kernel the waiting happened: fill, steady or drain; null where it has none.", ""),
    ("useful", "ps", "The engine does arithmetic that the model asked for.", "higher"),
    ("padding", "ps", "The engine works on tile edges that are cut off, or a systolic array fills and drains.", "lower"),
    ("tail", "ps", "Share of the work time in which cores idle because the last wave does not fill them.", "lower"),
    ("dispatch", "ps", "Waiting for the host to launch the kernel, or for the launch to start.", "lower"),
    ("dependency", "ps", "Waiting for an earlier kernel, or for the other unit of the same cores.", "lower"),
    ("capacity", "ps", "Waiting for a buffer to come free.", "lower"),
    ("bandwidth", "ps", "Waiting for bytes that a tier's port was moving, for this tile or those before it.", "lower"),
    ("latency", "ps", "Waiting for bytes in flight behind a port, with too few others in flight to hide it.", "lower"),
    ("contention", "ps", "Waiting for a port that served another kernel (its write-back) or a copy.", "lower"),
    ("fill", "-", "Phase before the first computation of a kernel.", ""),
    ("steady", "-", "Phase between two computations of a kernel.", ""),
    ("drain", "-", "Phase after the last computation of a kernel.", ""),
    # memory
    ("traffic_bytes", "bytes", "Bytes read and written at the port of each tier and link.", "lower"),
    ("read", "bytes", "Bytes read at a tier's port.", "lower"),
    ("write", "bytes", "Bytes written at a tier's port.", "lower"),
    ("bandwidth_share", "0-1", "Per tier: share of its datasheet bandwidth that the run used as achievable.", "higher"),
    ("streaming", "0-1", "Share of the bandwidth for access in order: the design's `efficiency`.", "higher"),
    ("worst", "0-1", "Share of the bandwidth at which the shortest or slowest gathered or scattered rows of the run arrive. Of `validate`: the operators whose prediction is off by the largest factor.", "higher"),
    ("peak_bytes", "bytes", "Largest occupancy of each tier.", "lower"),
    ("placement", "-", "Where tensors live: one row per tier and role, with how many, their bytes, and the first and last name.", ""),
    ("role", "-", "What a tensor is for: weight, activation, kv_cache, gradient, optimizer_state, input, constant.", ""),
    ("tensors", "count", "How many tensors.", ""),
    ("bytes", "bytes", "Bytes of all these tensors.", ""),
    ("first", "-", "Name of the first of these tensors; empty where it has none.", ""),
    ("last", "-", "Name of the last of these tensors; empty where it has none.", ""),
    ("peak_memory", "-", "Where the last tier holds most, with what, and the most of each role at any kernel.", ""),
    ("kernel", "-", "Number of a kernel, in launch order from 0; null for a copy that `explain` tells of.", ""),
    ("kernel_name", "-", "Name of a kernel, as a profiler would show it.", ""),
    ("at_peak", "bytes", "What the last tier holds while its fullest kernel runs, by role; `saved` is part of `activation`.", "lower"),
    ("largest", "bytes", "The most that each role takes in the last tier at any kernel.", "lower"),
    ("weight", "bytes", "Parameters of the model, with the scale factors of quantized ones.", ""),
    ("constant", "bytes", "Tensors that are there from the start and never change: masks, tables, frequencies.", ""),
    ("input", "bytes", "What the model is called with.", ""),
    ("activation", "bytes", "What operators make for others, gradients of activations included.", "lower"),
    ("saved", "bytes", "Activations that the forward pass made and the backward pass still reads.", "lower"),
    ("kv_cache", "bytes", "Keys and values of earlier tokens.", ""),
    ("gradient", "bytes", "Gradients of the parameters.", ""),
    ("optimizer_state", "bytes", "What the optimizer keeps between steps (moments).", ""),
    ("recomputation", "-", "Running forward operators again in the backward pass instead of keeping their results (checkpointing).", ""),
    ("bounds", "-", "Closed-form lower bounds of time and traffic; no run beats them.", ""),
    ("compute_ticks", "ps", "Useful FLOPs at datasheet peak, on the busiest unit.", ""),
    ("link_ticks", "ps", "Per tier and link: the bytes moved at its port divided by its achievable bandwidth.", ""),
    ("critical_path_ticks", "ps", "Longest chain of host launches and dependent kernels, each at its own bound.", ""),
    ("compulsory_bytes", "bytes", "External inputs read once and outputs written once, at the home tier; less the capacity of warm caches.", ""),
    # explain
    ("working_sets", "-", "Capacities at which a shared cache serves bytes that are used again, largest savings first.", ""),
    ("begin_bytes", "bytes", "A cache of this size begins to serve the working set.", ""),
    ("held_bytes", "bytes", "A cache of this size serves all of the working set.", ""),
    ("saved_bytes", "bytes", "Traffic at the next tier that a cache saves when it holds the working set, or that part of it.", "higher"),
    ("served", "0-1", "Share of a working set's savings that the capacity of each shared cache gives, if it stood alone.", "higher"),
    ("parts", "-", "What a working set consists of: the same reuse of the same role of tensors by kernels of one name.", ""),
    ("reuse", "-", "What is saved: read (by a later kernel), write-back, or re-read (by a later wave of a contraction).", ""),
    ("home_bytes", "bytes", "Bytes read and written at the last tier.", "lower"),
    ("same_name", "count", "Kernels of the run that have this name.", ""),
    ("start_ticks", "ps", "When a kernel starts.", ""),
    ("end_ticks", "ps", "When a kernel ends.", ""),
    ("name", "-", "Name of an operator or kernel.", ""),
    ("module", "-", "Path of the module that issued an operator.", ""),
    ("kind", "-", "Which loop nest an operator is: gemm, conv, attention, pointwise, reduction and so on.", ""),
    ("dtype", "-", "Element type that the arithmetic runs in.", ""),
    ("dims", "-", "Sizes of an operator's loops, by kind.", ""),
    ("pair", "-", "The two operators that `explain --why-not` was asked about.", ""),
    ("operator", "-", "Index of an eager operator, in issue order from 0.", ""),
    ("together", "-", "True where one kernel runs both operators of a pair.", ""),
    ("reason", "-", "Why two operators are in different kernels: a word of the closed list in docs/fusion.md; null where they are not.", ""),
    ("meaning", "-", "A reason in words.", ""),
    ("detail", "-", "The numbers or names behind a reason; null where there are none.", ""),
    ("remedy", "-", "What would have to change for two operators to share a kernel.", ""),
    ("recomputed", "-", "True where an operator repeats the work of another kernel.", ""),
    ("tile", "-", "How a contraction is cut: block, step, split, and how many of them; empty for a stream.", ""),
    ("tile_m", "elements", "Rows of the result in one block; of attention, queries.", ""),
    ("tile_n", "elements", "Columns of the result in one block; of attention, the head dimension.", ""),
    ("tile_k", "elements", "Length of a step along the inner dimension; of attention, keys.", ""),
    ("split", "count", "Parts into which the inner dimension is split among cores.", ""),
    ("kept_bytes", "bytes", "Panel of one operand that stays in each core from block to block.", ""),
    ("blocks", "count", "Blocks of the result, one per core at a time.", ""),
    ("waves", "count", "Waves of blocks.", ""),
    ("steps", "count", "Steps of a block along its inner dimension.", ""),
    ("busy_ticks", "ps", "Time in which each port and unit serves the kernel.", ""),
    ("bound", "-", "The port or unit that serves the kernel longest.", ""),
    ("bound_share", "0-1", "Share of the kernel's time in which that port or unit serves it.", "higher"),
    ("arithmetic_intensity", "FLOP/B", "Useful FLOPs per byte at each tier's port.", "higher"),
    ("ridge_point", "FLOP/B", "Peak FLOP/s of the kernel's unit divided by the peak bandwidth of each shared tier.", ""),
    # validate
    ("files", "-", "Files of measured times that were read, without their folders.", ""),
    ("measured_on", "-", "When each of these files was measured, UTC.", ""),
    ("totals", "-", "Errors per suite, and of all suites together.", ""),
    ("device", "-", "Name that the driver gives the measured device.", ""),
    ("suite", "-", "Group of cases that `hiersim measure` takes together.", ""),
    ("class", "-", "What is scored together: kind of operator, measured below or above 50 us, state of the last-level cache, and `compiled` where it was.", ""),
    ("case", "-", "Name of what was measured: suite, operator, dtype and sizes.", ""),
    ("model", "-", "Name of the bundled model that was measured and whose trace was replayed.", ""),
    ("mode", "-", "Who launched: `eager`, `compiled`, or `graph`, one replay of a captured graph.", ""),
    ("cache", "-", "What the last-level cache held at the start: `warm`, the same tensors, or `cold`, none of them.", ""),
    ("clock", "-", "Who measured: `profiler`, the kernels alone, `events`, with the gaps between them, or `wall`, with the launch.", ""),
    ("launches", "count", "Kernels that the measured run launched; null where nobody counted them.", ""),
    ("n", "count", "Measurements that an entry describes.", ""),
    ("mape", "1", "Mean of |predicted / measured - 1|: 0.1 is 10 %.", "lower"),
    ("median", "1", "Median of predicted / measured.", ""),
    ("geo", "1", "Geometric mean of predicted / measured.", ""),
    ("p90", "1", "90th percentile of |predicted / measured - 1|.", "lower"),
    ("median_error", "1", "Median of |predicted / measured - 1|.", "lower"),
    ("roofline_mape", "1", "`mape` of the plain roofline on the same measurements: max(FLOPs / datasheet peak, compulsory bytes / datasheet bandwidth).", ""),
    ("roofline_s", "s", "What the plain roofline predicts.", ""),
    ("predicted_s", "s", "Time of the replay.", ""),
    ("measured_s", "s", "Median of the measured times.", ""),
    ("ratio", "1", "Predicted / measured.", ""),
    ("models", "-", "Models: replayed and measured, kernels alone and end to end.", ""),
    ("device_time", "-", "Kernels alone: the replay with a host that costs nothing, beside the durations of all kernels added up.", ""),
    ("wall", "-", "End to end: the replay with the measured host, beside the time from the call until the results are there.", ""),
    ("measured_host", "-", "True where launches were measured on the device; else the design's own host was taken.", ""),
    ("stable", "-", "False where the measured times had not settled.", ""),
    ("speed_ups", "-", "What compilation gains: time of the eager run over that of the compiled one, replayed and measured, of cases that were measured both ways.", ""),
    ("counters", "-", "Bytes at the device memory, replayed and counted by the hardware, per suite.", ""),
    ("reads", "-", "Errors of the bytes read.", ""),
    ("both", "-", "Errors of the bytes read and written together.", ""),
    ("predicted", "-", "Of counters: bytes read and written in the replays, added up. Of `speed_ups`: the gain in the replays, a ratio of times.", ""),
    ("counted", "bytes", "Bytes that the hardware counted as read and written, added up.", ""),
    ("predicted_read", "bytes", "Bytes read in the replays, added up.", ""),
    ("counted_read", "bytes", "Bytes that the hardware counted as read, added up; null where only the sum of both is known.", ""),
    ("predicted_written", "bytes", "Bytes written in the replays, added up.", ""),
    ("counted_written", "bytes", "Bytes that the hardware counted as written, added up; what stays dirty in the last-level cache is not among them; null where only the sum of both is known.", ""),
    ("skipped", "-", "Measurements that were not replayed, by reason.", ""),
    ("reason", "-", "Why measurements were not replayed.", ""),
    # money and energy
    ("memory_cost_usd", "$", "Capacity x price of each tier, and their total; null where the design has no price.", "lower"),
    ("energy_j", "J", "Energy moved by each tier and spent in arithmetic; null where the design has no figure.", "lower"),
    ("total", "-", "Sum of the known parts.", ""),
    ("compute", "J", "Energy of the arithmetic.", "lower"),
    # beside a profile
    ("measured", "-", "Of a trace that comes from a profile: the profile's totals, and predicted beside measured by operator.", ""),
    ("kernel_time_s", "s", "Durations of all measured kernels added up; copies and fills are not kernels.", ""),
    ("span_s", "s", "From the first start to the last end of what was measured on the device.", ""),
    ("idle_share", "0-1", "Share of the span in which nothing ran on the device, over all streams.", ""),
    ("operator", "-", "Name of an operator, as the trace has it.", ""),
    ("predictable", "-", "Whether the trace knows what the operator moves and computes; otherwise only its traffic or launch is predicted.", ""),
    ("measured_ticks", "ps", "Durations of all that the operators of this name launched, as the profile has them.", ""),
    ("predicted_ticks", "ps", "From the start of a kernel to its end, over the operators of this name.", ""),
    ("warnings", "-", "What to know before trusting the result: stand-in rates, unknown operators, assumptions.", ""),
    # words of tables
    ("stall", "-", "A tick in which an engine waits.", "lower"),
    ("home", "-", "The tier that a tensor lives in during its whole life.", ""),
    ("spill", "-", "A tensor whose home is behind the device, since no nearer tier has room for it.", "lower"),
    ("link", "-", "What lies between two tiers: PCIe, NVLink-C2C. Its port is served like that of a tier.", ""),
    ("prefetch", "kernels", "How many kernels before its user has ended a copy to the device may begin; 1: on demand.", ""),
    ("working set", "bytes", "What a kernel touches before it touches the same bytes again.", ""),
    ("arithmetic intensity", "FLOP/B", "Useful FLOPs per byte at a tier's port.", "higher"),
    ("ridge point", "FLOP/B", "Arithmetic intensity at which compute peak and bandwidth peak take equal time.", ""),
    ("roofline", "-", "The larger of FLOPs over peak and bytes over bandwidth: a bound, never a prediction.", ""),
    ("makespan", "ps", "See makespan_ticks.", "lower"),
    ("wave", "-", "The blocks that run at once, one per core.", ""),
    ("buffer depth", "tiles", "Tiles of a kernel that may hold a buffer at once: 1 none, 2 double buffering.", ""),
    ("speedup", "ratio", "Time of the baseline (the first column) divided by time of this one.", "higher"),
    ("tick", "ps", "The unit of simulated time: one picosecond.", ""),
    ("working", "0-1", "Share of the makespan in which the cores work: useful, padding and tail.", ""),
    ("eager", "-", "Fusion policy: one kernel per operator, as the framework launches them.", ""),
    ("attention", "-", "Fusion policy: attention that is written out, forward and backward, becomes kernels that never store the scores; all else as eager.", ""),
    ("classes", "-", "Work, bytes and time of a run by class of operator, forward and backward.", ""),
    ("operator_class", "-", "contraction: products, convolutions, attention; normalization: all that reduces; elementwise: all else. A kernel of several is of the first.", ""),
    ("moved_bytes", "B", "What kernels read and write outside themselves, wherever it is held.", "lower"),
    ("optimal", "-", "Fusion policy: the fewest bytes that kernels can ask for when values may stay in the cores' memory, with the gap to a bound where the search is not exact; no compiler.", ""),
    ("pointwise", "-", "Fusion policy: chains and DAGs of element-wise operators share a kernel, nothing else does.", ""),
    ("epilogue", "-", "Fusion policy: a product takes the element-wise operators that follow it into its kernel, and a norm before it.", ""),
    ("inductor", "-", "Fusion policy: the kernels that TorchInductor (torch.compile) makes: captured where the trace carries them, else by its rules.", ""),
    ("inductor-rules", "-", "Fusion policy: TorchInductor's rules applied to the eager operators, whatever the trace carries.", ""),
    ("captured", "-", "The kernels are those that the compiler really made for this model, as the trace carries them.", ""),
    ("makespan_share", "0-1", "Any entry of the ledger divided by the makespan; tables print it in percent.", ""),
)  # fmt: skip

METRICS: Final[Mapping[str, Metric]] = MappingProxyType(
    {name: Metric(name=name, unit=unit, meaning=meaning, better=better) for name, unit, meaning, better in _DECLARED}
)

LABELS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "time": "time_s",
        "speed-up": "speedup",
        "stalled": "stall_fraction",
        "host dispatch": "dispatch",
        "matrix unit": "utilization",
        "vector unit": "utilization",
        "traffic": "traffic_bytes",
        "at least": "compulsory_bytes",
        "occupied": "peak_bytes",
        "bandwidth used in order": "streaming",
        "at worst": "worst",
        "memory cost": "memory_cost_usd",
        "of it": "memory_cost_usd",
        "ticks": "tick",
    }
)
"""What tables print → the word that explains it. A tier's name may stand before it (`hbm traffic`) or after it."""


def find(word: str, tiers: Iterable[str] = ()) -> Metric | None:
    """The entry of a key or of a table's label; names of tiers in the label do not matter."""
    text = word.strip()
    if text in METRICS:
        return METRICS[text]
    plain = " ".join(part for part in text.lower().split() if part not in set(tiers)).strip("() ")
    return METRICS.get(LABELS.get(plain, plain))
