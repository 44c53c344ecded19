"""What docs/sweeps.md shows runs: its Python, its spec, its commands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from hiersim.cli.main import main, status

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "sweeps.md").read_text()


def test_the_python_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("xarray")
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 2
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "docs/sweeps.md", "exec"), names)
    assert "Sweep(22 points: trace 1, design 1, fusion 2, memory.l2.capacity 11)" in capsys.readouterr().out
    assert len(names["paired"]) == 3


def test_the_spec_and_the_table_of_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyarrow")
    spec = tmp_path / "spec.yaml"
    spec.write_text(re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[0])
    assert status(["sweep", str(spec), "-o", str(tmp_path / "out"), "-q", "--json"]) == 0
    assert capsys.readouterr().out.count('"inputs_sha256"') == 24
    assert status(["results", str(tmp_path / "out"), "--pareto", "time,memory_cost"]) == 0


COMMANDS = re.findall(r"^    (hiersim (?:sweep|results) .+?)(?:  +#.*)?$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_spelled_right(command: str) -> None:
    """Every option exists."""
    import click

    words = command.split()[1:]
    found = main.get_command(click.Context(main), words[0])
    assert found is not None
    found.make_context(words[0], words[1:], resilient_parsing=False)
    assert len(COMMANDS) >= 3
