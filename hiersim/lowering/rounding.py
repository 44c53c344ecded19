"""Rounding of whole numbers up to multiples; compiled code uses the same functions from `rounding.pxd`, inline."""

from __future__ import annotations


def ceil_div(a: int, b: int) -> int:
    """a ÷ b, rounded up; a + b below 2^63."""
    return (a + b - 1) // b


def padded_to(length: int, native: int) -> int:
    """The next multiple of `native`."""
    return (length + native - 1) // native * native
