"""Constants that several devices share come back from made-up measurements, and what a device alone tells is missed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import hiersim as hs
from benchmarks.leave_one_out import page
from hiersim.calibration.fit import CalibrationError
from hiersim.calibration.observations import Observations, observe
from hiersim.calibration.shared import SHARED, Device, SharedProblem, leave_one_out
from hiersim.errors import DesignError
from hiersim.frontends.published import operations
from hiersim.frontends.published.sketch import Sketch
from hiersim.frontends.published.table import Sheaf
from hiersim.model.design import Design
from hiersim.model.operators import DType
from hiersim.validation.operators import replay_operators
from hiersim.validation.protocol import CLOCKS
from hiersim.validation.rows import Skips

pytest.importorskip("scipy")
HIDDEN = {"constants.special_function": 1.3, "constants.address": 0.8, "compute.exchange": 1.2}
"""Factors on what ships."""
PATHS = tuple(HIDDEN)


def softmax(size: int) -> Sketch:
    return operations.softmax(DType.FP16, 4096, 1024 * size)


def broadcast(size: int) -> Sketch:
    """A row added to a matrix: an address for every element."""
    sketch = Sketch(DType.BF16)
    matrix, row = sketch.given("x", (4096, 2048 * size)), sketch.given("row", (2048 * size,))
    sketch.run("aten.add.Tensor", (matrix, row), matrix.shape, name="y")
    return sketch


def norms(size: int) -> Sketch:
    return operations.norm(DType.FP16, 64 * size, 256)


def device(name: str, *kinds: Callable[[int], Sketch]) -> Device:
    """What the design would take with the hidden values."""
    design = hs.load_design(name)
    changes = {path: f"{factor}x" for path, factor in HIDDEN.items()}
    sheaf = Sheaf(name, "made up", "2026-01-02")
    for kind in kinds:
        for size in (1, 2, 3, 5, 7):
            case = kind(size).case(suite="made up", name=kind.__name__, params={"size": size})
            sheaf.add(case, 1.0, clock="profiler", cache="cold")
    rows = replay_operators(
        sheaf.measured(), design.replace(changes), CLOCKS, "", Skips(), lambda *told: None
    )  # fmt: skip
    again = Sheaf(name, "made up", "2026-01-02")
    for case, row in zip(sheaf.cases.values(), rows, strict=True):
        again.add(case, row.pair.predicted, clock="profiler", cache="cold")
    return Device(name=name, design=design, observations=observe(again.measured(), {}))


@pytest.fixture(scope="module")
def problem() -> SharedProblem:
    return SharedProblem([device("h100-sxm", softmax, broadcast, norms), device("t4", softmax, norms)], PATHS)


def test_factors_on_all_designs_come_back(problem: SharedProblem) -> None:
    found = problem.fit()
    assert found.left == {}
    for path, factor in HIDDEN.items():
        assert found.factors[path] == pytest.approx(factor, rel=0.05), path  # derivatives are taken twice
    for one in problem.devices:
        assert problem.accuracy(one, {}).mape > 0.02
        assert problem.accuracy(one, found.factors).mape < 0.01


def test_a_device_that_alone_tells_a_value_is_missed_when_it_is_left_out(problem: SharedProblem) -> None:
    """Only the first has broadcasts: without it their addresses keep the value that ships, and its error grows."""
    everything, rows = leave_one_out(problem)
    first, second = rows
    assert first.others.factors["constants.address"] == 1.0
    assert first.others.left == {"constants.address": "nothing depends on it"}
    assert first.others.factors["constants.special_function"] == pytest.approx(1.3, rel=0.05)
    assert first.change > 0.01
    assert abs(second.change) < 0.008
    assert second.others.left == {}
    assert second.seen.mape < second.shipped.mape
    text = page(everything, rows)
    assert "| h100-sxm | 15 |" in text
    assert "| address |" in text


def test_a_share_stays_a_share_and_a_typo_is_refused(problem: SharedProblem) -> None:
    devices = problem.devices
    shares = SharedProblem(devices, ("memory.l2.usable",))
    assert shares.parameter("memory.l2.usable").high == pytest.approx(1 / 0.65)
    assert shares.scaled(devices[0], {"memory.l2.usable": 1.5}) == {"memory.l2.usable": 1.0}
    assert shares.scaled(devices[0], {}) == {}
    with pytest.raises(DesignError, match=r"constants.adress"):
        SharedProblem(devices, ("constants.adress",))
    with pytest.raises(CalibrationError, match="two devices"):
        SharedProblem([devices[0], devices[0]])
    with pytest.raises(CalibrationError, match="no rows"):
        SharedProblem([Device(name="x", design=devices[0].design, observations=Observations())])


@pytest.mark.parametrize("name", ["h100-sxm", "a100-80gb-sxm", "a100-40gb-pcie", "v100-pcie", "t4", "l4"])
def test_what_gpus_share_stands_in_each_of_their_designs(name: str) -> None:
    design: Design = hs.load_design(name)
    cycles = round(int(design.compute.exchange) * int(design.compute.clock) / 1e12)
    assert 1185 < cycles < 1195, "one number of cycles"
    assert SharedProblem([Device(name=name, design=design, observations=device(name, norms).observations)], SHARED)
