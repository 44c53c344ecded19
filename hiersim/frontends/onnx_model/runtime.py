"""ONNX Runtime's graph optimiser, run on a model whose weights may be absent."""

from __future__ import annotations

from math import pi, prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from hiersim.errors import MissingExtraError, TraceError, one_line

LEVELS: Final = {"basic": "ORT_ENABLE_BASIC", "extended": "ORT_ENABLE_EXTENDED"}
"""Levels of optimisation, https://onnxruntime.ai/docs/performance/model-optimizations/graph-optimizations.html."""
SMALL_DATA: Final = 4 * 2**20
"""Bytes of an initializer up to which its values are given to the optimiser: shapes, masks, scales."""
CONSTANTS: Final = (2**0.5, 0.5**0.5, (2 / pi) ** 0.5, 0.044715, 1.702)
"""Of GELU and its approximations: the optimiser knows them by their FP32 values, and half precision rounds them."""
FLOAT: Final = 1
HALVES: Final = (10, 16)
"""Element types of ONNX: FP16, BF16."""


def optimised(model: Any, level: str, path: Path) -> Any:
    """What ONNX Runtime makes of `model` before it runs it on a CPU.

    Weights are zeros that take no memory here; the optimiser looks at small constants only. A model in half precision
    is optimised as its twin in FP32, because the runtime would convert every tensor for a CPU; its types come back.

    Parameters
    ----------
    model : ModelProto
        Symbolic sides have values.
    level : str
        `basic` or `extended`.
    path : Path
        Of the model: external data lies beside it.

    Raises
    ------
    MissingExtraError
        The package `onnxruntime` is not installed.
    TraceError
        The runtime refuses the model.
    """
    import onnx

    try:
        import onnxruntime
    except ImportError:
        raise MissingExtraError("the graph of ONNX Runtime", "onnxruntime", "ort") from None
    if level not in LEVELS:
        raise TraceError(f"'{level[:40]}' is no level of optimisation", key="--runtime", expected="basic or extended")
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    types = {item.name: item.type.tensor_type.elem_type for item in (*model.graph.input, *model.graph.output)}
    half = _widened(twin)
    with TemporaryDirectory(prefix="hiersim-ort-") as folder:
        _without_weights(twin, Path(folder), path.parent)
        given, made = str(Path(folder, "given.onnx")), str(Path(folder, "made.onnx"))
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, LEVELS[level])
        options.optimized_model_filepath = made
        options.log_severity_level = 4
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        for key, value in (
            ("session.disable_prepacking", "1"),
            ("session.optimized_model_external_initializers_file_name", "made.bin"),
            ("session.optimized_model_external_initializers_min_size_in_bytes", "4096"),
        ):
            options.add_session_config_entry(key, value)
        try:
            onnx.save_model(twin, given)
            onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
            result = onnx.load_model(made, load_external_data=False)
        except Exception as error:  # errors of a C++ library, by several classes
            problem = one_line(str(error)).replace(folder, "")[:200]
            raise TraceError(f"is refused by ONNX Runtime: {problem}", file=str(path)) from None
    if half:
        _narrowed(result, types, half)
    return result


def _without_weights(model: Any, folder: Path, beside: Path) -> None:
    """Large or absent initializers become zeros of one sparse file in `folder`."""
    import onnx

    longest = 0
    for tensor in model.graph.initializer:
        size = _bytes(tensor)
        absent = tensor.data_location == onnx.TensorProto.EXTERNAL
        if absent and 0 < size <= SMALL_DATA:
            data = _external_data(tensor, beside, size)
            if len(data) == size:
                tensor.raw_data, tensor.data_location = data, onnx.TensorProto.DEFAULT
                tensor.ClearField("external_data")
                absent = False
        if tensor.data_type == onnx.TensorProto.STRING or not (absent or size > SMALL_DATA):
            continue
        shape, kind, name = tuple(tensor.dims), tensor.data_type, tensor.name
        tensor.Clear()
        tensor.name, tensor.data_type, tensor.data_location = name, kind, onnx.TensorProto.EXTERNAL
        tensor.dims.extend(shape)
        for key, value in (("location", "zeros.bin"), ("offset", "0"), ("length", str(size))):
            tensor.external_data.add(key=key, value=value)
        longest = max(longest, size)
    with open(folder / "zeros.bin", "wb") as file:
        file.truncate(longest)


def _external_data(tensor: Any, beside: Path, size: int) -> bytes:
    """The data of an initializer that lies in a file beside the model; empty where there is none."""
    place = {item.key: item.value for item in tensor.external_data}
    try:
        file = (beside / place["location"]).resolve()
        if not file.is_relative_to(beside.resolve()):
            return b""
        with open(file, "rb") as stream:
            stream.seek(int(place.get("offset", "0")))
            return stream.read(size)
    except (KeyError, OSError, ValueError, OverflowError):
        return b""


def _bytes(tensor: Any) -> int:
    """Bytes of an initializer's elements."""
    import onnx

    if tensor.data_type in (onnx.TensorProto.INT4, onnx.TensorProto.UINT4, onnx.TensorProto.FLOAT4E2M1):
        return -(-int(prod(tensor.dims)) // 2)
    try:
        return int(prod(tensor.dims)) * int(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
    except (KeyError, TypeError, ValueError):
        return 0


def _widened(model: Any) -> int:
    """Make FP32 of the model's half-precision tensors; returns the element type they had, 0 where there are none."""
    import onnx

    graph, found = model.graph, 0
    if any(item.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for node in graph.node
           for item in node.attribute):  # fmt: skip
        return 0
    for item in (*graph.input, *graph.output, *graph.value_info):
        if item.type.tensor_type.elem_type in HALVES:
            found = found or item.type.tensor_type.elem_type
            item.type.tensor_type.elem_type = FLOAT
    constants = [item.t for node in graph.node for item in node.attribute if item.HasField("t")]
    for tensor in (*graph.initializer, *constants):
        if tensor.data_type in HALVES:
            found = found or tensor.data_type
            _widen(tensor)
    for node in graph.node:
        for item in node.attribute:
            if item.name in ("to", "dtype") and item.i in HALVES:
                item.i = FLOAT
    return found


def _widen(tensor: Any) -> None:
    """Give an initializer FP32 values; what lies elsewhere is dropped, and zeros take its place."""
    import onnx

    if tensor.data_location != onnx.TensorProto.EXTERNAL and _bytes(tensor) <= SMALL_DATA:
        halves = onnx.numpy_helper.to_array(tensor)
        values = halves.astype("float32")
        if values.size == 1:
            rounded = (value for value in CONSTANTS if halves.dtype.type(value) == halves.item())
            values.fill(next(rounded, values.item()))
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
        return
    shape, name = tuple(tensor.dims), tensor.name
    tensor.Clear()
    tensor.name, tensor.data_type, tensor.data_location = name, FLOAT, onnx.TensorProto.EXTERNAL
    tensor.dims.extend(shape)


def _narrowed(model: Any, types: dict[str, int], half: int) -> None:
    """Give the FP32 tensors of an optimised twin their half-precision types back."""
    graph = model.graph
    for item in (*graph.input, *graph.output, *graph.value_info):
        if item.type.tensor_type.elem_type == FLOAT:
            item.type.tensor_type.elem_type = types.get(item.name, half)
    for tensor in graph.initializer:
        if tensor.data_type == FLOAT:
            tensor.data_type = types.get(tensor.name, half)
    for node in graph.node:
        for item in node.attribute:
            if item.name in ("to", "dtype") and item.i == FLOAT:
                item.i = half
