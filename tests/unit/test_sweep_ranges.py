"""Values of an axis: lists, ranges and spaces, exact."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hiersim as hs
from hiersim.errors import UnitError
from hiersim.sweeps.grid import Axis
from hiersim.sweeps.ranges import listed
from hiersim.units import Bytes, BytesPerSecond, parse
from hiersim.views.sweeps import axis_labels


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("10MiB,20MiB , 40MiB", ["10MiB", "20MiB", "40MiB"]),
        ("1MiB..8MiB*2", ["1 MiB", "2 MiB", "4 MiB", "8 MiB"]),
        ("1MiB..7MiB*2", ["1 MiB", "2 MiB", "4 MiB"]),
        ("1TB/s..2.5TB/s+0.5TB/s", ["1 TB/s", "1.5 TB/s", "2 TB/s", "2.5 TB/s"]),
        ("1GB/s..1.001GB/s+500kB/s", ["1 GB/s", "1.0005 GB/s", "1.001 GB/s"]),
        ("512KiB..1MiB*2", ["512 KiB", "1024 KiB"]),
        ("0.5x..2x*2", ["0.5x", "1x", "2x"]),
        ("1..8*2,9", ["1", "2", "4", "8", "9"]),
        ("1e3B..3e+3B+1e+3B", ["1000 B", "2000 B", "3000 B"]),
        ("0.1..0.4+0.1", ["0.1", "0.2", "0.3", "0.4"]),
    ],
)
def test_texts_stand_for_values(text: str, values: list[str]) -> None:
    assert listed(text) == values


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1MiB..", "no step"),
        ("1MiB..2MiB", "no step"),
        ("2MiB..1MiB*2", "empty"),
        ("2MiB..1MiB+1MiB", "empty"),
        ("0B..1MiB*2", "empty"),
        ("1MiB..1TB/s*2", "mixes 'MiB' and 'TB/s'"),
        ("1MiB..4MiB+1", "mixes 'MiB' and a bare number"),
        ("1MiB..4MiB*1", "does not grow"),
        ("1MiB..4MiB*2x", "does not grow"),
        ("1MiB..4MiB+0MiB", "does not grow"),
        ("1MiB,,2MiB", "empty value"),
        ("1Mib..2Mib*2", "not a unit"),
        ("one..two*2", "not a number"),
        ("1B..1EB+1B", "too many"),
        ("1B..1EB*1.000001", "too many"),
    ],
)
def test_a_range_that_is_none_is_refused(text: str, problem: str) -> None:
    with pytest.raises(UnitError, match=problem):
        listed(text)


def test_spaces_are_exact_and_keep_their_ends() -> None:
    assert hs.geomspace("1 MiB", "1 GiB", 11) == [f"{2**power} MiB" for power in range(11)]
    assert hs.geomspace("8 MiB", "1 MiB", 4) == ["8 MiB", "4 MiB", "2 MiB", "1 MiB"]
    assert hs.geomspace(1, 1000, 4) == [1, 10, 100, 1000]
    assert hs.linspace("1 TB/s", "8 TB/s", 3) == ["1 TB/s", "4.5 TB/s", "8 TB/s"]
    assert hs.linspace(1, 2, 5) == [1, 1.25, 1.5, 1.75, 2]
    assert hs.logspace(0, 10, 6, base=2, unit="MiB") == ["1 MiB", "4 MiB", "16 MiB", "64 MiB", "256 MiB", "1024 MiB"]
    assert hs.logspace(0, 3, 4) == [1, 10, 100, 1000]


@pytest.mark.parametrize(
    "call",
    [
        lambda: hs.geomspace("1 MiB", "1 GiB", 1),
        lambda: hs.geomspace("0 B", "1 GiB", 3),
        lambda: hs.geomspace("1 MiB", "1 MiB", 3),
        lambda: hs.linspace("1 MiB", "1 TB/s", 3),
        lambda: hs.linspace("1 MiB", "2", 3),
        lambda: hs.linspace("many", "more", 3),
    ],
)
def test_a_space_that_is_none_is_refused(call: object) -> None:
    with pytest.raises(UnitError):
        call()  # type: ignore[operator]


@given(st.integers(1, 10**15), st.integers(1, 10**15), st.integers(2, 40))
def test_a_geometric_space_is_rounded_to_the_nearest_byte(low: int, high: int, num: int) -> None:
    if low == high:
        high += 1
    values = [int(parse(Bytes, value)) for value in hs.geomspace(f"{low} B", f"{high} B", num)]
    assert (values[0], values[-1], len(values)) == (low, high, num)
    for index, value in enumerate(values):
        power = num - 1
        exact = low ** (power - index) * high**index  # = value ** power, before rounding
        assert (2 * value - 1) ** power <= exact * 2**power <= (2 * value + 1) ** power


@given(st.integers(1, 10**6), st.integers(1, 10**4), st.integers(1, 200))
def test_an_arithmetic_range_counts_without_error(start: int, step: int, count: int) -> None:
    text = f"{start / 1000:.3f}GB/s..{(start + step * count) / 1000:.3f}GB/s+{step}MB/s"
    values = [parse(BytesPerSecond, value) for value in listed(text)]
    assert values == [(start + step * index) * 10**6 for index in range(count + 1)]


def test_a_long_geometric_range_does_not_drift() -> None:
    values = [int(parse(Bytes, value)) for value in listed("1MiB..16MiB*1.001")]
    assert len(values) == 2774  # 1.001 ** 2773 < 16 < 1.001 ** 2774
    for index in (0, 1, 100, 1000, 2773):
        exact = 2**20 * 1001**index
        assert abs(2 * values[index] * 1000**index - 2 * exact) <= 1000**index


@pytest.mark.parametrize(
    ("given", "values", "shown"),
    [
        (("7812500 B", "1 MiB"), (7812500, 1048576), ("7.812 MB", "1 MiB")),
        (("7812600 B", "7812700 B"), (7812600, 7812700), ("7812600 B", "7812700 B")),
        (("0.5x", "2x"), (0.5, 2.0), ("0.5x", "2x")),
    ],
)
def test_tables_round_what_ranges_wrote_where_it_stays_apart(
    given: tuple[str, ...], values: tuple[float, ...], shown: tuple[str, ...]
) -> None:
    assert axis_labels(Axis(name="memory.l2.capacity", given=given, values=values, unit="B")) == shown
