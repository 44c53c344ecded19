"""A compiled module as Python reads it."""

from __future__ import annotations

import importlib
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


def interpreted_together(*names: str) -> ModuleType:
    """The sources of modules that import each other, in the order of their imports; the last one is returned."""
    kept = [importlib.import_module(name) for name in names]
    found = kept[-1]
    try:
        for name, module in zip(names, kept, strict=True):
            source = Path(str(module.__file__)).with_name(f"{name.rpartition('.')[2]}.py")
            spec = importlib.util.spec_from_file_location(name, source)
            assert spec is not None and spec.loader is not None
            found = importlib.util.module_from_spec(spec)
            put(name, found)
            spec.loader.exec_module(found)
    finally:
        for name, module in zip(names, kept, strict=True):
            put(name, module)
    return found


EVENT_CORE = (
    "columns",
    "state",
    "book",
    "boundaries",
    "drift",
    "words",
    "repeats",
    "queues",
    "machine",
    "ahead",
    "graph",
    "landmarks",
    "transitions",
    "stream",
)
"""Modules of `hiersim.engines.core`, in the order of their imports."""


def interpreted_engine() -> ModuleType:
    """`hiersim.engines.compiled` over the sources of the event core."""
    core = [f"hiersim.engines.core.{name}" for name in EVENT_CORE]
    return interpreted_together("hiersim.columns", *core, "hiersim.engines.compiled")


def put(name: str, module: ModuleType) -> None:
    """Let `name` import `module`."""
    package, _, last = name.rpartition(".")
    sys.modules[name] = module
    setattr(sys.modules[package], last, module)
