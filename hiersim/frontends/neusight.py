"""Operator times of the NeuSight data set (CSV, plain or gzip) as measured times.

One row per operator: `op`, `device`, `dtype`, `latency_ms`, sizes `B`, `M`, `N`, `K`, `H` as the operator has them,
and `split`. In a product N is the inner dimension: `bmm` is B times M x N by N x K, `linear` maps B·M tokens of N
features to K (neusight/Dataset/collect.py of its artifact makes the tensors so). Cases say it in this project's words:
their `n` is K, their `k` is N. The others run over B rows of H columns. Times are device events around calls with the
same tensors, the mean of the 5 fastest of 25: the cache is warm. The device waits for each call: between the first
event and the kernel lies the call itself, so that the launch is in all times (clock `wall`), and short operators show
nothing else. Element-wise operators of 200 to 500 us take 11 to 17 us more than their bytes at the rate of larger ones,
whatever their size, on V100 and A100 alike; LayerNorm, whose call takes the host twice as long, 25 to 30 us.

References
----------
S. Lee, A. Phanishayee, D. Mahajan: Forecasting GPU performance for deep learning training and inference, ASPLOS 2025;
data in scripts/asplos/data/dataset of its artifact (MIT).
"""

from __future__ import annotations

import csv
import math
import os
import zlib
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

from hiersim.errors import HiersimError, MeasurementError, nearest
from hiersim.frontends.lines import lines
from hiersim.frontends.measured import Case, Measured, MeasuredHeader, MeasuredTime, Skipped
from hiersim.model.operators import Kind

ENDINGS: Final = (".csv", ".csv.gz")
SHORTEST_S: Final = 200e-6
"""Shorter times are the host's: their floor is 25 to 60 us, whatever the operator."""
FASTEST: Final = 5
PUBLISHED: Final = "2025"
"""When it was measured is not known."""
TORCH: Final = "2.0"
"""Not recorded. Its softmax of FP32 rows of 10 240 columns reads the device's memory again, which releases since 2.1,
that keep such rows in a block, do not."""
LARGEST_SIZE: Final = 2**31
_DTYPES: Final = {"float32": ("fp32", 4), "float16": ("fp16", 2), "bfloat16": ("bf16", 2)}
NEEDED: Final = ("op", "device", "dtype", "latency_ms")


class _Op(NamedTuple):
    """How an operator over B rows of H columns is written in a trace: FLOPs per element, as captures count them."""

    aten: str
    suite: str
    inputs: int
    vector: int
    special: int = 0


_OPS: Final[Mapping[str, _Op]] = {
    "add": _Op("add.Tensor", "pointwise", 2, 1),
    "mul": _Op("mul.Tensor", "pointwise", 2, 1),
    "div": _Op("div.Tensor", "pointwise", 2, 1),
    "pow": _Op("pow.Tensor_Tensor", "pointwise", 2, 0, 1),
    "addu": _Op("add.Scalar", "pointwise", 1, 1),
    "mulu": _Op("mul.Scalar", "pointwise", 1, 1),
    "divu": _Op("div.Scalar", "pointwise", 1, 1),
    "powu": _Op("pow.Tensor_Scalar", "pointwise", 1, 1),
    "relu": _Op("relu.default", "pointwise", 1, 1),
    "tanh": _Op("tanh.default", "pointwise", 1, 0, 1),
    "gelu": _Op("gelu.default", "pointwise", 1, 4, 1),
    "softmax": _Op("_softmax.default", "softmax", 1, 4, 1),
    "ln": _Op("native_layer_norm.default", "layer_norm", 1, 8),
}
_PRODUCTS: Final = ("bmm", "linear")


def load_neusight(path: str | os.PathLike[str]) -> Measured:
    """Read one file of the data set; all rows are of one device.

    Rows below 200 us are not times of the device: they are listed as skipped.

    Raises
    ------
    MeasurementError
        With file, line and column of the first fault.
    """
    file = str(path)
    try:
        return _Reader(file).read(lines(Path(path), file))
    except MeasurementError:
        raise
    except HiersimError as error:  # limits of lines are those of traces
        raise MeasurementError(error.problem, file=error.file, line=error.line, expected="rows of CSV") from None
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise MeasurementError(f"cannot be read: {reason}", file=file, expected="CSV, plain or gzip") from None


