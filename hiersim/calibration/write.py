"""A calibration as a design file: it extends the design that it began with; fitted values say where they are from."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from hiersim.calibration.calibrate import MARK, Calibration, FittedParameter
from hiersim.calibration.parameters import kind_of
from hiersim.config.load import load_design, resolve
from hiersim.errors import DesignError, one_line
from hiersim.frontends.archive import write_whole
from hiersim.units import Bytes, BytesPerSecond, FlopsPerSecond, Hertz, Ticks
from hiersim.version import __version__

_RATES: Final = ((1e12, "T"), (1e9, "G"), (1e6, "M"))
_UNITS: Final[Mapping[Any, tuple[str, tuple[tuple[float, str], ...]]]] = {
    Ticks: ("s", ((1e9, "m"), (1e6, "u"), (1e3, "n"))), BytesPerSecond: ("B/s", _RATES),
    FlopsPerSecond: ("FLOP/s", _RATES), Hertz: ("Hz", _RATES), Bytes: ("B", ((1.0, ""),)),
}  # fmt: skip
"""Type → unit, and its prefixes from the largest down, each with the size of one in base units."""
DIGEST: Final = 16
"""Hexadecimal digits of a file's SHA-256 in a source."""
LONGEST: Final = 400
"""Characters of a text in a design."""
LONGEST_NAME: Final = 64


def save(calibration: Calibration, design: str, path: str | os.PathLike[str]) -> None:
    """Write the fitted design to `path`, whole or not at all.

    Parameters
    ----------
    design : str
        Bundled name or file of the design that was fitted.

    Raises
    ------
    DesignError
        A file that is no YAML, or that is the design itself.
    """
    target, base = check_target(design, path), resolve(design)[0]
    draft = target.with_name(f".{os.getpid()}-{target.name}")  # what cannot be read is not left behind
    write_whole(draft, text_of(calibration, _extends(design, base, target)).encode())
    try:
        load_design(str(draft))
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def check_target(design: str, path: str | os.PathLike[str]) -> Path:
    """`path`, when a design that is fitted to `design` can be written there: asked before anything is fitted.

    Raises
    ------
    DesignError
        No YAML, the design itself, or no folder to write in.
    """
    target = Path(path)
    if target.suffix not in (".yaml", ".yml"):
        raise DesignError("is no name of a design", file=str(target), expected="a name that ends in .yaml")
    if target.exists() and target.resolve() == resolve(design)[0].resolve():
        raise DesignError("is the design that is fitted", file=str(target), expected="another file")
    if target.is_dir() or not os.access(target.parent, os.W_OK | os.X_OK):
        raise DesignError("cannot be written", file=str(target), expected="a file in a folder to write in")
    return target


def text_of(calibration: Calibration, extends: str) -> str:
    """The design as YAML; the same fit gives the same bytes."""
    name = re.sub(r"[^a-z0-9_.-]+", "-", calibration.base.name.lower())
    name = f"{name.removesuffix(MARK)[: LONGEST_NAME - len(MARK)]}{MARK}"
    title = calibration.base.title.removesuffix(", calibrated")
    lines = [
        f"# {calibration.base.name} with {len(calibration.parameters)} values fitted by hiersim calibrate.",
        f"name: {name}",
        f"title: {_quoted(f'{one_line(title)[: LONGEST - 12]}, calibrated')}",
        f"extends: {_quoted(extends)}",
    ]
    tree: dict[str, Any] = {}
    for row in calibration.parameters:
        *tables, leaf = row.path.split(".")
        table = tree
        for step in tables:
            table = table.setdefault(step, {})
        table[leaf] = shown(calibration, row)
    lines += _lines(tree, 0)
    lines.append("sources:")
    lines += [f"  {row.path}: {_quoted(source(calibration, row))}" for row in calibration.parameters]
    return "\n".join(lines) + "\n"


def source(calibration: Calibration, row: FittedParameter) -> str:
    """Where a fitted value is from: program, data, its date and size, range, and errors before and after."""
    names = [
        f"{name} (sha256 {digest[:DIGEST]})" if digest else name
        for name, digest in zip(calibration.files, calibration.digests, strict=True)
    ]
    text = _source(calibration, row, ", ".join(names))
    if len(text) > LONGEST:
        whole = sha256("".join(calibration.digests).encode()).hexdigest()
        text = _source(calibration, row, f"{len(names)} files (sha256 of their sums {whole[:DIGEST]})")
    return one_line(text)[:LONGEST]


def _source(calibration: Calibration, row: FittedParameter, data: str) -> str:
    day = ", ".join(dict.fromkeys(date[:10] for date in calibration.dates))
    total = calibration.total
    errors = f"MAPE {_percent(total.before.mape)} before, {_percent(total.after.mape)} after"
    if total.held_out is not None:
        errors += f", {_percent(total.held_out.mape)} held out ({calibration.folds} parts by {calibration.group})"
    between = " to ".join(quantity(calibration, row.path, value) for value in (row.low, row.high))
    parts = (
        f"fitted: hiersim {__version__} calibrate to {data}", f"measured {day}" if day else "",
        f"on {calibration.device}" if calibration.device else "", f"{total.after.n} rows", f"95 % {between}", errors,
    )  # fmt: skip
    return "; ".join(filter(None, parts))


def shown(calibration: Calibration, row: FittedParameter) -> str:
    """The fitted value as a design file has it."""
    return quantity(calibration, row.path, row.after, digits=5)


def quantity(calibration: Calibration, path: str, value: float, digits: int = 3) -> str:
    """A value with its unit."""
    kind = kind_of(calibration.base, path)
    if kind not in _UNITS:
        return f"{value:.{digits}g}"
    unit, prefixes = _UNITS[kind]
    scale, prefix = next((step for step in prefixes if value >= step[0]), prefixes[-1])
    return f"{value / scale:.{digits}g} {prefix}{unit}"


def _extends(design: str, base: Path, target: Path) -> str:
    """The name that the new file calls its base by: a bundled name, or a path from where it lies."""
    if Path(design).suffix not in (".yaml", ".yml"):
        return load_design(design).name
    return os.path.relpath(base.resolve(), target.resolve().parent)


def _lines(table: dict[str, Any], depth: int) -> list[str]:
    lines = []
    for key, value in table.items():
        if isinstance(value, dict):
            lines += ["  " * depth + f"{key}:", *_lines(value, depth + 1)]
        else:
            lines.append("  " * depth + f"{key}: {value}")
    return lines


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # JSON's strings are YAML's


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
