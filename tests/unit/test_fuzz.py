"""A few broken files of every format; `python tests/fuzz` goes on for as long as one likes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parents[1] / "fuzz"), str(Path(__file__).parent)]
from formats import formats  # noqa: E402
from trial import cases  # noqa: E402

FORMATS = formats()


@pytest.mark.parametrize("name", [name for name in FORMATS if not name.startswith("onnx")])
def test_broken_files_are_read_or_refused(name: str, tmp_path: Path) -> None:
    form = FORMATS[name]
    report = cases(form, list(form.seeds), set(), 40, 7, float("inf"), tmp_path / f"case{form.suffix}")
    assert [problem for problem, _ in report["findings"]] == []
    assert report["done"] == 40
    assert len(report["said"]) > 3, "mutants are of many kinds"
