"""Do TorchInductor's rules in columns, which choose the pairs of the first round, say what they say pair by pair?"""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given

from hiersim.errors import FusionError
from hiersim.frontends.archive import load_archive
from hiersim.frontends.published.sketch import Sketch
from hiersim.fusion.inductor.policy import schedule
from hiersim.fusion.inductor.rules import InductorRules
from hiersim.fusion.inductor.singles import suited
from hiersim.model.operators import DType
from hiersim.model.trace import OperatorGraph, Trace
from hiersim.testing.strategies import traces

CAPTURED = Path(__file__).parent / "captured"


def both(graph: OperatorGraph, rules: InductorRules) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    """Pairs of stored results that suit each other: by columns, and one by one."""
    begin = schedule(graph, rules).begin()
    pairs = combinations(range(len(begin.alone)), 2)
    found = suited(begin.alone, rules)
    columns = set(zip(found.one.tolist(), found.other.tolist(), strict=True))
    return columns, {pair for pair in pairs if begin.mismatch(*pair) is None}


@given(traces())
def test_of_any_graph(trace: Trace) -> None:
    try:
        columns, pairs = both(trace.graph, InductorRules())
    except FusionError:
        return  # nothing is launched
    assert columns == pairs


@pytest.mark.parametrize("name", ["convnext", "encoder_train", "gqa", "resnet18_train", "swin"])
def test_of_captured_models(name: str) -> None:
    columns, pairs = both(load_archive(CAPTURED / f"{name}.npz").graph, InductorRules())
    assert columns == pairs


@pytest.mark.parametrize("length", [4096, 65536])
def test_of_what_goes_over_a_reduction_again(length: int) -> None:
    sketch = Sketch(DType.FP32)
    x = sketch.given("x", (8, length))
    total = sketch.run("aten.sum.dim_IntList", (x,), (8, 1), arguments=(x, (1,), True))
    sketch.run("aten.div.Tensor", (x, total), x.shape)
    columns, pairs = both(sketch.case(suite="s", name="n", params={}).trace().graph, InductorRules())
    assert columns == pairs == ({(0, 1)} if length == 4096 else set())


@pytest.mark.parametrize(("rows", "columns", "together"), [(32, 64, True), (33, 64, False), (33, 8448, True)])
def test_a_sum_over_rows_takes_a_stored_result_where_it_is_not_split(rows: int, columns: int, together: bool) -> None:
    """Up to 32 elements each, or with 8448 results, its loops are reordered; a split one goes over parts of rows."""
    sketch = Sketch(DType.FP32)
    x = sketch.given("x", (rows, columns))
    doubled = sketch.run("aten.mul.Scalar", (x,), (rows, columns))
    sketch.run("aten.mm.default", (doubled, sketch.given("w", (columns, 4))), (rows, 4))
    sketch.run("aten.sum.dim_IntList", (doubled,), (1, columns), arguments=(doubled, (0,), True))
    columns_, pairs = both(sketch.case(suite="s", name="n", params={}).trace().graph, InductorRules())
    assert columns_ == pairs
    assert bool(pairs) == together
