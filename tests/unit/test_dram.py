"""DRAM timings and the closed forms that the model must equal."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from hiersim.errors import DesignError
from hiersim.model.dram import WRITE_MARKS, Access, achieved, refresh_ticks
from hiersim.model.dram_presets import PRESETS, dram_preset
from hiersim.model.dram_queues import RandomVisits, activation_ticks, queueing_ticks, row_cycle_ticks
from hiersim.model.dram_timings import DramTimings

PLAIN = DramTimings(
    title="round numbers", clock=1000, burst_bytes=64, burst=4000, pseudo_channels=1, command_buses=2,
    row_command=2000, column_command=1000, bank_groups=4, banks=4, ranks=1, row_bytes=1024, trcd=10000,
    trcd_write=10000, trp=10000, tras=30000, trtp=5000, tcl=10000, tcwl=8000, twr=15000, trrd=4000, tfaw=40000,
    tccd_s=4000, tccd_l=8000, tccd_l_write=8000, tccd_r=6000, twtr=3000, trtw=9000, trfc=300000, trefi=4000000,
    interleave=256, window=64,
)  # type: ignore[arg-type]  # fmt: skip
"""Activations are 10 ns apart (a quarter of tFAW), a burst takes 4 ns: runs below 2.5 bursts wait for activations."""


def changed(**values: Any) -> DramTimings:
    return dataclasses.replace(PLAIN, **values)


def run(size: int, **more: Any) -> Access:
    return Access(run=size, alignment=size, **more)  # type: ignore[arg-type]


def test_a_stream_loses_the_refresh_and_nothing_else() -> None:
    found = achieved(PLAIN)
    assert refresh_ticks(PLAIN) == 5000 + 10000 + 300000 + 10000 - 4000
    assert found.refresh == 1 - 321000 / 4000000
    assert found.factors() == {"refresh": found.refresh, "columns": 1, "turnaround": 1, "rows": 1, "sectors": 1}
    assert found.share == found.moved == found.refresh


def test_refresh_is_trfc_over_trefi_when_all_else_is_quick() -> None:
    quick = changed(trtp=1, trp=1, trcd=1, tccd_s=4000)
    assert achieved(quick).refresh == pytest.approx(1 - 300000 / 4000000, abs=2e-3)


ENDLESS = 10**9
"""A window in which something waits for every station."""


def test_random_bursts_run_at_the_rate_of_activations() -> None:
    found = achieved(changed(window=ENDLESS), run(64))
    assert activation_ticks(PLAIN) == 10000
    assert found.rows == pytest.approx(4000 / 10000, rel=1e-6)
    assert found.share == found.refresh * found.rows
    assert 0.95 * found.rows < achieved(PLAIN, run(64)).rows < found.rows


@pytest.mark.parametrize(
    ("values", "distance"),
    [
        ({"tfaw": 8000, "trrd": 6000}, 6000),  # tRRD
        ({"tfaw": 8000, "trrd": 1000, "row_command": 5000}, 5000),  # the row command bus
        ({"tfaw": 8000, "trrd": 1000, "row_command": 5000, "pseudo_channels": 2}, 10000),  # of two pseudo channels
        ({"tfaw": 8000, "trrd": 1000, "row_command": 5000, "command_buses": 1}, 6000),  # with the column commands
    ],
)
def test_what_else_sets_the_distance_of_activations(values: dict[str, int], distance: int) -> None:
    timings = changed(**values, window=ENDLESS)
    assert activation_ticks(timings) == distance
    assert achieved(timings, run(64)).rows == pytest.approx(4000 / distance, rel=1e-3)


def test_few_banks_limit_random_bursts_to_their_row_cycle() -> None:
    one = changed(bank_groups=1, banks=1, window=ENDLESS, tccd_l=4000)
    assert row_cycle_ticks(one, 1, False) == 30000 + 10000
    assert achieved(one, run(64)).rows == pytest.approx(4000 / 40000, rel=1e-3)
    assert row_cycle_ticks(one, 1, True) == 10000 + 8000 + 4000 + 15000 + 10000


def test_a_station_of_constant_service_makes_random_visits_wait() -> None:
    assert queueing_ticks(10, 20) == 5  # half used: half a service
    assert queueing_ticks(10, 1e9) == pytest.approx(0, abs=1e-6)
    assert queueing_ticks(10, 10) == math.inf


QUICK = {"trrd": 1, "tfaw": 4, "row_command": 1, "tccd_l": 1, "tccd_l_write": 1, "tccd_s": 4000}
"""No activation and no bank group makes anything wait."""


@pytest.mark.parametrize("window", [1, 4, 32, 200])
def test_random_bursts_keep_as_many_banks_busy_as_their_queues_say(window: int) -> None:
    """Only banks wait: u² ÷ 2(1 - u) of all 16, and precharges, make up the window."""
    slow = changed(**QUICK, tras=400000, burst=1, column_command=1)
    slow = dataclasses.replace(slow, tccd_s=1, window=window)  # type: ignore[arg-type]
    interval = RandomVisits(timings=slow, bursts=1.0, column=1.0, write=False).interval(window)
    used = (400000 + 10000) / 16 / interval
    assert 16 * used**2 / 2 / (1 - used) + 10000 / interval == pytest.approx(window, rel=1e-3)


MANY = {**QUICK, "banks": 10**6}
"""So many banks that no visit waits for its own."""


@pytest.mark.parametrize(
    ("values", "column", "busiest"),
    [
        ({}, 1, 10000),  # activations
        (MANY, 4000, 4000),  # the bus
        ({**QUICK, "tras": 190000}, 1, 200000 / 16),  # banks
        ({**MANY, "tccd_l_write": 80000}, 4000, 80000 / 4),  # bank groups
    ],
)
def test_an_endless_window_leaves_the_busiest_station(values: dict[str, int], column: float, busiest: float) -> None:
    visits = RandomVisits(timings=changed(**values), bursts=1.0, column=column, write=True)
    assert visits.least == busiest
    assert visits.interval(ENDLESS) == pytest.approx(busiest, rel=1e-4)
    assert visits.interval(4) > visits.interval(32) > busiest


def test_visits_that_wait_for_the_bus_hold_their_banks() -> None:
    """Sixteen banks cannot keep a bus busy that two of three visits wait for, however many wait outside."""
    few, many = (
        RandomVisits(timings=changed(**{**QUICK, "banks": banks}), bursts=1.0, column=4000.0, write=True)
        for banks in (4, 10**6)
    )
    assert few.interval(ENDLESS) > 1.02 * many.interval(ENDLESS)


def test_one_bank_in_a_group_waits_for_no_other() -> None:
    for banks in (1, 4):
        slow, quick = (
            RandomVisits(
                timings=changed(**{**QUICK, "banks": banks, "tccd_l_write": size, "tras": 90000 * banks}),
                bursts=1.0, column=4000.0, write=True,
            ).interval(8)
            for size in (15000, 4000)
        )  # fmt: skip
        assert (slow == quick) is (banks == 1)


def test_longer_recovery_slows_random_writes_and_no_reads() -> None:
    slow, plain = changed(twr=60000, window=16), changed(window=16)
    assert achieved(slow, run(256, write_share=1.0)).rows < 0.95 * achieved(plain, run(256, write_share=1.0)).rows
    assert achieved(slow, run(256)) == achieved(plain, run(256))


def test_bank_groups_hide_tccd_l_while_the_window_sees_enough_of_them() -> None:
    assert achieved(changed(tccd_l=8000)).columns == 1
    assert achieved(changed(bank_groups=1)).columns == 4000 / 8000
    assert achieved(changed(interleave=1024, window=16)).columns == 4000 / 8000  # the window sees one row


def test_ranks_cost_tccd_r_when_runs_alternate_between_them() -> None:
    two = changed(ranks=2)
    runs = 64 / 4  # in the window, of four bursts each
    distance = 4000 + (1 - 1 / 2) * runs / (1 + runs) * 2000
    assert achieved(two, run(256)).columns == pytest.approx(4000 / distance)
    assert achieved(two, run(256, write_share=1.0)).columns == 1  # tCCD_R keeps reads apart only
    assert achieved(two).columns == 1


def test_turnaround_is_paid_once_per_batch_of_writes() -> None:
    half = achieved(PLAIN, Access(write_share=0.5))
    pair = 9000 + (8000 + 4000 + 3000) - 2 * 4000
    bursts = ((WRITE_MARKS[1] - WRITE_MARKS[0]) * 64 + 1) / 0.5
    assert half.turnaround == pytest.approx(4000 / (4000 + pair / bursts))
    assert achieved(PLAIN, Access(write_share=1.0)).turnaround == 1
    assert achieved(PLAIN, Access(write_share=0.0)).turnaround == 1
    assert achieved(PLAIN, Access(write_share=1 - 1e-9)).turnaround == pytest.approx(1.0, abs=1e-6)


def test_short_runs_pay_whole_sectors() -> None:
    assert achieved(PLAIN, run(16)).sectors == 16 / 64
    assert achieved(PLAIN, run(16), sector=128).sectors == 16 / 128
    assert achieved(PLAIN, run(65)).sectors == 65 / 128
    assert achieved(PLAIN, run(64)).sectors == 1
    assert achieved(PLAIN, run(16)).moved == achieved(PLAIN, run(64)).moved


def test_close_places_share_their_sectors() -> None:
    assert achieved(PLAIN, run(16, stride=32)).sectors == 16 / 32
    assert achieved(PLAIN, run(16, stride=64)).sectors == 16 / 64
    assert achieved(PLAIN, run(16, stride=4096)).sectors == 16 / 64


def test_an_unaligned_run_touches_a_block_more_now_and_then() -> None:
    endless = changed(window=ENDLESS)
    aligned, free = achieved(endless, run(128)), achieved(endless, Access(run=128))  # type: ignore[arg-type]
    blocks = 1 + (128 - 64) / 256
    assert aligned.rows == pytest.approx(8000 / 10000, rel=1e-6)
    assert free.rows == pytest.approx(8000 / blocks / 10000, rel=1e-6)


def test_more_channels_spread_a_long_run_over_more_rows() -> None:
    rows = [achieved(PLAIN, run(4096), channels).rows for channels in (1, 4, 64)]
    assert rows == sorted(rows, reverse=True)
    assert rows[-1] == achieved(PLAIN, run(256)).rows  # never less than a block in each


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_are_complete_sound_and_sourced(name: str) -> None:
    preset = dram_preset(name)
    assert preset.timings.faults() == []
    names = {item.name for item in dataclasses.fields(DramTimings)}
    assert set(preset.sources) == names
    standards = ("JESD", "Samsung", "assumption:", "as in Ramulator", "Kaseridis")
    assert all(any(mark in text for mark in standards) for text in preset.sources.values())


RATES = {  # Gb/s and pin, pins of one (pseudo) channel: what the name promises
    "hbm2": (2.0, 64), "hbm2e": (3.2, 64), "hbm3": (6.4, 32), "hbm3e": (8.0, 32),
    "gddr6": (14.0, 16), "lpddr5": (6.4, 16), "ddr4": (3.2, 64), "ddr5": (4.8, 32),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_have_the_peak_of_their_pins(name: str) -> None:
    rate, pins = RATES[name]
    assert PRESETS[name].timings.bandwidth == pytest.approx(rate * 1e9 * pins / 8, rel=0.005)


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(DesignError) as caught:
        dram_preset("hbm33")
    assert str(caught.value).startswith("'hbm33' is not a DRAM preset (expected ")
    assert "hbm3" in str(caught.value.expected)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"burst": 0}, "burst"),
        ({"trefi": 200000}, "trefi"),
        ({"interleave": 32}, "interleave"),
        ({"interleave": 2048}, "interleave"),
        ({"tccd_s": 3000}, "tccd_s"),
        ({"window": 0}, "window"),
    ],
)
def test_timings_that_cannot_be_are_named(values: dict[str, int], name: str) -> None:
    assert name in changed(**values).faults()
    assert PLAIN.faults() == []


def test_nothing_is_ever_not_a_number() -> None:
    for share in (0.0, 0.3, 1.0):
        found = achieved(PLAIN, Access(run=1, write_share=share))  # type: ignore[arg-type]
        assert all(math.isfinite(value) and 0 < value <= 1 for value in found.factors().values())
