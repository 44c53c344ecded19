"""Exact parsing and printing of quantities.

Integers inside, units at the edge: a quantity is read as a fraction and becomes an integer of its base
unit once. Decimal prefixes are powers of ten (GB = 10^9), binary prefixes powers of two (GiB = 2^30).
A number without a unit, or a unit that is not the one wanted, is refused with a hint.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Final, NewType

from hiersim.errors import UnitError

Ticks = NewType("Ticks", int)
"""Time in ticks; 1 tick = 1 ps."""
Bytes = NewType("Bytes", int)
BytesPerSecond = NewType("BytesPerSecond", int)
Flops = NewType("Flops", int)
"""A number of floating-point (or integer tensor) operations."""
FlopsPerSecond = NewType("FlopsPerSecond", int)
Hertz = NewType("Hertz", int)
Count = NewType("Count", int)
Share = NewType("Share", float)
"""A ratio in (0, 1]."""
Factor = NewType("Factor", float)
"""A number above 0 without a unit: how many times, or how many operations on average."""
Usd = NewType("Usd", float)
UsdPerGB = NewType("UsdPerGB", float)
SquareMillimetres = NewType("SquareMillimetres", float)
PicojoulesPerByte = NewType("PicojoulesPerByte", float)
PicojoulesPerFlop = NewType("PicojoulesPerFlop", float)

TICKS_PER_SECOND: Final = 10**12
UNLIMITED: Final = 2**63 - 1
"""A rate that never makes anybody wait; written `unlimited` in a design."""
LARGEST: Final = 2**62
"""No quantity may reach this, so that sums of a few stay inside 64 bits."""

_DECIMAL: Final = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18}
_BINARY: Final = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50}
_SMALL: Final = {"m": Fraction(1, 10**3), "u": Fraction(1, 10**6), "µ": Fraction(1, 10**6), "μ": Fraction(1, 10**6)}
_SMALLER: Final = {"n": Fraction(1, 10**9), "p": Fraction(1, 10**12)}

_NUMBER = re.compile(r"\s*([+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?)\s*(.*?)\s*", re.ASCII)


def _scaled(prefixes: Mapping[str, int | Fraction], unit: str) -> dict[str, Fraction]:
    return {prefix + unit: Fraction(factor) for prefix, factor in prefixes.items()}


_BYTE_UNITS = {**_scaled(_DECIMAL, "B"), **_scaled(_BINARY, "B")}
_SECOND_UNITS = {**_scaled(_SMALL, "s"), **_scaled(_SMALLER, "s"), "s": Fraction(1)}
_HERTZ_UNITS = _scaled(_DECIMAL, "Hz")
_OPERATION_UNITS = {**_scaled(_DECIMAL, "FLOP"), **_scaled(_DECIMAL, "OP")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """How one kind of number is written: its units, its range and examples for error messages."""

    name: str
    units: Mapping[str, Fraction]
    example: str
    base: str
    integral: bool = True
    unlimited: bool = False
    bare: bool = False
    minimum: int = 0
    maximum: int = LARGEST

    def parse(self, value: object) -> int | float:
        """The value in base units.

        Raises
        ------
        UnitError
            No unit, an unknown or ambiguous unit, NaN, negative, or out of range.
        """
        if isinstance(value, bool) or value is None:
            raise UnitError(f"{value!r} is not {self.name}", expected=self.example)
        if isinstance(value, str):
            if self.unlimited and value.strip() == "unlimited":
                return UNLIMITED
            return self._ranged(self._parse_text(value), value)
        if isinstance(value, int | float):
            if not self.bare:
                raise UnitError(f"{value!r} has no unit", expected=self.example)
            if value != value or value in (float("inf"), float("-inf")):
                raise UnitError(f"{value!r} is not a finite number", expected=self.example)
            return self._ranged(Fraction(value), repr(value))
        raise UnitError(f"{type(value).__name__} is not {self.name}", expected=self.example)

    def _parse_text(self, text: str) -> Fraction:
        if len(text) > 64:
            raise UnitError(f"{text[:20]!r}… is too long for {self.name}", expected=self.example)
        match = _NUMBER.fullmatch(text)
        if match is None:
            raise UnitError(f"{text!r} is not {self.name}", expected=self.example)
        number = Fraction(match.group(1).replace("_", ""))
        unit = match.group(2)
        if not unit:
            if self.bare:
                return number
            raise UnitError(f"{text!r} has no unit", expected=self.example)
        factor = self.units.get(unit.replace(" ", ""))
        if factor is None:
            raise UnitError(f"unit '{unit}' is not a unit of {self.name}{_unit_hint(unit)}", expected=self.example)
        return number * factor

    def _ranged(self, number: Fraction, written: str) -> int | float:
        if number.numerator < 0:
            raise UnitError(f"{written} is negative", expected=self.example)
        if self.bare and self.integral and number.denominator != 1:
            raise UnitError(f"{written} is not a whole number", expected=self.example)
        result = round(number) if self.integral else float(number)
        if result == 0 and number.numerator > 0 and self.integral:
            raise UnitError(f"{written} is smaller than one {self.base}", expected=self.example)
        if result < self.minimum:
            raise UnitError(f"{written} is too small", expected=f"at least {self.minimum} {self.base}".strip())
        if result > self.maximum:
            raise UnitError(f"{written} is too large", expected=f"at most {self.maximum:.3g} {self.base}".strip())
        return result


def _unit_hint(unit: str) -> str:
    """A word on the mistakes that cost others years: bits for bytes, a missing 'per second'."""
    if re.fullmatch(r"[kKMGTP]?i?b(/s|ps)?", unit):
        return ": 'b' may mean bits; write B for bytes"
    if re.fullmatch(r"[kKMGTP]?i?bit(/s)?", unit):
        return ": give bytes, not bits"
    return ""


def _per_second(units: Mapping[str, Fraction]) -> dict[str, Fraction]:
    return {f"{unit}/s": factor for unit, factor in units.items()}


_FLOP_RATES = {
    **_per_second(_OPERATION_UNITS),
    **{f"{unit}S": factor for unit, factor in _OPERATION_UNITS.items()},
}
_PRICE_UNITS = {
    **{f"{dollar}/GB": Fraction(1) for dollar in ("$", "USD")},
    **{f"{dollar}/TB": Fraction(1, 1000) for dollar in ("$", "USD")},
    **{f"{dollar}/MB": Fraction(1000) for dollar in ("$", "USD")},
    **{f"{dollar}/GiB": Fraction(10**9, 2**30) for dollar in ("$", "USD")},
}
_AREA_UNITS = {
    **{f"mm{square}": Fraction(1) for square in ("2", "²", "^2")},
    **{f"cm{square}": Fraction(100) for square in ("2", "²", "^2")},
    **{f"{micro}m{square}": Fraction(1, 10**6) for micro in ("u", "µ", "μ") for square in ("2", "²", "^2")},
}
_SHARE_UNITS = {"%": Fraction(1, 100)}

QUANTITIES: Final[Mapping[object, Quantity]] = {
    Ticks: Quantity(
        name="a time",
        units={unit: factor * TICKS_PER_SECOND for unit, factor in _SECOND_UNITS.items()},
        example="a time such as '560 ns' or '4 us'",
        base="ps",
    ),
    Bytes: Quantity(name="a size", units=_BYTE_UNITS, example="a size such as '50 MiB' or '80 GB'", base="B"),
    BytesPerSecond: Quantity(
        name="a bandwidth",
        units=_per_second(_BYTE_UNITS),
        example="a bandwidth such as '3.35 TB/s', or 'unlimited'",
        base="B/s",
        unlimited=True,
        minimum=1,
    ),
    FlopsPerSecond: Quantity(
        name="a compute rate",
        units=_FLOP_RATES,
        example="a rate such as '989.4 TFLOP/s' or '1979 TOP/s', or 'unlimited'",
        base="FLOP/s",
        unlimited=True,
        minimum=1,
    ),
    Hertz: Quantity(
        name="a frequency", units=_HERTZ_UNITS, example="a frequency such as '1.83 GHz'", base="Hz", minimum=1
    ),
    Count: Quantity(
        name="a count", units={}, example="a whole number of at least 1", base="", bare=True, minimum=1, maximum=10**9
    ),
    Share: Quantity(
        name="a share", units=_SHARE_UNITS, example="a number above 0 and at most 1", base="", bare=True,
        integral=False, maximum=1,
    ),
    Factor: Quantity(
        name="a number", units={}, example="a number above 0", base="", bare=True, integral=False, maximum=10**6
    ),
    UsdPerGB: Quantity(
        name="a price", units=_PRICE_UNITS, example="a price such as '12 $/GB'", base="$/GB", integral=False
    ),
    Usd: Quantity(
        name="an amount of money", units={"$": Fraction(1), "USD": Fraction(1)},
        example="an amount such as '27500 $'", base="$", integral=False,
    ),
    SquareMillimetres: Quantity(
        name="an area", units=_AREA_UNITS, example="an area such as '814 mm2' or '0.021 um2'", base="mm2",
        integral=False,
    ),
    PicojoulesPerByte: Quantity(
        name="an energy per byte",
        units={"pJ/B": Fraction(1), "pJ/bit": Fraction(8), "nJ/B": Fraction(1000)},
        example="an energy such as '31 pJ/B' or '3.9 pJ/bit'", base="pJ/B", integral=False,
    ),
    PicojoulesPerFlop: Quantity(
        name="an energy per operation",
        units={"pJ/FLOP": Fraction(1), "pJ/OP": Fraction(1), "fJ/FLOP": Fraction(1, 1000)},
        example="an energy such as '0.6 pJ/FLOP'", base="pJ/FLOP", integral=False,
    ),
}  # fmt: skip


def parse(quantity: object, value: object) -> int | float:
    """`value` as a number in the base unit of `quantity` (a NewType of this module)."""
    return _positive(quantity, value, QUANTITIES[quantity].parse(value))


_parsed = lru_cache(maxsize=4096)(parse)
"""Sweeps set the same texts again and again."""


def _positive(quantity: object, value: object, number: int | float) -> int | float:
    """`number`, unless it is a share or a factor of nothing."""
    if quantity in (Share, Factor) and number <= 0:
        raise UnitError(f"{value!r} is not above zero", expected=QUANTITIES[quantity].example)
    return number


_FACTOR = re.compile(r"\s*(\d+(?:\.\d+)?)\s*[x×]\s*", re.ASCII)


def factor_of(value: object) -> Fraction | None:
    """The factor that a text such as `2x` or `0.5x` stands for; None where it is none."""
    ratio = _ratio_of(value)
    return None if ratio is None else Fraction(*ratio)


def _ratio_of(value: object) -> tuple[int, int] | None:
    """Numerator and denominator of such a factor, not in lowest terms."""
    match = _FACTOR.fullmatch(value) if isinstance(value, str) and len(value) <= 64 else None
    if match is None:
        return None
    whole, _, rest = match.group(1).partition(".")
    return int(whole + rest), 10 ** len(rest)


def parse_change(quantity: object, value: object, present: int | float | None) -> int | float:
    """Like `parse`, and `2x` or `0.5x` stands for a multiple of the present value."""
    ratio = _ratio_of(value)
    if ratio is None:
        return _parsed(quantity, value) if isinstance(value, str) else parse(quantity, value)
    if present is None or present == UNLIMITED:
        raise UnitError(f"'{value}' needs a present value to multiply", expected=QUANTITIES[quantity].example)
    form = QUANTITIES[quantity]
    numerator, denominator = present.as_integer_ratio()
    exact = Fraction(ratio[0] * numerator, ratio[1] * denominator)
    return _positive(quantity, value, form._ranged(exact, str(value)))


def ceil_div(numerator: int, denominator: int) -> int:
    """Integer division, rounded up."""
    return -(-numerator // denominator)


def service_ticks(amount: int, per_second: int) -> Ticks:
    """Ticks to move `amount` at `per_second`, rounded up once; zero at an unlimited rate."""
    if per_second >= UNLIMITED or amount <= 0:
        return Ticks(0)
    return Ticks(ceil_div(amount * TICKS_PER_SECOND, per_second))


def _printer(steps: list[tuple[float, str]], unit: str) -> Callable[[float], str]:
    def show(value: float) -> str:
        if value >= UNLIMITED:
            return "unlimited"
        for factor, prefix in steps:
            if abs(value) >= factor * 0.9995:
                return f"{value / factor:.4g} {prefix}{unit}"
        factor, prefix = steps[-1]
        return f"{value / factor:.4g} {prefix}{unit}" if value else f"0 {unit}"

    return show


_UP = [(1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")]
show_bytes = _printer(_UP, "B")
show_bandwidth = _printer(_UP, "B/s")
show_flops = _printer(_UP, "FLOP")
show_rate = _printer(_UP, "FLOP/s")
show_frequency = _printer(_UP, "Hz")
show_seconds = _printer([(1.0, ""), (1e-3, "m"), (1e-6, "u"), (1e-9, "n"), (1e-12, "p")], "s")


def show_least_bytes(size: int) -> str:
    """A size that is needed, as `show_bytes` prints it but rounded up: so much is enough."""
    step = 10 ** max(0, len(str(size)) - 4)
    return show_bytes(ceil_div(size, step) * step)


def show_ticks(ticks: int) -> str:
    """A time in ticks, printed in seconds with a prefix."""
    return show_seconds(ticks / TICKS_PER_SECOND)


def show_capacity(size: int) -> str:
    """A size in binary units when it is a round number of them, else in decimal ones."""
    for prefix in ("Ti", "Gi", "Mi", "Ki"):
        factor = _BINARY[prefix]
        if factor <= size < 1024 * factor and size * 4 % factor == 0:
            return f"{size / factor:g} {prefix}B"
    return show_bytes(size)
