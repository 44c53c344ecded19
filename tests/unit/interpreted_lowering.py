"""Lowering from its sources, beside the compiled one: the modules are loaded again, without their libraries."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import hiersim.lowering

FOLDER = Path(hiersim.lowering.__file__).parent
NAMES = (
    "columns", "systolic", "figures", "stages", "work", "blocks", "tile_estimate", "tile_choice", "windows", "panels",
    "attention_blocks", "contraction", "sweep",
    "nest_maker", "row_passes", "streams", "layouts", "waves", "tiling", "machine", "workload", "supply", "furthest",
    "belady", "replacement", "skyline", "lower",
)  # fmt: skip


SOURCES = {"hiersim.columns": FOLDER.parent / "columns.py"} | {
    f"hiersim.lowering.{last}": FOLDER / f"{last}.py" for last in NAMES
}
"""What is interpreted, by name."""


class SourceFinder:
    """Finds the modules of lowering as Python files, whatever lies beside them."""

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        return importlib.util.spec_from_file_location(name, SOURCES[name]) if name in SOURCES else None


@contextmanager
def set_aside() -> Iterator[None]:
    """The modules that are loaded, put back at the end."""
    kept = {name: sys.modules.pop(name) for name in SOURCES if name in sys.modules}
    packages = {name: sys.modules[name.rpartition(".")[0]] for name in SOURCES}
    known = {name: vars(package).get(name.rpartition(".")[2]) for name, package in packages.items()}
    finder = SourceFinder()
    sys.meta_path.insert(0, finder)  # type: ignore[arg-type]
    try:
        yield
    finally:
        sys.meta_path.remove(finder)  # type: ignore[arg-type]
        for name in SOURCES:
            sys.modules.pop(name, None)
        sys.modules.update(kept)
        for name, module in known.items():
            if module is not None:
                setattr(packages[name], name.rpartition(".")[2], module)


@cache
def interpreted_lower() -> Callable[..., Any]:
    """`lower`, run by the interpreter."""
    with set_aside():
        module = importlib.import_module("hiersim.lowering.lower")
        tiling = sys.modules["hiersim.lowering.tiling"]
        assert tiling.__file__ is not None
        assert tiling.__file__.endswith("tiling.py")
    found: Callable[..., Any] = module.lower
    return found