class _Reader:
    """Turns rows into cases; every fault names file and line."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.line = 1
        self.cases: dict[str, Case] = {}
        self.times: list[MeasuredTime] = []
        self.skipped: list[Skipped] = []
        self.seen: dict[str, int] = {}

    def fail(self, problem: str, key: str | None = None, expected: str | None = None) -> NoReturn:
        raise MeasurementError(problem, file=self.file, line=self.line, key=key, expected=expected)

    def read(self, text: Iterator[str]) -> Measured:
        names = [name.strip() for name in next(csv.reader(islice(text, 1)), [])]
        missing = [name for name in NEEDED if name not in names]
        if missing:
            self.fail("is missing", key=missing[0], expected="columns op, device, dtype, B, M, N, K, H, latency_ms")
        device = ""
        for values in csv.reader(text):
            self.line += 1
            if len(values) != len(names):
                self.fail(f"has {len(values)} columns", expected=f"{len(names)}, as in the first line")
            row = dict(zip(names, values, strict=True))
            if device and row["device"] != device:
                self.fail("is another device", key="device", expected=f"'{device}', as above")
            device = row["device"]
            self.take(row)
        if not self.cases:
            self.fail("holds no rows", expected="a row per operator")
        header = MeasuredHeader(
            date=PUBLISHED, command="NeuSight, ASPLOS 2025, data set of operators",
            device={"kind": "cuda", "name": device}, host={}, software={"torch": TORCH},
        )  # fmt: skip
        return Measured(header=header, cases=self.cases, times=tuple(self.times), skipped=tuple(self.skipped))

    def take(self, row: Mapping[str, str]) -> None:
        if row["dtype"] not in _DTYPES:
            self.fail(f"'{row['dtype']}' is not a dtype", key="dtype", expected=nearest(row["dtype"], _DTYPES))
        if row["op"] not in _OPS and row["op"] not in _PRODUCTS:
            self.fail(f"'{row['op']}' is no operator", key="op", expected=nearest(row["op"], (*_OPS, *_PRODUCTS)))
        case = self.product(row) if row["op"] in _PRODUCTS else self.rows(row)
        seconds = self.seconds(row["latency_ms"])
        self.cases[case.case] = case
        if seconds < SHORTEST_S:
            self.skipped.append(Skipped(case=case.case, why="below 200 us, which is the host's launch"))
            return
        self.times.append(
            MeasuredTime(
                case=case.case, mode="eager", cache="warm", clock="wall", n=FASTEST, min_s=seconds, p10_s=seconds,
                p25_s=seconds, median_s=seconds, p75_s=seconds, p90_s=seconds,
            )
        )  # fmt: skip

    def product(self, row: Mapping[str, str]) -> Case:
        batch, m, k, n = (self.size(row, name) for name in ("B", "M", "N", "K"))
        dtype, width = _DTYPES[row["dtype"]]
        flops = {"matrix": 2 * batch * m * n * k}
        if row["op"] == "linear":  # its weight is one matrix; the bias of n elements rides along
            batch, m = 1, batch * m
        shapes = {"x": [batch, m, k], "w": [batch, k, n], "y": [batch, m, n]}
        operator = {
            "operator": "aten.bmm.default" if row["op"] == "bmm" else "aten.mm.default", "kind": "gemm",
            "dtype": dtype, "dims": {"batch": batch, "m": m, "n": n, "k": k}, "reads": ["x", "w"], "writes": ["y"],
            "flops": flops,
        }  # fmt: skip
        params = {"b": self.size(row, "B"), "m": self.size(row, "M"), "n": n, "k": k}
        return self.case(row, row["op"], Kind.GEMM, params, flops, width, shapes, operator)

    def rows(self, row: Mapping[str, str]) -> Case:
        rows, columns = self.size(row, "B"), self.size(row, "H")
        dtype, width = _DTYPES[row["dtype"]]
        op, elements = _OPS[row["op"]], rows * columns
        flops = {"vector": op.vector * elements, "special": op.special * elements}
        shapes = {name: [rows, columns] for name in ("x", "z")[: op.inputs]}
        if row["op"] == "ln":
            shapes |= {"weight": [columns], "bias": [columns]}
            flops = {"vector": flops["vector"] + rows, "special": rows}
        kind = Kind.POINTWISE if op.suite == "pointwise" else Kind.REDUCTION
        operator: dict[str, Any] = {
            "operator": f"aten.{op.aten}", "kind": kind.name.lower(), "dtype": dtype, "reads": list(shapes),
            "writes": ["y"], "flops": flops,
        }  # fmt: skip
        if kind is Kind.REDUCTION:
            operator["dims"] = {"rows": rows, "columns": columns}
        return self.case(
            row, op.suite, kind, {"rows": rows, "columns": columns}, flops, width, {**shapes, "y": [rows, columns]},
            operator,
        )  # fmt: skip

    def case(
        self, row: Mapping[str, str], suite: str, kind: Kind, params: Mapping[str, int], flops: Mapping[str, int],
        width: int, shapes: Mapping[str, list[int]], operator: dict[str, Any],
    ) -> Case:  # fmt: skip
        dtype, split = operator["dtype"], row.get("split", "")
        sizes = ",".join(f"{name}={size}" for name, size in params.items())
        suite = f"{suite} {split}".strip()
        name = f"{suite}/{row['op']}/{dtype}/{sizes}"
        self.seen[name] = self.seen.get(name, 0) + 1
        tensors = [
            {"tensor": key, "shape": shape, "dtype": dtype, **_role(key)} for key, shape in shapes.items()
        ]  # fmt: skip
        sums = {key: width * math.prod(shape) for key, shape in shapes.items()}
        written = sums.pop("y")
        return Case(
            case=name if self.seen[name] == 1 else f"{name},again={self.seen[name]}",
            suite=suite,
            name=row["op"],
            dtype=dtype,
            kind=kind,
            params=params,
            read_bytes=sum(sums.values()),
            written_bytes=written,
            flops=flops,
            rows=(*tensors, operator),
            line=self.line,
        )

    def size(self, row: Mapping[str, str], name: str) -> int:
        text = row.get(name, "").strip()
        if not text.isascii() or not text.isdigit() or len(text) > 10 or not 0 < int(text) < LARGEST_SIZE:
            self.fail(f"'{text[:40]}' is no size", key=name, expected="a whole number, 1 … 2^31")
        return int(text)

    def seconds(self, text: str) -> float:
        try:
            value = float(text) / 1e3
        except ValueError:
            value = math.nan
        if not 0 < value < LARGEST_SIZE:
            self.fail(f"'{text[:40]}' is no time", key="latency_ms", expected="milliseconds, above 0")
        return value


def _role(name: str) -> dict[str, Any]:
    if name == "y":
        return {"role": "activation", "output": True}
    return {"role": "input" if name in ("x", "z") else "weight"}
