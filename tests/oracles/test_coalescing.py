"""A transposing copy moves whole sectors through the nearest cache, and every byte once beyond it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from build import design_from, trace_of
from hiersim.config.load import load_design
from hiersim.fusion.eager import eager
from hiersim.lowering.coalescing import addresses, transposed_runs
from hiersim.model.constants import Constants
from hiersim.model.design import Design
from hiersim.model.operators import DType
from hiersim.model.trace import Trace
from hiersim.run import simulate
from hiersim.units import TICKS_PER_SECOND

SECTOR = 32
KNOWN = Constants()
BYTES = {"fp64": 8, "fp32": 4, "bf16": 2, "int8": 1}


def copy(
    before: list[int], after: list[int], dtype: str, folder: Path, views: list[list[int]] | None = None,
    written: str | None = None,
) -> Trace:  # fmt: skip
    """A copy of a tensor into another order of its dimensions, through views of it where they are given."""
    rows: list[dict[str, Any]] = [{"tensor": "x", "shape": before, "dtype": dtype, "role": "input"}]
    last = "x"
    for index, shape in enumerate(views or []):
        rows.append({"tensor": f"v{index}", "shape": shape, "dtype": dtype, "storage": "x"})
        rows.append({"operator": "aten.view.default", "kind": "view", "reads": [last], "writes": [f"v{index}"]})
        last = f"v{index}"
    rows.append({"tensor": "y", "shape": after, "dtype": written or dtype, "role": "activation", "output": True})
    rows.append({"operator": "aten.clone.default", "kind": "copy", "reads": [last], "writes": ["y"]})
    return trace_of(rows, folder)


def machine(management: str = "cache", granularity: str = f"{SECTOR} B") -> Design:
    """A cache that moves 1000 ticks a byte in sectors, in front of a memory that takes no time."""
    near = {"scope": "shared", "management": management, "capacity": "1 MiB", "granularity": granularity}
    return design_from(
        compute__matrix=None,
        memory={
            "smem": {"scope": "core", "management": "scratchpad", "capacity": "256 KiB"},
            "l2": {**near, "read_bandwidth": "1 GB/s", "write_bandwidth": "unlimited"},
            "dram": {"scope": "shared", "management": "scratchpad", "capacity": "64 GB", "bandwidth": "unlimited"},
        },
    )


@pytest.mark.parametrize("dtype", list(BYTES))
@pytest.mark.parametrize(
    ("before", "after", "elements"),
    [
        ([256, 512], [512, 256], 1),
        ([4, 256, 512], [4, 512, 256], 1),
        ([2, 128, 16, 64], [2, 16, 128, 64], 64),
        ([64, 32, 4], [32, 64, 4], 4),
        ([64, 1, 32, 5], [32, 64, 1, 5], 5),
        ([3, 100, 7], [7, 3, 100], 1),
    ],
    ids=str,
)
def test_reads_move_the_sectors_that_their_runs_touch(
    before: list[int], after: list[int], elements: int, dtype: str, tmp_path: Path
) -> None:
    """Runs lie at the begin of a sector: ⌈run ÷ 32 B⌉ sectors each."""
    result = simulate(copy(before, after, dtype, tmp_path), machine())
    run = elements * BYTES[dtype]
    size = int(np.prod(before)) * BYTES[dtype]
    moved = size // run * -(-run // SECTOR) * SECTOR
    assert result.traffic["l2"] == {"read": moved, "write": size}
    assert result.traffic["dram"] == {"read": size, "write": size}
    assert result.makespan == 1000 * moved


@pytest.mark.parametrize(
    ("before", "views", "after", "factor"),
    [
        ([8, 256, 512], [[8, 256, 8, 64], [8, 8, 256, 64]], [8, 8, 256, 64], 1),  # heads to the front: rows stay whole
        ([8, 256, 512], [[8, 256, 8, 64], [8, 8, 64, 256]], [8, 8, 64, 256], 16),  # keys transposed
        ([256, 512], [[512, 256], [256, 512]], [256, 512], 1),  # there and back
        ([256, 512], [[512, 256]], [512, 256], 16),
        ([256, 512], [[131072]], [131072], 1),  # no dimension moves
        ([256, 512], None, [256, 512], 1),
        ([512, 512], [[512, 512]], [512, 512], 16),  # no other view of a square matrix is worth a copy
        ([512, 512], None, [512, 512], 1),
    ],
    ids=str,
)
def test_views_before_the_copy_say_how_the_bytes_lie(
    before: list[int], views: list[list[int]] | None, after: list[int], factor: int, tmp_path: Path
) -> None:
    result = simulate(copy(before, after, "bf16", tmp_path, views), machine())
    assert result.traffic["l2"]["read"] == factor * 2 * int(np.prod(before))


def test_a_tier_that_the_program_manages_moves_tiles(tmp_path: Path) -> None:
    result = simulate(copy([256, 512], [512, 256], "bf16", tmp_path), machine("scratchpad"))
    assert result.traffic["l2"]["read"] == 2 * 256 * 512


@pytest.mark.parametrize("lookup", [KNOWN.lookup, 330.5])
def test_a_transposed_copy_on_h100_moves_sectors_and_is_bound_by_the_lines_that_cores_look_up(
    lookup: float, tmp_path: Path
) -> None:
    """Eight sectors' worth of fp32 for one, and the bytes written; a core looks up a line for each element."""
    design = load_design("h100-sxm").replace({"constants.lookup": lookup})
    side = 8192
    wide = simulate(copy([side, side // 2], [side // 2, side], "fp32", tmp_path), design)
    plain = simulate(copy([side, side // 2], [side, side // 2], "fp32", tmp_path), design)
    size = 4 * side * side // 2
    assert wide.traffic["l2"] == {"read": 8 * size, "write": size}
    assert wide.traffic["hbm"] == plain.traffic["hbm"]
    kernel = (wide.kernel_rows[0]["end_ticks"] - wide.kernel_rows[0]["start_ticks"]) / TICKS_PER_SECOND
    vector = design.compute.vector
    looked_up = lookup * size // 4 / (vector.peak[DType.INT32] * vector.efficiency)
    assert kernel == pytest.approx(looked_up, rel=0.02)
    assert looked_up > 9 * size / 9.7e12
    assert wide.time > 2 * plain.time


@pytest.mark.parametrize(
    ("before", "views", "after", "dtypes", "computed", "shared"),
    [
        ([4096, 8192], None, [8192, 4096], ("fp32", "fp32"), True, 1),
        ([4096, 4096], [[4096, 4096]], [4096, 4096], ("bf16", "bf16"), True, 1),
        ([64, 4096, 2], None, [4096, 64, 2], ("bf16", "bf16"), True, 2),
        ([8, 512, 16, 64], None, [8, 16, 512, 64], ("fp32", "fp32"), True, 64),
        ([2048, 8192], None, [2048, 8192], ("bf16", "fp32"), True, 0),
        ([2048, 8192], None, [2048, 8192], ("fp32", "bf16"), False, 0),
        ([2048, 8192], None, [2048, 8192], ("bf16", "bf16"), False, 0),
    ],
    ids=str,
)
def test_kernels_that_are_not_vectorized_pay_for_the_address_of_each_element(
    before: list[int], views: list[list[int]] | None, after: list[int], dtypes: tuple[str, str], computed: bool,
    shared: int, tmp_path: Path,
) -> None:  # fmt: skip
    trace = copy(before, after, dtypes[0], tmp_path, views, written=dtypes[1])
    graph, elements = eager(trace), int(np.prod(after))
    found = addresses(graph, transposed_runs(graph))
    assert found.elements.tolist() == [elements if computed else 0]
    assert found.shared.tolist() == [shared]


@pytest.mark.parametrize(("shared", "address", "each"), [(0, 70, 70), (0, 81.5, 81.5), (1, 70, 220), (3, 70, 220 / 3)])
def test_an_address_costs_the_operations_that_the_design_says(
    shared: int, address: float, each: float, tmp_path: Path
) -> None:
    """Widening copies compute one address an element; where a transpose keeps runs of elements, they share a lookup."""
    before, after = ([2048, 8192], [2048, 8192]) if not shared else ([4096, 1365, shared], [1365, 4096, shared])
    trace = copy(before, after, "bf16", tmp_path, written="fp32" if not shared else None)
    changes = {"memory.l2.bandwidth": "unlimited", "memory.hbm.bandwidth": "unlimited", "constants.address": address}
    design = load_design("h100-sxm").replace({**changes, "compute.load_bandwidth": "unlimited"})
    twice = design.replace({"constants.address": "2x", "constants.lookup": "2x"})
    vector = design.compute.vector
    seconds = each * int(np.prod(after)) / (vector.peak[DType.INT32] * vector.efficiency)
    assert simulate(trace, twice).time - simulate(trace, design).time == pytest.approx(seconds, rel=2e-3)
