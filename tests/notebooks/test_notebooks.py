"""Every notebook runs top to bottom on the public API, and its claims hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def run(path: Path) -> dict[str, Any]:
    """The names that are left when all code cells have run."""
    cells = json.loads(path.read_text())["cells"]
    names: dict[str, Any] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            assert len(cell["source"]) <= 10, "no cell is longer than ten lines"
            exec(compile("".join(cell["source"]), str(path), "exec"), names)
    return names


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_notebooks_run_and_say_the_truth(path: Path) -> None:
    names = run(path)
    if path.stem == "memory-wall":
        assert names["host_share"] > 0.3
        assert names["hbm_share"] > 0.5
        assert names["speedup"] > 1.5
        gains = names["gains"]
        assert gains["2x HBM bandwidth"] > 1.3 > gains["2x FLOPS"]
        assert gains["4x L2"] < 1.1


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS
