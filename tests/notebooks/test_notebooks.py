"""Every notebook runs top to bottom in a kernel of its own, on the public API alone, and its claims hold."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

jupytext = pytest.importorskip("jupytext")
nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytestmark = pytest.mark.notebooks

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
CLAIMS = Path(__file__).with_name("claims.py")
SECONDS = 110
"""Of one cell at most; a whole notebook takes about ten on a quiet machine."""
MOST_LINES = 10
PUBLIC = ("hiersim", "hiersim.cost", "hiersim.testing", "hiersim.what_ifs")
"""What a notebook may import of hiersim: names of the package, and modules that a page of the documentation tells of."""

pairs = pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])


def code(path: Path) -> list[str]:
    """The code cells."""
    return [cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]


def claims() -> dict[str, Any]:
    """Stem of a notebook → the function that holds it to its word."""
    import runpy

    found: dict[str, Any] = runpy.run_path(str(CLAIMS))["CLAIMS"]
    return found


def test_every_notebook_has_its_pair_and_its_claims() -> None:
    assert NOTEBOOKS
    assert [path.stem for path in NOTEBOOKS] == sorted(claims())
    assert [path.stem for path in NOTEBOOKS] == sorted(path.stem for path in FOLDER.glob("*.py"))


@pairs
def test_notebooks_run_and_say_the_truth(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The claims run in the notebook's own kernel, after its last cell."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    book = nbformat.read(path, 4)
    call = f"import runpy\nrunpy.run_path({str(CLAIMS)!r})['CLAIMS'][{path.stem!r}](globals())"
    book.cells.append(nbformat.v4.new_code_cell(call))
    client = nbclient.NotebookClient(book, timeout=SECONDS, resources={"metadata": {"path": str(FOLDER)}})
    client.execute()
    errors = [output for cell in book.cells for output in cell.get("outputs", ()) if output.get("name") == "stderr"]
    assert not errors, errors


@pairs
def test_cells_are_short_and_use_the_public_interface(path: Path) -> None:
    for source in code(path):
        assert len(source.splitlines()) <= MOST_LINES, source
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            else:
                names = [item.name for item in node.names] if isinstance(node, ast.Import) else []
            used = [name for name in names if name.split(".")[0] == "hiersim"]
            assert all(name in PUBLIC or name.startswith("hiersim.testing.") for name in used), source
            private = isinstance(node, ast.Attribute) and node.attr.startswith("_")
            assert not private, source


@pairs
def test_notebooks_are_stored_without_outputs_and_in_step_with_their_scripts(path: Path, tmp_path: Path) -> None:
    """`make notebook-pairs` brings both into step."""
    from jupytext.cli import jupytext as convert

    for cell in nbformat.read(path, 4).cells:
        assert not cell.get("outputs"), "stored without outputs"
        assert cell.get("execution_count") is None
    made = tmp_path / "made.py"
    convert(["--quiet", "--to", "py:percent", "--output", str(made), str(path)])
    assert made.read_text() == path.with_suffix(".py").read_text()
