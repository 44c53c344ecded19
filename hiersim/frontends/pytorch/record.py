"""The eager capture of a target, with the header that says how it was made."""

from __future__ import annotations

import dataclasses

import torch

from hiersim.frontends.integrity import check_trace
from hiersim.frontends.pytorch.eager import capture_eager
from hiersim.frontends.pytorch.target import Target, dtype_of, load_target
from hiersim.frontends.pytorch.workload import PLAIN, Workload
from hiersim.model.kernels import KernelGraph
from hiersim.model.regions import Shapes
from hiersim.model.trace import Trace, TraceHeader
from hiersim.version import __version__


def record(
    target: str, train: bool, mode: str = "eager", workload: Workload = PLAIN, shapes: Shapes = Shapes.AUTOMATIC
) -> tuple[Trace, Target]:
    """The eager capture in this process, and the loaded target; mode `dynamo` with regions."""
    loaded = load_target(target, train, workload=workload)
    if mode == "dynamo":
        from hiersim.frontends.pytorch.dynamo import capture_dynamo

        eager = capture_dynamo(loaded, shapes)
    else:
        eager = capture_eager(loaded)
    notes = [*(loaded.builder.notes if loaded.builder else ())]
    notes += eager.assumed
    if eager.opaque:
        notes.append(f"operators without a cost formula: {', '.join(eager.opaque)}")
    how = "" if shapes is Shapes.AUTOMATIC else f" --shapes {shapes.name.lower()}"
    header = _header(loaded, mode + how, tuple(notes))
    return check_trace(Trace(header=header, graph=eager.graph)), loaded


def _header(target: Target, mode: str, notes: tuple[str, ...]) -> TraceHeader:
    builder = target.builder
    name = builder.name if builder else target.name.replace(":", ".")
    given = bool(builder and builder.function)  # a bundled name says all by itself
    options = f" {target.workload.options()}" if target.workload != PLAIN else ""
    train = " --train" if target.train and not given else ""
    return TraceHeader(
        name=name,
        model=builder.model if builder else type(target.model).__name__,
        workload=builder.workload if builder else ("one training step" if target.train else "inference"),
        producer=f"hiersim {__version__}, torch {torch.__version__.partition('+')[0]}",
        command=f"hiersim capture torch {target.name} --mode {mode}{train}{options} -o traces/{name}.npz",
        dtype=builder.dtype if builder else _dtype(target),
        notes=notes,
    )


def _dtype(target: Target) -> str:
    """The element type of most parameters."""
    sizes: dict[str, int] = {}
    for parameter in target.model.parameters():
        name = dtype_of(parameter.dtype).name.lower()
        sizes[name] = sizes.get(name, 0) + parameter.numel()
    return max(sizes, key=lambda name: sizes[name]) if sizes else ""


def with_schedule(trace: Trace, name: str, schedule: KernelGraph, notes: tuple[str, ...]) -> Trace:
    """`trace` with one more captured schedule and the notes on how it was made."""
    header = dataclasses.replace(trace.header, notes=(*trace.header.notes, *notes))
    return Trace(header=header, graph=trace.graph, schedules={**trace.schedules, name: schedule})
