"""Sums, products and shares of whole numbers that are exact or raise; compiled code uses the same ones in C.

Arguments are whole numbers from 0 to 2^63 - 1, divisors at least 1; a result of 2^62 or more is an OverflowError.
Compiled modules import them from `exact.pxd`, interpreted ones from here; both give the same numbers and errors.
"""

from __future__ import annotations

from hiersim.units import LARGEST


def _checked(value: int) -> int:
    if value >= LARGEST:
        raise OverflowError("2^62 or more")
    return value


def total(a: int, b: int) -> int:
    """a + b."""
    return _checked(a + b)


def product(a: int, b: int) -> int:
    """a · b."""
    return _checked(a * b)


def floor_share(a: int, b: int, c: int) -> int:
    """a · b ÷ c, rounded down once."""
    return _checked(a * b // c)


def ceil_share(a: int, b: int, c: int) -> int:
    """a · b ÷ c, rounded up once."""
    return _checked((a * b + c - 1) // c)


def ceil_share3(a: int, b: int, c: int, d: int) -> int:
    """a · b · c ÷ d, rounded up once; the product must stay below 2^128."""
    wide = a * b * c + d - 1
    if wide >= 2**128:
        raise OverflowError("2^128 or more")
    return _checked(wide // d)
