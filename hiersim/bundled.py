"""Where the designs, traces and measured times that come with hiersim lie: in a checkout or in an installed wheel."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import MappingProxyType

_PACKAGE = Path(__file__).resolve().parent
_INSTALLED = _PACKAGE / "_data"


def is_installed() -> bool:
    """True when the data lies inside the package (a wheel), false in a checkout."""
    return _INSTALLED.is_dir()


def _folder(name: str) -> Path:
    return _INSTALLED / name if is_installed() else _PACKAGE.parent / name


ALIASES = MappingProxyType({"h200": "h200-sxm"})
"""Other names of bundled designs."""


@cache
def designs() -> dict[str, Path]:
    """Bundled design name → file, sorted."""
    return {path.stem: path for path in sorted(_folder("configs").glob("*.yaml"))}


@cache
def traces() -> dict[str, Path]:
    """Bundled trace name → file, sorted."""
    return {path.stem: path for path in sorted(_folder("traces").glob("*.npz"))}


def is_bundled(path: Path) -> bool:
    """True for a file of the bundled designs or of the price book."""
    return path.parent in (_folder("configs"), prices())


def prices() -> Path:
    """The folder of the price book."""
    return _folder("configs") / "prices"


def measurements() -> Path:
    """The folder of bundled measured times: one folder for each machine and day."""
    return _folder("measurements")
