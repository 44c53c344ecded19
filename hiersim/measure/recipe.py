"""A recipe: how the tensors and the call of one case are made, on any device, and what the case computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from hiersim.frontends.measured import Case
from hiersim.frontends.pytorch.eager import capture_eager
from hiersim.frontends.pytorch.target import Target
from hiersim.frontends.row_writer import rows_of
from hiersim.model.operators import PRODUCED, Accesses, IntArray, Kind
from hiersim.model.trace import OperatorGraph

DTYPES: Final = {
    "bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32, "tf32": torch.float32, "fp64": torch.float64,
}  # fmt: skip
SIZES: Final = {"bf16": 2, "fp16": 2, "fp32": 4, "tf32": 4, "fp64": 8}
"""Bytes of an element."""


class Make:
    """Makes tensors of random data, the same in every run: what a chip does with zeros is quicker than with numbers."""

    def __init__(self, device: torch.device, seed: int = 0) -> None:
        self.device = device
        self._generator = None if device.type == "meta" else torch.Generator(device).manual_seed(seed)

    def normal(self, *shape: int, dtype: str) -> Tensor:
        """A tensor of `shape`, standard normal."""
        made = torch.empty(shape, dtype=DTYPES[dtype], device=self.device)
        return made if self._generator is None else made.normal_(generator=self._generator)

    def integers(self, *shape: int, below: int) -> Tensor:
        """A tensor of `shape`, int64 in [0, below)."""
        return torch.randint(below, shape, dtype=torch.int64, device=self.device, generator=self._generator)


Built = tuple[Callable[..., Any], tuple[Tensor, ...]]
"""What is called, and with which tensors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One case of a suite of operators."""

    suite: str
    name: str
    dtype: str
    params: Mapping[str, int]
    build: Callable[[Make], Built]
    footprint: int
    """Bytes of inputs and results, roughly: what must fit."""
    rank: int = 1
    """Cases of rank 0 are worth most and run first."""
    modes: tuple[str, ...] = ("eager",)

    cuda_only: bool = False

    @property
    def case(self) -> str:
        """The name of the case, each once."""
        return case_name(self.suite, self.name, self.dtype, self.params)

    def describe(self) -> Case:
        """What the case computes and moves, from a capture on meta tensors."""
        graph = self.capture()
        read, written = compulsory(graph)
        table = graph.operators
        columns = {
            "matrix": "matrix_flops",
            "masked": "masked_flops",
            "vector": "vector_flops",
            "special": "special_ops",
        }
        flops = {key: int(getattr(table, column).sum()) for key, column in columns.items()}
        return Case(
            case=self.case, suite=self.suite, name=self.name, dtype=self.dtype, kind=main_kind(graph),
            params=self.params, read_bytes=read, written_bytes=written,
            flops={key: value for key, value in flops.items() if value}, rows=tuple(self._rows(graph)),
        )  # fmt: skip

    def _rows(self, graph: OperatorGraph) -> Iterator[dict[str, Any]]:
        """Readable rows; products of FP32 run in TF32 where the case says so."""
        for row in rows_of(graph):
            matrix = row.get("flops", {}).get("matrix", 0) > 0
            yield {**row, "dtype": "tf32"} if matrix and self.dtype == "tf32" else row

    def capture(self) -> OperatorGraph:
        """The operators that eager mode runs, with attention as a GPU picks it."""
        with torch.device("meta"):
            function, tensors = self.build(Make(torch.device("meta")))
        named = {f"input{index}": tensor for index, tensor in enumerate(tensors)}
        return capture_eager(Target(name=self.case, model=_Called(function), kwargs=named, train=False)).graph


class _Called(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, **tensors: Tensor) -> Any:
        return self.function(*tensors.values())


def case_name(suite: str, name: str, dtype: str, params: Mapping[str, int]) -> str:
    """`gemm/mm/bf16/m=8,n=4096,k=4096`."""
    return "/".join(filter(None, (suite, name, dtype, ",".join(f"{key}={value}" for key, value in params.items()))))


def compulsory(graph: OperatorGraph) -> tuple[int, int]:
    """Bytes that must be read once from outside, and bytes of results that must be left."""
    tensors = graph.tensors
    outside = ~np.isin(tensors.storage_role, [int(role) for role in PRODUCED])
    left = tensors.storage_output.astype(bool) | outside
    return _largest(graph.reads, tensors.tensor_storage, outside), _largest(graph.writes, tensors.tensor_storage, left)


def _largest(accesses: Accesses, storage: IntArray, counted: Any) -> int:
    """Sum over the storages that count of their largest access."""
    largest = np.zeros(len(counted), np.int64)
    np.maximum.at(largest, storage[accesses.tensor], accesses.size)
    return int(largest[counted].sum())


def _moved(accesses: Accesses, row: int) -> int:
    return int(accesses.size[int(accesses.ptr[row]) : int(accesses.ptr[row + 1])].sum())


def main_kind(graph: OperatorGraph) -> Kind | None:
    """Kind of the operator with the most matrix FLOPs; without any, of the one that moves most."""
    table = graph.operators
    kinds = [Kind(int(kind)) for kind in table.kind]
    moved = [_moved(graph.reads, row) + _moved(graph.writes, row) for row in range(len(table))]
    launching = [row for row, kind in enumerate(kinds) if kind not in (Kind.VIEW, Kind.SYNC)]
    if not launching:
        return None
    return kinds[max(launching, key=lambda row: (int(table.matrix_flops[row]), moved[row]))]
