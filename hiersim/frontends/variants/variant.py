"""`variant`: the entry to all variants, their order, their names and the checks of what they made."""

from __future__ import annotations

import dataclasses
import re
from typing import Final, Protocol

import numpy as np

from hiersim.errors import TraceError
from hiersim.frontends.integrity import check_trace
from hiersim.frontends.variants.batch import check_flow, eager_flow, schedule_flow, with_batch
from hiersim.frontends.variants.context import with_context
from hiersim.frontends.variants.decode import Decode, decode_of
from hiersim.frontends.variants.parts import Part
from hiersim.frontends.variants.tokens import in_sequence
from hiersim.frontends.variants.weights import quantized
from hiersim.model.kernels import KernelGraph
from hiersim.model.operators import Role
from hiersim.model.trace import Trace

_DECODE: Final = re.compile(r"(\d+) x (\d+) tokens?, decode over a static KV cache of (\d+)")


class Change(Protocol):
    """Makes another part of a part, of the same kind."""

    def __call__(self, part: Part, of: Decode, /) -> Part: ...


def variant(
    trace: Trace,
    *,
    weights: str | None = None,
    batch: int | None = None,
    context: int | None = None,
    tokens: int | None = None,
    stride: int = 1,
) -> Trace:
    """`trace` with other sizes, without a new capture; the eager operators and all captured schedules.

    Parameters
    ----------
    trace : Trace
        A captured trace. All but `weights` need a decode step: one query per sequence over a KV cache.
    weights : str, optional
        Format in which the weights of matrix products and convolutions are stored: `fp8`, `int8`, `mxfp8`, `mxfp4`,
        `nvfp4`. Weight-only: the arithmetic keeps its dtype.
    batch : int, optional
        Sequences that decode together.
    context : int, optional
        Positions that the first token attends to, itself included.
    tokens : int, optional
        Decode steps one after the other.
    stride : int
        Positions by which the context grows from one step to the next; above 1 the steps are a sample.

    Raises
    ------
    TraceError
        When what is asked for does not follow from the trace: why, and what would work.

    Examples
    --------
    >>> import hiersim as hs
    >>> hs.variant(hs.load_trace("llama3-8b-decode"), context=8192, weights="fp8").name
    'llama3-8b-decode[weights=fp8,context=8192]'
    """
    _check_counts(batch=batch, context=context, tokens=tokens, stride=stride)
    asked: dict[str, str] = {}
    if weights is not None:
        trace, asked["weights"] = quantized(trace, weights), weights
    if batch is not None:
        trace, asked["batch"] = _rebatched(trace, batch), str(batch)
    if context is not None:
        trace, asked["context"] = _stretched(trace, context), str(context)
    if tokens is not None:
        steps = [stride * step for step in range(tokens)]
        trace, asked["tokens"] = _generated(trace, steps), f"{tokens}" + (f":{stride}" if stride > 1 else "")
    return check_trace(_named(trace, asked))


def _check_counts(*, stride: int, **counts: int | None) -> None:
    for name, count in (*counts.items(), ("stride", stride)):
        if count is not None and (isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= 10**9):
            raise TraceError(f"is {count!r}", key=name, expected="a whole number from 1 to 10^9")


def _named(trace: Trace, asked: dict[str, str]) -> Trace:
    """The trace with a name that tells its variant."""
    header = trace.header
    if not asked:
        return trace
    text = ",".join(f"{key}={value}" for key, value in asked.items())
    name = f"{header.name[:-1]},{text}]" if header.name.endswith("]") else f"{header.name}[{text}]"
    note = f"variant of {header.name}: {text.replace(',', ', ')}"
    words = _workload(header.workload, asked)
    header = dataclasses.replace(header, name=name, workload=words, notes=(*header.notes, note))
    return dataclasses.replace(trace, header=header)


def _workload(words: str, asked: dict[str, str]) -> str:
    """The workload in words with what was changed of a decode step, by which tokens are counted; others as they are."""
    found = _DECODE.fullmatch(words)
    if found is None:
        return words
    batch, tokens, context = (
        asked.get(key, given).partition(":")[0]
        for key, given in zip(("batch", "tokens", "context"), found.groups(), strict=True)
    )
    return f"{batch} x {tokens} token{'s' if tokens != '1' else ''}, decode over a static KV cache of {context}"


def _each(trace: Trace, change: Change) -> Trace:
    """`change(part, decode)` of the eager graph and of every schedule."""
    graph = change(trace.graph, decode_of(trace.graph, trace.name))
    schedules = {name: change(part, decode_of(part, trace.name)) for name, part in trace.schedules.items()}
    return Trace(header=trace.header, graph=graph, schedules=schedules)


def _rebatched(trace: Trace, batch: int) -> Trace:
    flow = eager_flow(trace.graph, decode_of(trace.graph, trace.name))

    def changed(part: Part, of: Decode) -> Part:
        own = schedule_flow(part, trace.graph, flow) if isinstance(part, KernelGraph) else flow
        check_flow(part, own)
        made = with_batch(part, own, of, batch)
        _check_kept(part, made, of.batch, batch)
        return made

    return _each(trace, changed)


def _stretched(trace: Trace, context: int) -> Trace:
    def changed(part: Part, of: Decode) -> Part:
        return with_context(part, of, context, context)

    return _each(trace, changed)


def _check_kept(before: Part, after: Part, of: int, batch: int) -> None:
    """A batch changes no weight and all matrix work in proportion."""
    for role in (Role.WEIGHT, Role.CONSTANT):
        sizes = [part.tensors.storage_bytes[part.tensors.storage_role == role] for part in (before, after)]
        assert np.array_equal(*sizes)
    done = [sum(part.operators.matrix_flops.tolist()) for part in (before, after)]
    assert done[1] * of == done[0] * batch


def _generated(trace: Trace, steps: list[int]) -> Trace:
    """Decode steps whose contexts are longer by `steps` positions, over one KV cache for all of them."""

    def changed(part: Part, of: Decode) -> Part:
        return in_sequence([with_context(part, of, of.keys + more, of.keys + steps[-1]) for more in steps])

    return _each(trace, changed)
