"""The comparison of both engines over files: it counts what agrees, and names what does not."""

from __future__ import annotations

from pathlib import Path

import pytest

import hiersim as hs
from benchmarks import agreement
from hiersim.engines import reference
from hiersim.lowering.lower import lower
from hiersim.run import kernels_of
from hiersim.testing.synthetic import layered_trace


def compared(folder: Path) -> int:
    with pytest.raises(SystemExit) as exit:
        agreement.compare(folder)
    return int(exit.value.code or 0)


def test_engines_are_compared_over_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    design = hs.load_design("tiny")
    made = [(f"{count} layers", lower(kernels_of(layered_trace(count), design, "eager"), design)) for count in (2, 1)]
    monkeypatch.setattr(agreement, "programs", lambda: iter(made))
    monkeypatch.setattr(reference, "MAX_STAGES", reference.MAX_STAGES)  # `play` lifts it
    agreement.lower(tmp_path)
    (tmp_path / "reference.jsonl").touch()
    assert compared(tmp_path) == 1
    assert "2 layers: not played" in capsys.readouterr().out
    agreement.play(tmp_path)
    agreement.play(tmp_path)  # nothing is left to play
    assert compared(tmp_path) == 0
    stages = sum(agreement.stages_of(program) for _, program in made)
    assert f"2 of 2 programs agree in every field; {stages:,} stages in" in capsys.readouterr().out

    text = (tmp_path / "reference.jsonl").read_text()
    makespan = agreement.rows(tmp_path / "compiled.jsonl")[0]["hashes"]["makespan"]
    (tmp_path / "reference.jsonl").write_text(text.replace(makespan, makespan + "1"))
    assert compared(tmp_path) == 1
    assert "2 layers: makespan\n" in capsys.readouterr().out
