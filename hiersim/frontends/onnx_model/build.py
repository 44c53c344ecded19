"""An ONNX model becomes a trace: shapes by ONNX's own inference, costs by the ATen rules.

Weights' data is not needed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any, Final

from hiersim.errors import MissingExtraError, TraceError, nearest, one_line
from hiersim.frontends.draft import Draft
from hiersim.frontends.onnx_model.ort import with_schedule
from hiersim.frontends.onnx_model.runtime import optimised
from hiersim.frontends.onnx_model.writer import GraphWriter, inferred, sound
from hiersim.model.trace import Trace, TraceHeader

MAX_BYTES: Final = 2**31
MAX_NODES: Final = 1_000_000
SMALL: Final = 1024
"""Elements up to which an initializer's values are kept: they may be shapes."""


def import_onnx(
    path: str | os.PathLike[str], *, name: str = "", sides: Mapping[str, int] | None = None, runtime: str = ""
) -> Trace:
    """Read an ONNX model (`.onnx`) as a trace of one inference.

    Parameters
    ----------
    path : path
        The model; external data files may be absent.
    name : str
        Name of the trace; default: that of the file.
    sides : mapping
        Values of symbolic sides: `{"batch": 8, "sequence": 512}`.
    runtime : str
        `basic` or `extended`: let ONNX Runtime optimise the graph up to that level, and keep what it makes of it as
        the schedule `ort`.

    Raises
    ------
    MissingExtraError
        The package `onnx`, or with `runtime` the package `onnxruntime`, is not installed.
    TraceError
        Not a model, one with a side that has no value, or one that ONNX Runtime refuses.
    """
    file = str(path)
    model = _load(Path(path), file)
    _fix_sides(model, dict(sides or {}), file)
    model = _inlined(model, file)
    better = optimised(model, runtime, Path(path)) if runtime else None
    forget_data(model)
    writer = GraphWriter(Draft(file), inferred(model, file).graph)
    writer.take_all()
    notes = ["an ONNX model: nodes in the order of the file, shapes by onnx.shape_inference"]
    if writer.unshaped:
        notes.append(f"{writer.unshaped} tensors without a shape could not be sized and count as empty")
    header = TraceHeader(
        name=name or Path(path).name.partition(".")[0] or "model",
        model=one_line(model.graph.name),
        workload=", ".join(f"{item.name} {list(writer.known[item.name].shape)}" for item in writer.inputs),
        producer=one_line(f"hiersim import onnx, {model.producer_name} {model.producer_version}".strip(" ,")),
        command=" ".join(["hiersim import onnx", Path(path).name, *([f"--runtime {runtime}"] if runtime else [])]),
        notes=tuple(notes),
    )
    trace = writer.draft.finish(header, writer.results())
    return trace if better is None else with_schedule(trace, writer, better)


def _load(path: Path, file: str) -> Any:
    try:
        import onnx
    except ImportError:
        raise MissingExtraError("import of ONNX models", "onnx", "onnx") from None
    wanted = "an ONNX model (.onnx)"
    try:
        if path.stat().st_size >= MAX_BYTES:
            raise TraceError("is larger than 2 GiB", file=file, expected="weights as external data")
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise TraceError(f"cannot be read: {reason}", file=file, expected=wanted) from None
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's own errors differ by implementation
        raise TraceError(f"is no ONNX model: {one_line(str(error))[:100]}", file=file, expected=wanted) from None
    if not model.graph.node:
        raise TraceError("holds no nodes", file=file, expected=wanted)
    if not all(isinstance(text, str) for text in _texts(model.graph)):
        raise TraceError("holds a name that is not UTF-8", file=file, expected=wanted)
    if len(model.graph.node) > MAX_NODES:
        raise TraceError("has too many nodes", file=file, expected=f"at most {MAX_NODES}")
    for tensor in model.graph.initializer:
        if not sound(tensor.dims):
            raise TraceError(f"initializer '{tensor.name[:60]}' has a side that is no size", file=file, expected="0 …")
    return model


def forget_data(model: Any) -> None:
    """Drop the values of weights, which decide no shape."""
    for tensor in model.graph.initializer:
        if prod(tensor.dims) > SMALL:
            for part in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
                tensor.ClearField(part)


def _texts(graph: Any) -> Iterator[Any]:
    """Every name; protobuf hands out bytes where a text is none."""
    yield graph.name
    for item in (*graph.initializer, *graph.input, *graph.output, *graph.value_info):
        yield item.name
    for node in graph.node:
        yield from (node.name, node.op_type, *node.input, *node.output, *(item.name for item in node.attribute))


def _fix_sides(model: Any, sides: dict[str, int], file: str) -> None:
    """Symbolic sides get their values; intermediate shapes that were written for other values are forgotten."""
    weights = {tensor.name for tensor in model.graph.initializer}
    used: set[str] = set()
    known = {dim.dim_param for item in model.graph.input for dim in item.type.tensor_type.shape.dim} - {""}
    for item in model.graph.input:
        for at, side in enumerate(item.type.tensor_type.shape.dim):
            symbol = side.dim_param
            if symbol in sides:
                used.add(symbol)
                side.dim_value = sides[symbol]
            elif item.name not in weights and not side.HasField("dim_value"):
                raise TraceError(
                    f"side {at} of input '{item.name[:60]}' has no value", file=file, key="--side",
                    expected=f"--side {symbol or 'NAME'}=8",
                )  # fmt: skip
    for symbol in sides:
        if symbol not in used:
            raise TraceError(
                f"'{symbol[:60]}' is no side of an input", file=file, key="--side", expected=nearest(symbol, known)
            )
    if sides:
        model.graph.ClearField("value_info")
        for item in model.graph.output:
            item.type.tensor_type.ClearField("shape")


def _inlined(model: Any, file: str) -> Any:
    """The model with its local functions written out."""
    if not model.functions:
        return model
    from onnx import inliner

    try:
        return inliner.inline_local_functions(model)
    except Exception as error:  # errors of a C++ library, by several classes
        raise TraceError(f"has functions that cannot be inlined: {one_line(str(error))[:200]}", file=file) from None
