"""Systolic arrays take the cycles of SCALE-Sim's published formula: every layer of ResNet-50, every dataflow.

A machine with one array at 1 GHz and unlimited memory, so that a cycle is 1000 ticks and nothing else takes time.
"""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from build import design_from, matmul
from hiersim.frontends.load import load_trace
from hiersim.fusion.eager import eager
from hiersim.model.compute import Dataflow
from hiersim.model.design import Design
from hiersim.model.operators import Kind
from hiersim.run import simulate
from hiersim.units import ceil_div

CYCLE = 1000
DATAFLOWS = [dataflow.value for dataflow in Dataflow]
MEASURED = json.loads(Path(__file__).with_suffix(".json").read_text())
"""Cycle counts of the SCALE-Sim program itself; the file says how they were made."""


def layers() -> dict[tuple[int, int, int], int]:
    """(m, n, k) of all convolutions and linear layers of ResNet-50 at batch 32, and how often each is there."""
    table = eager(load_trace("resnet50-infer")).operators
    rows = np.flatnonzero(np.isin(table.kind, [int(Kind.GEMM), int(Kind.CONV)]))
    shapes = [tuple(table.dims[table.dims_ptr[row] + 1 : table.dims_ptr[row] + 4].tolist()) for row in rows]
    return {shape: shapes.count(shape) for shape in dict.fromkeys(shapes)}


def mapped(dataflow: str, m: int, n: int, k: int) -> tuple[int, int, int]:
    """S_R, S_C and T of a product."""
    return {"weight_stationary": (k, n, m), "output_stationary": (m, n, k), "input_stationary": (k, m, n)}[dataflow]


def published(dataflow: str, shape: tuple[int, int, int], rows: int, columns: int) -> int:
    """(2R + C + T - 2) · ⌈S_R ÷ R⌉ · ⌈S_C ÷ C⌉: Samajdar et al., ISPASS 2020."""
    down, across, streamed = mapped(dataflow, *shape)
    return (2 * rows + columns + streamed - 2) * ceil_div(down, rows) * ceil_div(across, columns)


def overlapped(dataflow: str, shape: tuple[int, int, int], rows: int, columns: int) -> int:
    """Only the first fill and the last drain show; loading a fold takes R cycles behind the stream of another."""
    down, across, streamed = mapped(dataflow, *shape)
    folds = ceil_div(down, rows) * ceil_div(across, columns)
    return 2 * rows + columns - 2 + folds * max(streamed, rows)


def array(dataflow: str, rows: int = 128, columns: int = 128, cores: int = 1, **unit: Any) -> Design:
    """Arrays of `rows` × `columns` at 1 GHz, and nothing else that takes time."""
    tile = {
        "weight_stationary": [1, columns, rows],
        "output_stationary": [rows, columns, 1],
        "input_stationary": [columns, 1, rows],
    }[dataflow]
    peak = f"{2 * rows * columns * unit.get('arrays', 1) * cores} GFLOP/s"
    return design_from(
        compute__cores=cores,
        compute__matrix={
            "tile": tile,
            "peak": {"fp32": peak, "bf16": peak},
            "systolic": {"rows": rows, "columns": columns, "dataflow": dataflow, **unit},
        },
        memory__smem__capacity="1 TB",
    )


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_the_whole_of_resnet50_takes_the_published_cycles(dataflow: str, overlap: bool) -> None:
    expected = overlapped if overlap else published
    cycles = sum(count * expected(dataflow, shape, 128, 128) for shape, count in layers().items())
    result = simulate(load_trace("resnet50-infer"), array(dataflow, overlap=overlap))
    assert result.makespan == CYCLE * cycles


@pytest.mark.parametrize("dataflow", DATAFLOWS)
@pytest.mark.parametrize("shape", list(layers()), ids=str)
def test_every_layer_of_resnet50_takes_the_published_cycles(
    shape: tuple[int, int, int], dataflow: str, tmp_path: Path
) -> None:
    trace = matmul(*shape, tmp_path)
    assert simulate(trace, array(dataflow)).makespan == CYCLE * published(dataflow, shape, 128, 128)
    assert simulate(trace, array(dataflow, 32, 64)).makespan == CYCLE * published(dataflow, shape, 32, 64)


@pytest.mark.parametrize("dataflow", DATAFLOWS)
@pytest.mark.parametrize("layer", MEASURED["layers"], ids=lambda layer: "x".join(map(str, layer["mnk"])))
def test_every_layer_takes_the_cycles_that_scalesim_counts(
    layer: dict[str, Any], dataflow: str, tmp_path: Path
) -> None:
    """The program reports the number of the last cycle, counted from zero.

    Sums leave its output-stationary array as they are done, without the R cycles in which the formula of the same
    authors shifts them out: there it counts R cycles a fold less.
    """
    m, n, k = layer["mnk"]
    cycles = layer[dataflow] + 1
    if dataflow == "output_stationary":
        cycles += 128 * ceil_div(m, 128) * ceil_div(n, 128)
    assert simulate(matmul(m, n, k, tmp_path), array(dataflow)).makespan == CYCLE * cycles


@pytest.mark.parametrize(("dataflow", "overlap"), list(product(DATAFLOWS, [False, True])))
@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 300, 129), (512, 512, 512), (1000, 40, 2049)], ids=str)
def test_fill_and_drain_are_padding_and_useful_work_stays_exact(
    shape: tuple[int, int, int], dataflow: str, overlap: bool, tmp_path: Path
) -> None:
    result = simulate(matmul(*shape, tmp_path), array(dataflow, overlap=overlap))
    spent = {row.entry: row.ticks for row in result.ledger if row.engine == "matrix"}
    m, n, k = shape
    steps = ceil_div(k, 8) * 64
    assert 0 <= CYCLE * m * n * k / 128**2 - spent.get("useful", 0) <= steps  # rounded down once a step
    assert spent["padding"] == result.makespan - spent.get("useful", 0)
    assert result.program.flops[0] == 2 * m * n * k


@pytest.mark.parametrize("arrays", [1, 2, 4, 8])
def test_arrays_of_a_core_share_the_folds(arrays: int, tmp_path: Path) -> None:
    """6 × 4 folds of weights; each array streams all rows for its share."""
    trace = matmul(4096, 4 * 128, 6 * 128, tmp_path)
    taken = simulate(trace, array("weight_stationary", arrays=arrays, overlap=True)).makespan
    assert taken == CYCLE * (2 * 128 + 128 - 2 + ceil_div(24, arrays) * 4096)


@pytest.mark.parametrize("cores", [1, 2, 4])
def test_cores_take_their_waves(cores: int, tmp_path: Path) -> None:
    """Eight columns of sums, one fold each; the blocks of a wave run at once."""
    trace = matmul(128, 8 * 128, 640, tmp_path)
    taken = simulate(trace, array("output_stationary", cores=cores)).makespan
    assert taken == CYCLE * (8 // cores) * (2 * 128 + 128 + 640 - 2)
