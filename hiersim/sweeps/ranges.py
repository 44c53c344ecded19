"""Values of an axis as people write them: lists, ranges and spaces of quantities, exact to the last byte.

`10MiB,20MiB` is a list, `1MiB..1GiB*2` a geometric and `1TB/s..8TB/s+0.5TB/s` an arithmetic range; both ends belong to
a range when they are hit. Ranges are computed with fractions and spelled in the unit of their first value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from math import log
from typing import Final, NamedTuple

from hiersim.errors import UnitError
from hiersim.units import QUANTITIES, Quantity

MAX_VALUES: Final = 1_000_000
"""No axis has more."""
MAX_POWERS: Final = 10_000
"""No geometric range has more."""
EXACT_BITS: Final = 256
"""A fraction with a longer denominator is no decimal of a few digits."""
DIGITS: Final = 12
"""Significant digits of a value that no base unit makes whole."""
RANGE_FORM: Final = "A..B*FACTOR or A..B+STEP, as in 1MiB..1GiB*2 or 1TB/s..8TB/s+0.5TB/s"
Value = str | int | float

_NUMBER = re.compile(r"([+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?)\s*(.*)", re.ASCII)
_STEP = re.compile(r"(?<![eE])\+")


class Amount(NamedTuple):
    """A number and its unit as written; the unit is empty for a bare number and `x` for a factor."""

    number: Fraction
    unit: str


def listed(text: str) -> list[str]:
    """The values that `text` stands for, in order, as texts.

    Raises
    ------
    UnitError
        A range that is malformed, empty, endless, or of two dimensions.
    """
    values: list[str] = []
    for part in text.split(","):
        word = part.strip()
        if not word:
            raise UnitError(f"'{text[:100]}' has an empty value", expected=f"values between commas, or {RANGE_FORM}")
        values.extend(_ranged(word) if ".." in word else [word])
        if len(values) > MAX_VALUES:
            raise UnitError(f"'{text[:100]}' has too many values", expected=f"at most {MAX_VALUES:,}")
    return values


def _ranged(text: str) -> Iterator[str]:
    """The values of one range."""
    start, _, rest = text.partition("..")
    if "*" in rest:
        end, _, step = rest.rpartition("*")
        return _geometric(text, amount(start, text), amount(end, text), amount(step, text))
    steps = list(_STEP.finditer(rest))
    if not steps:
        raise UnitError(f"'{text}' has no step", expected=RANGE_FORM)
    at = steps[-1].start()
    return _arithmetic(text, amount(start, text), amount(rest[:at], text), amount(rest[at + 1 :], text))


def _geometric(text: str, start: Amount, end: Amount, factor: Amount) -> Iterator[str]:
    first, last = _in_one_unit(text, start, end)
    if factor.unit or factor.number <= 1:
        raise UnitError(f"'{text}' does not grow", expected="a factor above 1 without a unit, as in 1MiB..1GiB*2")
    if not 0 < first <= last:
        raise UnitError(f"'{text}' is empty", expected="a range that rises from a value above zero")
    if log(last / first) / log(factor.number) > MAX_POWERS:
        raise UnitError(f"'{text}' has too many values", expected=f"at most {MAX_POWERS:,}")
    return _spelled(start.unit, _powers(first, last, factor.number, _grain(start.unit)))


def _powers(first: Fraction, last: Fraction, factor: Fraction, grain: Fraction) -> Iterator[Fraction]:
    """Products of exact factors; those that no short decimal says are rounded to one part in `grain`."""
    above, below = first.numerator, first.denominator  # never reduced: that would cost more than all the rest
    while above * last.denominator <= last.numerator * below:
        if below.bit_length() < EXACT_BITS:
            yield Fraction(above, below)
        else:
            scaled = (2 * above * grain.numerator + below * grain.denominator) // (2 * below * grain.denominator)
            yield scaled / grain
        above, below = above * factor.numerator, below * factor.denominator


def _arithmetic(text: str, start: Amount, end: Amount, step: Amount) -> Iterator[str]:
    first, last = _in_one_unit(text, start, end)
    _, width = _in_one_unit(text, start, step)
    if width <= 0:
        raise UnitError(f"'{text}' does not grow", expected="a step above zero")
    if first > last:
        raise UnitError(f"'{text}' is empty", expected="a range that rises")
    count = (last - first) // width + 1
    if count > MAX_VALUES:
        raise UnitError(f"'{text}' has too many values", expected=f"at most {MAX_VALUES:,}")
    return _spelled(start.unit, (first + index * width for index in range(count)))


def _spelled(unit: str, numbers: Iterator[Fraction]) -> Iterator[str]:
    return (spelled(number, unit) for number in numbers)


def amount(text: str, whole: str | None = None) -> Amount:
    """One number with its unit; `whole` is what it is a part of, for messages."""
    match = _NUMBER.fullmatch(text.strip()) if len(text) <= 64 else None
    if match is None:
        problem = (
            f"'{text.strip()[:64]}' in '{whole[:100]}' is not a number" if whole else f"'{text[:64]}' is no number"
        )
        raise UnitError(problem, expected=RANGE_FORM if whole else "a number with its unit, as in '1 MiB'")
    unit = match.group(2).replace(" ", "").replace("×", "x")
    _family(unit, whole or text)
    return Amount(Fraction(match.group(1).replace("_", "")), unit)


@cache
def _units() -> dict[str, tuple[Quantity | None, Fraction]]:
    """Unit → the quantity that it is of, and its size in base units."""
    found: dict[str, tuple[Quantity | None, Fraction]] = {"": (None, Fraction(1)), "x": (None, Fraction(1))}
    for quantity in QUANTITIES.values():
        found |= {unit: (quantity, factor) for unit, factor in quantity.units.items()}
    return found


def _family(unit: str, text: str) -> tuple[Quantity | None, Fraction]:
    try:
        return _units()[unit]
    except KeyError:
        raise UnitError(
            f"'{unit[:40]}' in '{text[:100]}' is not a unit", expected="one such as MiB, TB/s or ns"
        ) from None


def _in_one_unit(text: str, start: Amount, other: Amount) -> tuple[Fraction, Fraction]:
    """Both numbers in the unit of `start`."""
    if other.unit == start.unit:
        return start.number, other.number
    (kind, size), (other_kind, other_size) = _family(start.unit, text), _family(other.unit, text)
    if kind is None or kind is not other_kind:
        names = [f"'{unit}'" if unit else "a bare number" for unit in (start.unit, other.unit)]
        raise UnitError(f"'{text[:100]}' mixes {names[0]} and {names[1]}", expected="one dimension throughout")
    return start.number, other.number * other_size / size


def spelled(number: Fraction, unit: str) -> str:
    """`number` in `unit` when that is a short decimal, else a whole number of the base unit."""
    text = _decimal(number)
    if text is not None:
        return f"{text}{unit}" if unit in ("", "x") else f"{text} {unit}"
    quantity, size = _units()[unit]
    if quantity is not None and quantity.integral:
        return f"{round(number * size)} {quantity.base}"
    text = _decimal(Fraction(round(number * 10**DIGITS), 10**DIGITS), digits=64)
    return f"{text}{unit}" if unit in ("", "x") else f"{text} {unit}"


def _decimal(number: Fraction, digits: int = DIGITS) -> str | None:
    """`number` as a decimal of at most so many significant digits; None where it is none."""
    rest, places = number.denominator, 0
    for prime in (2, 5):
        count = 0
        while rest % prime == 0:
            rest, count = rest // prime, count + 1
        places = max(places, count)
    scaled = number * 10**places
    if rest != 1 or len(str(abs(scaled.numerator))) > max(digits, len(str(int(abs(number))))):
        return None
    if not places:
        return str(scaled.numerator)
    sign, text = "-" if number < 0 else "", str(abs(scaled.numerator)).rjust(places + 1, "0")
    return f"{sign}{text[:-places]}.{text[-places:]}"


def geomspace(start: Value, stop: Value, num: int) -> list[Value]:
    """`num` values from `start` to `stop`, each by the same factor above the one before.

    Parameters
    ----------
    start, stop : str, int or float
        Quantities with units (`"1 MiB"`) or bare numbers, above zero; they may fall.
    num : int
        How many, at least 2.

    Returns
    -------
    list
        Texts with units, rounded to the base unit (a byte, a picosecond); bare numbers as numbers.

    Examples
    --------
    >>> geomspace("1 MiB", "8 MiB", 4)
    ['1 MiB', '2 MiB', '4 MiB', '8 MiB']
    """
    first, last, unit = _ends(start, stop, num)
    if first <= 0 or last <= 0:
        raise UnitError(f"{start} to {stop} is no geometric space", expected="values above zero")
    steps, scale = num - 1, _grain(unit)
    low, high = first * scale, last * scale
    inner = (_rounded_root(low ** (steps - index) * high**index, steps) for index in range(1, steps))
    return _typed(start, unit, [first, *(Fraction(number, 1) / scale for number in inner), last])


def linspace(start: Value, stop: Value, num: int) -> list[Value]:
    """`num` values from `start` to `stop`, equally far apart; else as `geomspace`.

    Examples
    --------
    >>> linspace("1 TB/s", "2 TB/s", 3)
    ['1 TB/s', '1.5 TB/s', '2 TB/s']
    """
    first, last, unit = _ends(start, stop, num)
    return _typed(start, unit, [first + (last - first) * index / (num - 1) for index in range(num)])


def logspace(start: int, stop: int, num: int, *, base: int = 10, unit: str = "") -> list[Value]:
    """`geomspace` from `base ** start` to `base ** stop` of `unit`, as `numpy.logspace` counts.

    Examples
    --------
    >>> logspace(0, 3, 4, base=2, unit="MiB")
    ['1 MiB', '2 MiB', '4 MiB', '8 MiB']
    """
    first, last = (Fraction(base) ** power for power in (start, stop))
    if unit:
        return geomspace(spelled(first, unit), spelled(last, unit), num)
    return geomspace(_number(first), _number(last), num)


def _ends(start: Value, stop: Value, num: int) -> tuple[Fraction, Fraction, str]:
    """Both ends in the unit of the first."""
    if isinstance(num, bool) or not isinstance(num, int) or not 2 <= num <= MAX_VALUES:
        raise UnitError(f"{num!r} is not a number of values", expected=f"a whole number from 2 to {MAX_VALUES:,}")
    first, last = (amount(str(end)) for end in (start, stop))
    low, high = _in_one_unit(f"{start} to {stop}", first, last)
    if low == high:
        raise UnitError(f"{start} to {stop} is empty", expected="two different ends")
    return low, high, first.unit


def _grain(unit: str) -> Fraction:
    """How many of the smallest steps there are in one `unit`: base units, or 10^-12 of what has no whole ones."""
    quantity, size = _units()[unit]
    return size if quantity is not None and quantity.integral else Fraction(10**DIGITS)


def _typed(start: Value, unit: str, numbers: list[Fraction]) -> list[Value]:
    """Texts, or numbers where numbers were given; what a base unit divides is rounded to it."""
    grain = _grain(unit)
    kept = [number if _decimal(number) else Fraction(round(number * grain)) / grain for number in numbers]
    if isinstance(start, str):
        return [spelled(number, unit) for number in kept]
    return [_number(number) for number in kept]


def _number(number: Fraction) -> int | float:
    return int(number) if number.denominator == 1 else float(number)


def _rounded_root(number: Fraction, degree: int) -> int:
    """The whole number nearest to the `degree`-th root."""
    doubled = number * 2**degree
    return (_root(doubled.numerator // doubled.denominator, degree) + 1) // 2


def _root(number: int, degree: int) -> int:
    """The `degree`-th root, rounded down, by Newton's method on whole numbers."""
    if degree == 1 or number < 2:
        return number
    guess = 1 << -(-number.bit_length() // degree)
    while True:
        better = ((degree - 1) * guess + number // guess ** (degree - 1)) // degree
        if better >= guess:
            return guess
        guess = better


def base_units(text: str) -> Fraction | None:
    """A quantity in base units; None where `text` is none."""
    try:
        number, unit = amount(text)
    except UnitError:
        return None
    return number * _units()[unit][1]
