"""What is fuzzed: each format with sound files to begin with, how to change them, and its reader."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import mutate
import probes
from mutate import Mutator

import hiersim as hs
from hiersim.frontends.hlo.build import import_hlo
from hiersim.model.trace import Trace

SEEDS: Final = Path(__file__).parent / "seeds"
"""A folder per format; mostly files of a few operators, for a case costs what its file costs."""
COMMON: Final = ("hiersim.model.operators", "hiersim.frontends.integrity", "hiersim.frontends.draft")
"""Readers of all formats pass through these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One format of files."""

    suffix: str
    seeds: tuple[bytes, ...]
    mutators: tuple[Mutator, ...]
    read: Callable[[Path], Trace]
    modules: tuple[str, ...]
    """Where its reader lies."""
    zipped: bool = False
    """Whether its reader takes gzip."""

    @property
    def words(self) -> tuple[str, ...]:
        """Keys and values that its reader knows, as far as modules were watched."""
        mine = (*self.modules, *COMMON)
        return tuple(sorted({word for name, held in probes.words.items() if name.startswith(mine) for word in held}))


def formats() -> dict[str, Format]:
    """All formats that can be read here: ONNX and its runtime need their packages."""
    rows, tree, text = mutate.json_rows, mutate.json_value, mutate.text
    lines = ("rows", "kernel_rows", "region_rows", "lines")
    found = {
        "rows": _format("rows", ".jsonl", [rows, text], hs.load_trace, *lines, zipped=True),
        "archive": _format("archive", ".npz", [mutate.archive], hs.load_trace, "archive", seeds=_archives()),
        "kineto": _format("kineto", ".json", [tree, text], hs.import_kineto, "kineto", "json_stream", zipped=True),
        "chakra": _format(
            "chakra", ".et", [mutate.delimited], hs.import_chakra, "chakra", seeds=_chakra(), zipped=True
        ),
        "chakra-json": _format("chakra-json", ".json", [tree, text], hs.import_chakra, "chakra", zipped=True),
        "hlo": _format("hlo", ".txt", [text], import_hlo, "hlo"),
        "table": _format("table", ".csv", [text], hs.import_table, "operator_list"),
        "yaml": _format("yaml", ".yaml", [text], hs.import_table, "operator_list"),
    }
    sys.path.insert(0, str(Path(__file__).parents[1] / "capture"))
    try:
        import onnx_models
    except ImportError:
        return found
    models = [onnx_models.encoder(layers=1), onnx_models.network()]
    found["onnx"] = _format("onnx", ".onnx", [mutate.message], hs.import_onnx, "onnx_model", seeds=models)
    if find_spec("onnxruntime"):
        optimised = partial(hs.import_onnx, runtime="extended")
        found["onnx-runtime"] = _format("onnx", ".onnx", [mutate.message], optimised, "onnx_model", seeds=models)
    return found


def _format(
    name: str, suffix: str, mutators: list[Mutator], read: Any, *modules: str, seeds: Any = (), zipped: bool = False
) -> Format:
    return Format(
        suffix=suffix,
        seeds=tuple(seeds) or tuple(path.read_bytes() for path in sorted((SEEDS / name).iterdir())),
        mutators=(*mutators, *mutators, *mutators, mutate.raw),
        read=read,
        modules=tuple(f"hiersim.frontends.{module}" for module in modules),
        zipped=zipped,
    )


def _sound() -> list[Trace]:
    """The readable seeds and a measured one, as traces."""
    found = [hs.load_trace(path) for path in sorted((SEEDS / "rows").iterdir())]
    return [*found, hs.import_kineto(SEEDS / "kineto" / "product.json"), import_hlo(SEEDS / "hlo" / "smallest.txt")]


def _archives() -> list[bytes]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "t.npz"
        return [_written(trace, path, hs.save_trace) for trace in _sound()]


def _chakra() -> list[bytes]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "t.et"
        return [_written(trace, path, hs.export_chakra) for trace in _sound()[:4]]


def _written(trace: Trace, path: Path, write: Callable[[Trace, Path], Any]) -> bytes:
    write(trace, path)
    return path.read_bytes()
