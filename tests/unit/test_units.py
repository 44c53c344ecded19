"""Quantities are read exactly, and everything that could mean two things is refused."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hiersim import units
from hiersim.errors import UnitError

DECIMAL = {"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "PB": 10**15}
BINARY = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
TIMES = {"s": 10**12, "ms": 10**9, "us": 10**6, "µs": 10**6, "ns": 10**3, "ps": 1}
RATES = {"FLOP/s": 1, "GFLOP/s": 10**9, "TFLOPS": 10**12, "TOP/s": 10**12, "POPS": 10**15}
FREQUENCIES = {"Hz": 1, "kHz": 10**3, "MHz": 10**6, "GHz": 10**9}


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        (units.Bytes, "80 GB", 80 * 10**9),
        (units.Bytes, "80 GiB", 80 * 2**30),
        (units.Bytes, "50MiB", 50 * 2**20),
        (units.Bytes, " 1.25 MB ", 1_250_000),
        (units.Bytes, "1_000 B", 1000),
        (units.Bytes, "0.1 kB", 100),
        (units.Bytes, "0 B", 0),
        (units.Ticks, "560 ns", 560_000),
        (units.Ticks, "4 us", 4 * 10**6),
        (units.Ticks, "4 µs", 4 * 10**6),
        (units.Ticks, "1 s", 10**12),
        (units.Ticks, ".5 ns", 500),
        (units.BytesPerSecond, "3.35 TB/s", 3_350 * 10**9),
        (units.BytesPerSecond, "900 GiB/s", 900 * 2**30),
        (units.BytesPerSecond, "unlimited", units.UNLIMITED),
        (units.FlopsPerSecond, "989.4 TFLOP/s", 9894 * 10**11),
        (units.FlopsPerSecond, "1979 TOPS", 1979 * 10**12),
        (units.FlopsPerSecond, " unlimited ", units.UNLIMITED),
        (units.Hertz, "1.83 GHz", 1830 * 10**6),
        (units.Count, 132, 132),
        (units.Count, "132", 132),
        (units.Count, 4.0, 4),
        (units.Share, 0.92, 0.92),
        (units.Share, "92 %", 0.92),
        (units.Share, 1, 1.0),
        (units.UsdPerGB, "12 $/GB", 12.0),
        (units.UsdPerGB, "12 USD/GB", 12.0),
        (units.UsdPerGB, "3000 $/TB", 3.0),
        (units.UsdPerGB, "0.3 $/MB", 300.0),
        (units.PicojoulesPerByte, "3.92 pJ/bit", 31.36),
        (units.PicojoulesPerByte, "31 pJ/B", 31.0),
        (units.PicojoulesPerFlop, "0.6 pJ/FLOP", 0.6),
        (units.PicojoulesPerFlop, "600 fJ/FLOP", 0.6),
    ],
)
def test_a_quantity_is_read_in_its_base_unit(kind: object, text: object, expected: float) -> None:
    value = units.parse(kind, text)
    assert value == expected
    assert type(value) is type(expected)


def test_gb_is_decimal_and_gib_is_binary() -> None:
    assert units.parse(units.Bytes, "1 GB") == 1_000_000_000
    assert units.parse(units.Bytes, "1 GiB") == 1_073_741_824
    assert units.parse(units.BytesPerSecond, "1 GiB/s") - units.parse(units.BytesPerSecond, "1 GB/s") == 73_741_824
    assert units.parse(units.UsdPerGB, "1 $/GiB") == pytest.approx(10**9 / 2**30)


@given(number=st.integers(0, 10**6), unit=st.sampled_from(sorted(DECIMAL | BINARY)))
def test_sizes_are_exact(number: int, unit: str) -> None:
    if number * (DECIMAL | BINARY)[unit] <= units.LARGEST:
        assert units.parse(units.Bytes, f"{number} {unit}") == number * (DECIMAL | BINARY)[unit]


@given(thousandths=st.integers(1, 10**9), unit=st.sampled_from(sorted(TIMES)))
def test_times_are_exact_to_the_tick(thousandths: int, unit: str) -> None:
    exact = Fraction(thousandths * TIMES[unit], 1000)
    text = f"{thousandths // 1000}.{thousandths % 1000:03d} {unit}"
    if round(exact) == 0:
        with pytest.raises(UnitError, match="smaller than one ps"):
            units.parse(units.Ticks, text)
    else:
        assert units.parse(units.Ticks, text) == round(exact)


@given(tenths=st.integers(10, 10**4), unit=st.sampled_from(sorted(RATES)))
def test_compute_rates_are_exact(tenths: int, unit: str) -> None:
    value = units.parse(units.FlopsPerSecond, f"{tenths / 10} {unit}")
    assert value == round(Fraction(tenths, 10) * RATES[unit])


@given(number=st.integers(1, units.LARGEST))
def test_a_number_in_base_units_comes_back_unchanged(number: int) -> None:
    assert units.parse(units.Bytes, f"{number} B") == number
    assert units.parse(units.Ticks, f"{number} ps") == number
    assert units.parse(units.BytesPerSecond, f"{number} B/s") == number
    assert units.parse(units.Hertz, f"{number} Hz") == number


@given(number=st.integers(1, units.LARGEST - 2**52))
def test_what_is_printed_is_read_back_to_four_digits(number: int) -> None:
    for kind, show in (
        (units.Bytes, units.show_bytes),
        (units.BytesPerSecond, units.show_bandwidth),
        (units.FlopsPerSecond, units.show_rate),
        (units.Hertz, units.show_frequency),
        (units.Ticks, units.show_ticks),
    ):
        assert units.parse(kind, show(number)) == pytest.approx(number, rel=6e-4), show(number)


@given(st.integers(0, 10**18))
def test_a_size_that_is_enough_is_printed_rounded_up(size: int) -> None:
    assert size <= units.parse(units.Bytes, units.show_least_bytes(size)) <= size + size // 1000


@given(quarters=st.integers(1, 4000), unit=st.sampled_from(sorted(BINARY)))
def test_a_round_capacity_is_printed_exactly(quarters: int, unit: str) -> None:
    size = quarters * BINARY[unit] // 4
    assert units.parse(units.Bytes, units.show_capacity(size)) == pytest.approx(size, rel=6e-4)
    if quarters % 4 == 0 and quarters < 4000:
        assert units.parse(units.Bytes, units.show_capacity(size)) == size


def test_printing_uses_the_prefix_that_reads_best() -> None:
    assert units.show_bytes(80 * 10**9) == "80 GB"
    assert units.show_capacity(50 * 2**20) == "50 MiB"
    assert units.show_capacity(227 * 2**10) == "227 KiB"
    assert units.show_capacity(80 * 10**9) == "80 GB"
    assert units.show_capacity(4 * 10**6) == "4 MB"
    assert units.show_bandwidth(3_350_000_000_000) == "3.35 TB/s"
    assert units.show_bandwidth(units.UNLIMITED) == "unlimited"
    assert units.show_rate(989_400_000_000_000) == "989.4 TFLOP/s"
    assert units.show_ticks(560_000) == "560 ns"
    assert units.show_ticks(999_960) == "1 us"
    assert units.show_ticks(0) == "0 s"


REFUSED = [
    (units.Bytes, "80", "has no unit", "'80 GB'"),
    (units.Bytes, 80, "has no unit", "'80 GB'"),
    (units.Bytes, 80e9, "has no unit", "'80 GB'"),
    (units.Bytes, "80 Gb", "'b' may mean bits", "size"),
    (units.Bytes, "80 Gib", "'b' may mean bits", "size"),
    (units.Bytes, "80 Gbit", "not bits", "size"),
    (units.Bytes, "80 gb", "is not a unit of a size", "size"),
    (units.Bytes, "80 GB/s", "is not a unit of a size", "size"),
    (units.Bytes, "80 GHz", "is not a unit of a size", "size"),
    (units.Bytes, "-80 GB", "is negative", "size"),
    (units.Bytes, "80,5 GB", "is not a unit of a size", "size"),
    (units.Bytes, "GB", "is not a size", "size"),
    (units.Bytes, "", "is not a size", "size"),
    (units.Bytes, "nan GB", "is not a size", "size"),
    (units.Bytes, "inf GB", "is not a size", "size"),
    (units.Bytes, "0x10 GB", "is not a unit of a size", "size"),
    (units.Bytes, "٣ GB", "is not a size", "size"),
    (units.Bytes, "1/3 GB", "is not a unit of a size", "size"),
    (units.Bytes, "unlimited", "is not a size", "size"),
    (units.Bytes, "0.4 B", "is smaller than one B", "size"),
    (units.Bytes, "5 EB", "is too large", "at most"),
    (units.Bytes, "1e999 GB", "is too large", "at most"),
    (units.Bytes, "9" * 65, "is too long", "size"),
    (units.Bytes, None, "None is not a size", "size"),
    (units.Bytes, True, "True is not a size", "size"),
    (units.Bytes, [80], "list is not a size", "size"),
    (units.Bytes, {}, "dict is not a size", "size"),
    (units.Bytes, b"80 GB", "bytes is not a size", "size"),
    (units.Ticks, "4", "has no unit", "'560 ns'"),
    (units.Ticks, "4 m", "is not a unit of a time", "time"),
    (units.Ticks, "4 Ms", "is not a unit of a time", "time"),
    (units.Ticks, "-1 ns", "is negative", "time"),
    (units.Ticks, "0.1 ps", "is smaller than one ps", "time"),
    (units.BytesPerSecond, "3.35 TB", "is not a unit of a bandwidth", "'unlimited'"),
    (units.BytesPerSecond, "400 Gbps", "'b' may mean bits", "bandwidth"),
    (units.BytesPerSecond, "400 Gb/s", "'b' may mean bits", "bandwidth"),
    (units.BytesPerSecond, "6.4 GT/s", "is not a unit of a bandwidth", "bandwidth"),
    (units.BytesPerSecond, "0 B/s", "is too small", "at least 1 B/s"),
    (units.BytesPerSecond, "infinite", "is not a bandwidth", "bandwidth"),
    (units.FlopsPerSecond, "312 TF", "is not a unit of a compute rate", "rate"),
    (units.FlopsPerSecond, "312 TFLOP", "is not a unit of a compute rate", "rate"),
    (units.FlopsPerSecond, "312 tflops", "is not a unit of a compute rate", "rate"),
    (units.Hertz, "1.4", "has no unit", "'1.83 GHz'"),
    (units.Hertz, "0 Hz", "is too small", "at least 1 Hz"),
    (units.Count, 2.5, "is not a whole number", "whole number"),
    (units.Count, 0, "is too small", "at least 1"),
    (units.Count, -1, "is negative", "whole number"),
    (units.Count, 10**10, "is too large", "at most"),
    (units.Count, float("nan"), "is not a finite number", "whole number"),
    (units.Count, float("inf"), "is not a finite number", "whole number"),
    (units.Count, "two", "is not a count", "whole number"),
    (units.Count, "2 cores", "is not a unit of a count", "whole number"),
    (units.Share, 0, "is not above zero", "above 0"),
    (units.Share, 1.01, "is too large", "at most 1"),
    (units.Share, "101 %", "is too large", "at most 1"),
    (units.Share, float("nan"), "is not a finite number", "above 0"),
    (units.UsdPerGB, "12", "has no unit", "$/GB"),
    (units.UsdPerGB, "12 €/GB", "is not a unit of a price", "$/GB"),
    (units.UsdPerGB, "12 $", "is not a unit of a price", "$/GB"),
    (units.UsdPerGB, "-12 $/GB", "is negative", "$/GB"),
    (units.PicojoulesPerByte, "31 pJ", "is not a unit of an energy per byte", "pJ/B"),
    (units.PicojoulesPerFlop, "0.6 J/FLOP", "is not a unit of an energy per operation", "pJ/FLOP"),
]


@pytest.mark.parametrize(("kind", "text", "problem", "expected"), REFUSED, ids=lambda part: str(part)[:24])
def test_a_doubtful_quantity_is_refused_with_a_hint(kind: object, text: object, problem: str, expected: str) -> None:
    with pytest.raises(UnitError) as caught:
        units.parse(kind, text)
    assert problem in caught.value.problem
    assert expected in str(caught.value.expected)
    assert "\n" not in str(caught.value)


@given(text=st.text(max_size=80), kind=st.sampled_from(list(units.QUANTITIES)))
def test_any_text_is_a_quantity_or_a_unit_error(text: str, kind: object) -> None:
    try:
        value = units.parse(kind, text)
    except UnitError as error:
        assert "\n" not in str(error)
    else:
        assert 0 <= value <= units.UNLIMITED


def test_a_factor_multiplies_the_present_value() -> None:
    assert units.parse_change(units.Bytes, "2x", 50 * 2**20) == 100 * 2**20
    assert units.parse_change(units.BytesPerSecond, "0.5x", 3_350_000_000_000) == 1_675_000_000_000
    assert units.parse_change(units.Bytes, "1.5 ×", 100) == 150
    assert units.parse_change(units.Share, "0.5x", 0.9) == 0.45
    assert units.parse_change(units.Count, "2x", 132) == 264
    assert units.parse_change(units.Bytes, "7 MiB", 5) == 7 * 2**20


@pytest.mark.parametrize(
    ("kind", "text", "present", "problem"),
    [
        (units.Bytes, "2x", None, "needs a present value"),
        (units.BytesPerSecond, "2x", units.UNLIMITED, "needs a present value"),
        (units.Count, "0.5x", 5, "is not a whole number"),
        (units.Count, "0x", 5, "is too small"),
        (units.Share, "2x", 0.9, "is too large"),
        (units.Share, "0x", 0.9, "is not above zero"),
        (units.Bytes, "-2x", 5, "is not a unit of a size"),
        (units.Bytes, "9999999999x", 2**60, "is too large"),
        (units.Bytes, "1" * 65 + "x", 5, "is too long"),
    ],
)
def test_a_senseless_factor_is_refused(kind: object, text: str, present: float | None, problem: str) -> None:
    with pytest.raises(UnitError, match=problem):
        units.parse_change(kind, text, present)


@given(amount=st.integers(1, 2**62), per_second=st.integers(1, 2**62))
def test_a_service_takes_the_fewest_ticks_that_suffice(amount: int, per_second: int) -> None:
    ticks = units.service_ticks(amount, per_second)
    assert ticks * per_second >= amount * units.TICKS_PER_SECOND > (ticks - 1) * per_second
    assert ticks >= 1


def test_a_service_at_an_unlimited_rate_or_of_nothing_takes_no_time() -> None:
    assert units.service_ticks(10**12, units.UNLIMITED) == 0
    assert units.service_ticks(0, 1) == 0
    assert units.service_ticks(40 * 2**20, 819_200_000_000) == 51_200_000


@given(numerator=st.integers(-(10**30), 10**30), denominator=st.integers(1, 10**20))
def test_division_rounds_up(numerator: int, denominator: int) -> None:
    assert units.ceil_div(numerator, denominator) == math.ceil(Fraction(numerator, denominator))
