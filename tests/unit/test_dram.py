"""DRAM timings and the closed forms that the model must equal."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from hiersim.errors import DesignError
from hiersim.model.dram import (
    WRITE_BATCH,
    Access,
    DramTimings,
    achieved,
    activation_ticks,
    busy_banks,
    busy_share,
    refresh_ticks,
    row_cycle_ticks,
)
from hiersim.model.dram_presets import PRESETS, dram_preset

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


def test_random_bursts_run_at_the_rate_of_activations() -> None:
    found = achieved(PLAIN, run(64))
    assert activation_ticks(PLAIN) == 10000
    assert found.rows == pytest.approx(4000 / 10000, rel=1e-6)
    assert found.share == found.refresh * found.rows


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
    timings = changed(**values)
    assert activation_ticks(timings) == distance
    assert achieved(timings, run(64)).rows == pytest.approx(4000 / distance, rel=1e-3)


def test_few_banks_limit_random_bursts_to_their_row_cycle() -> None:
    one = changed(bank_groups=1, banks=1, window=10**9, tccd_l=4000)
    assert row_cycle_ticks(one, 1, 0.0) == 30000 + 10000
    assert achieved(one, run(64)).rows == pytest.approx(4000 / 40000, rel=1e-3)
    assert row_cycle_ticks(one, 1, 1.0) == 10000 + 8000 + 4000 + 15000 + 10000


def test_busy_banks_solve_the_queue_that_they_are() -> None:
    for waiting in (0.5, 4.0, 32.0):
        each = busy_banks(16, waiting) / 16
        assert each**2 / (2 * (1 - each)) == pytest.approx(waiting / 16)
    assert busy_banks(16, 1e9) == pytest.approx(16, rel=1e-6)


def test_two_stations_share_their_jobs() -> None:
    assert busy_share(1.0, 8) == 8 / 9
    assert busy_share(1 - 1e-9, 8) == pytest.approx(8 / 9, rel=1e-6)
    assert busy_share(0.5, 1) == pytest.approx(1 / 1.5)  # one job: the slower station serves 1 of 1.5
    assert busy_share(0.5, 200) == pytest.approx(1.0)


def test_bank_groups_hide_tccd_l_while_the_window_sees_enough_of_them() -> None:
    assert achieved(changed(tccd_l=8000)).columns == 1
    assert achieved(changed(bank_groups=1)).columns == 4000 / 8000
    assert achieved(changed(interleave=1024, window=16)).columns == 4000 / 8000  # the window sees one row


def test_ranks_cost_tccd_r_when_runs_alternate_between_them() -> None:
    two = changed(ranks=2)
    runs = 64 / 4  # in the window, of four bursts each
    distance = 4000 + (1 - 1 / 2) * runs / (1 + runs) * 2000
    assert achieved(two, run(256)).columns == pytest.approx(4000 / distance)
    assert achieved(two).columns == 1


def test_turnaround_is_paid_once_per_batch_of_writes() -> None:
    half = achieved(PLAIN, Access(write_share=0.5))
    pair = 9000 + (8000 + 4000 + 3000) - 2 * 4000
    bursts = (WRITE_BATCH * 64 + 1) / 0.5
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
    aligned, free = achieved(PLAIN, run(128)), achieved(PLAIN, Access(run=128))  # type: ignore[arg-type]
    blocks = 1 + (128 - 64) / 256
    assert aligned.rows == pytest.approx(8000 / 10000, rel=0.03)
    assert free.rows == pytest.approx(8000 / blocks / 10000, rel=0.03)


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
