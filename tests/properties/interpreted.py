"""A compiled module as Python reads it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def interpreted(module: ModuleType) -> ModuleType:
    """The source of `module`, run by the interpreter, whether or not it was compiled."""
    name = module.__name__.rpartition(".")[2]
    source = Path(str(module.__file__)).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"{name}_interpreted", source)
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[found.__name__] = found  # dataclasses look their module up
    spec.loader.exec_module(found)
    return found
