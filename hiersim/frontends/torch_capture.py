"""`capture_torch`: a PyTorch model becomes a trace, without a GPU and without its weights."""

from __future__ import annotations

from hiersim.errors import MissingExtraError, TraceError
from hiersim.frontends.integrity import check_trace
from hiersim.model.kernels import KernelGraph
from hiersim.model.trace import Trace, TraceHeader


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("hiersim")
    except PackageNotFoundError:
        return "0.1.0"


def require_torch() -> None:
    """Raise `MissingExtraError` where torch is not installed."""
    try:
        import torch  # noqa: F401
    except ImportError:
        raise MissingExtraError("capture", "torch", "torch") from None


def capture_torch(target: str, mode: str = "eager", train: bool = False) -> Trace:
    """Capture a model.

    Parameters
    ----------
    target : str
        A bundled name, or `package.module:function` returning (model, args) or (model, args, kwargs);
        the function is called under the meta device.
    mode : str
        `eager`, or `inductor` for the eager graph and TorchInductor's schedule beside it.
    train : bool
        Record a training step: forward, loss, backward, AdamW. Bundled names know it themselves.

    Raises
    ------
    TraceError
        The target cannot be imported, or needs real data.
    MissingExtraError
        PyTorch is not installed.
    """
    require_torch()
    if mode not in ("eager", "inductor"):
        raise TraceError(f"'{mode}' is not a capture mode", expected="'eager' or 'inductor'")
    if mode == "inductor":
        from hiersim.frontends.torch_inductor import capture_in_subprocess

        return capture_in_subprocess(target, train)
    return capture_here(target, train)[0]


def capture_here(target: str, train: bool, mode: str = "eager") -> tuple[Trace, object]:
    """The eager capture in this process, and the loaded target."""
    from hiersim.frontends.torch_eager import capture_eager
    from hiersim.frontends.torch_target import load_target

    loaded = load_target(target, train)
    eager = capture_eager(loaded)
    notes = [*(loaded.builder.notes if loaded.builder else ())]
    if eager.opaque:
        notes.append(f"operators without a cost formula: {', '.join(eager.opaque)}")
    header = _header(loaded, mode, tuple(notes))
    return check_trace(Trace(header=header, graph=eager.graph)), loaded


def _header(target: object, mode: str, notes: tuple[str, ...]) -> TraceHeader:
    import torch

    from hiersim.frontends.torch_target import Target

    assert isinstance(target, Target)
    name = target.name if target.builder else target.name.replace(":", ".")
    train = " --train" if target.train and not target.builder else ""
    return TraceHeader(
        name=name,
        model=target.builder.model if target.builder else type(target.model).__name__,
        workload=target.builder.workload if target.builder else ("one training step" if target.train else "inference"),
        producer=f"hiersim {_version()}, torch {torch.__version__.partition('+')[0]}",
        command=f"hiersim capture torch {target.name} --mode {mode}{train} -o traces/{name}.npz",
        dtype=target.builder.dtype if target.builder else _dtype(target),
        notes=notes,
    )


def _dtype(target: object) -> str:
    """The element type of most parameters."""
    from hiersim.frontends.torch_target import Target, dtype_of

    assert isinstance(target, Target)
    sizes: dict[str, int] = {}
    for parameter in target.model.parameters():
        name = dtype_of(parameter.dtype).name.lower()
        sizes[name] = sizes.get(name, 0) + parameter.numel()
    return max(sizes, key=lambda name: sizes[name]) if sizes else ""


def with_schedule(trace: Trace, name: str, schedule: KernelGraph, notes: tuple[str, ...]) -> Trace:
    """`trace` with one more captured schedule and the notes on how it was made."""
    from dataclasses import replace

    header = replace(trace.header, notes=(*trace.header.notes, *notes))
    return Trace(header=header, graph=trace.graph, schedules={**trace.schedules, name: schedule})


def summary(trace: Trace) -> str:
    """One line on what a trace holds."""
    from hiersim.units import show_bytes, show_flops

    graph = trace.graph
    moved = int(graph.reads.size.sum() + graph.writes.size.sum())
    flops = int(graph.operators.matrix_flops.sum())
    parts = [f"{len(graph.operators)} operators, {show_flops(flops)} of matrix work, {show_bytes(moved)} moved"]
    for name, schedule in trace.schedules.items():
        moved = int(schedule.reads.size.sum() + schedule.writes.size.sum())
        parts.append(f"{name}: {len(schedule)} kernels, {show_bytes(moved)} moved")
    return "; ".join(parts)
