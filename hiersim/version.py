"""Which hiersim this is."""

from __future__ import annotations

from functools import cache


@cache
def package_version() -> str:
    """Version of the installed package."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("hiersim")
    except PackageNotFoundError:
        return "0+unknown"
