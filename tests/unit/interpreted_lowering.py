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
    "columns", "systolic", "figures", "stages", "work", "blocks", "tile_choice", "windows", "panels",
    "contraction", "sweep",
    "nest_maker", "row_passes", "streams", "layouts", "waves", "tiling", "machine", "workload", "supply", "furthest",
    "belady", "replacement", "skyline", "lower",
)  # fmt: skip


class SourceFinder:
    """Finds the modules of lowering as Python files, whatever lies beside them."""

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        package, _, last = name.rpartition(".")
        if package != "hiersim.lowering" or last not in NAMES:
            return None
        return importlib.util.spec_from_file_location(name, FOLDER / f"{last}.py")


@contextmanager
def set_aside() -> Iterator[None]:
    """The modules that are loaded, put back at the end."""
    names = [f"hiersim.lowering.{last}" for last in NAMES]
    kept = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    package = {last: vars(hiersim.lowering).get(last) for last in NAMES}
    finder = SourceFinder()
    sys.meta_path.insert(0, finder)  # type: ignore[arg-type]
    try:
        yield
    finally:
        sys.meta_path.remove(finder)  # type: ignore[arg-type]
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update(kept)
        for last, module in package.items():
            if module is not None:
                setattr(hiersim.lowering, last, module)


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
