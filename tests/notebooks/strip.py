"""Remove the outputs of notebooks: `python strip.py FILE...`; a file that has none is left as it is."""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat


def strip(path: Path) -> None:
    """Without outputs and counts, which would make each run a change of the file."""
    book = nbformat.read(path, 4)
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    text = nbformat.writes(book) + "\n"
    if text != path.read_text():
        path.write_text(text)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        strip(Path(name))
