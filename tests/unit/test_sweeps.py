"""A sweep as a value: its points, its rows, its files, and what other tools read in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hiersim as hs
from hiersim.errors import HiersimError
from hiersim.model.metrics import METRICS
from hiersim.sweeps.rows import word_of

RELU = str(Path(__file__).parents[2] / "docs" / "examples" / "relu.jsonl")
L2, HBM = "memory.l2.capacity", "memory.hbm.bandwidth"


@pytest.fixture(scope="module")
def swept() -> hs.Sweep:
    """3 L2 sizes, 2 bandwidths."""
    return hs.sweep(RELU, "tiny", vary={L2: "1MiB..4MiB*2", HBM: ["100 GB/s", "200 GB/s"]}, workers=1)


@pytest.fixture(scope="module")
def partly() -> hs.Sweep:
    """Points of which the first does not fit."""
    return hs.sweep(RELU, "tiny", vary={"memory.hbm.capacity": ["1 KiB", "1 GB"]}, workers=1)


def test_every_row_is_what_simulate_says(swept: hs.Sweep) -> None:
    trace = hs.load_trace(RELU)
    for row, point in zip(swept.rows, swept.points, strict=True):
        changes = {name: value for name, value in swept.grid.given(int(point)).items() if "." in name}
        result = hs.simulate(trace, hs.load_design("tiny").replace(changes))
        assert row == {**result.to_dict(), "set": changes}
    assert len(swept) == 6


@pytest.mark.parametrize(
    ("trace", "design", "fusion"),
    [("llama3-70b-decode", "h100-sxm", "eager"), ("resnet50-infer", "tpu-v4", "inductor")],
    ids=["spilled", "planned"],
)
def test_rows_lose_nothing_of_large_results(trace: str, design: str, fusion: str) -> None:
    found = hs.sweep(trace, design, fusion, workers=1)
    expected = hs.simulate(hs.load_trace(trace), hs.load_design(design), fusion).to_dict()
    assert json.dumps(found.rows[0], sort_keys=True) == json.dumps(expected, sort_keys=True)


def test_points_are_in_the_order_of_the_axes(swept: hs.Sweep) -> None:
    assert [axis.name for axis in swept.axes] == ["trace", "design", "fusion", L2, HBM]
    assert swept.values(L2).tolist() == [2**20] * 2 + [2**21] * 2 + [2**22] * 2
    assert swept.values(HBM).tolist() == [10**11, 2 * 10**11] * 3
    assert swept.unit(L2) == "B"


def test_a_point_that_does_not_fit_is_a_row_that_says_so(partly: hs.Sweep) -> None:
    lost, fine = partly.rows
    assert lost["error_class"] == "CapacityError"
    assert "missing" in lost["error"]
    assert "time_s" not in lost
    assert "error" not in fine
    assert np.isnan(partly.values("time")[0])
    assert partly.values("time")[1] > 0
    assert len(partly.failed) == 1
    assert "1 could not be run" in repr(partly)


def test_select_takes_values_as_written_and_in_any_unit(swept: hs.Sweep) -> None:
    assert len(swept.select({L2: "2 MiB"})) == 2
    assert len(swept.select({L2: 2**21})) == 2
    assert len(swept.select({L2: "2048 KiB", HBM: "0.1 TB/s"})) == 1
    assert len(swept.select({L2: ["1 MiB", "4 MiB"]}, fusion="eager")) == 4
    for where, problem in (({L2: "3 MiB"}, "no value of this axis"), ({"memory.l3.capacity": 1}, "not an axis")):
        with pytest.raises(HiersimError, match=problem):
            swept.select(where)


def test_columns_have_short_names_and_directions(swept: hs.Sweep) -> None:
    assert swept.name("time") == "time_s"
    assert swept.name("memory_cost") == "memory_cost_usd.total"
    assert swept.better("time") == "lower"
    assert swept.better("utilization") == "higher"
    assert swept.better(L2) == ""
    read, write = swept.values("traffic_bytes.hbm.read"), swept.values("traffic_bytes.hbm.write")
    assert (swept.values("traffic_bytes.hbm") == read + write).all()
    for word, problem in (("tine_s", "not a column"), ("ledger", "several columns")):
        with pytest.raises(HiersimError, match=problem):
            swept.values(word)


def test_the_front_of_time_and_price(swept: hs.Sweep) -> None:
    front = swept.pareto("time", "memory_cost")
    best = [
        row for row in range(6)
        if not any(
            swept.values("time")[other] <= swept.values("time")[row]
            and swept.values("memory_cost")[other] <= swept.values("memory_cost")[row]
            and (swept.values("time")[other], swept.values("memory_cost")[other])
            != (swept.values("time")[row], swept.values("memory_cost")[row])
            for other in range(6)
        )
    ]  # fmt: skip
    assert front.points.tolist() == best
    assert len(swept.pareto("time", f"{L2}:higher")) == 1
    for objectives, problem in (((), "objectives"), ((L2,), "no better way"), (("time:down",), "no direction")):
        with pytest.raises(HiersimError, match=problem):
            swept.pareto(*objectives)


def test_nothing_of_a_sweep_can_be_changed(swept: hs.Sweep) -> None:
    with pytest.raises(ValueError, match="read-only"):
        swept.columns["time_s"][0] = 0


def test_xarray_has_labelled_axes_and_units(swept: hs.Sweep, partly: hs.Sweep) -> None:
    pytest.importorskip("xarray")
    found = swept.to_xarray()
    assert dict(found.sizes) == {L2: 3, HBM: 2}
    assert found[L2].attrs["units"] == "B"
    assert found.time_s.attrs["units"] == "s"
    assert found.fusion.item() == "eager"
    at = found.time_s.sel({L2: 2**21, HBM: 2 * 10**11}).item()
    assert at == swept.select({L2: "2 MiB", HBM: "200 GB/s"}).values("time")[0]
    assert found.makespan_ticks.dtype == np.int64
    assert np.isnan(partly.to_xarray().time_s.values[0])
    front = swept.pareto("time").to_xarray()
    assert "time_s" in front


def test_pandas_has_a_row_per_point(swept: hs.Sweep, partly: hs.Sweep) -> None:
    pytest.importorskip("pandas")
    frame = swept.to_pandas()
    assert list(frame.columns) == list(swept.columns)
    assert frame[L2].tolist() == swept.values(L2).tolist()
    assert str(partly.to_pandas()["makespan_ticks"].dtype) == "Int64"
    assert partly.to_pandas()["makespan_ticks"].isna().tolist() == [True, False]


def test_one_file_is_read_by_everybody(swept: hs.Sweep, partly: hs.Sweep, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    pandas = pytest.importorskip("pandas")
    file = tmp_path / "sweep.parquet"
    partly.to_parquet(file)
    frame = pandas.read_parquet(file)
    assert frame["memory.hbm.capacity"].tolist() == [1024, 10**9]
    assert frame["error"].notna().tolist() == [True, False]
    schema = parquet.read_schema(file)
    assert schema.field("time_s").metadata[b"unit"] == b"s"
    assert schema.field("memory.hbm.capacity").metadata == {b"unit": b"B", b"axis": b"true"}
    about = json.loads(schema.metadata[b"hiersim"])
    assert about["engine"] == "compiled"
    assert set(about["traces"]) == {"relu"}
    again = hs.load_sweep(file)
    assert again.parquet() == partly.parquet() == file.read_bytes()
    assert again.rows == partly.rows
    assert swept.parquet() == swept.parquet()


def test_polars_and_duckdb_read_the_file(swept: hs.Sweep, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    file = tmp_path / "sweep.parquet"
    swept.to_parquet(file)
    polars, duckdb = pytest.importorskip("polars"), pytest.importorskip("duckdb")
    assert polars.read_parquet(file)[L2].to_list() == swept.values(L2).tolist()
    query = f"select max(time_s), count(*) from '{file}' where \"{L2}\" >= 2097152"
    assert duckdb.sql(query).fetchall() == [(float(swept.values("time")[2:].max()), 4)]


def test_netcdf_and_csv(swept: hs.Sweep, tmp_path: Path) -> None:
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    swept.to_netcdf(tmp_path / "sweep.nc")
    with xarray.open_dataset(tmp_path / "sweep.nc") as found:
        assert dict(found.sizes) == {L2: 3, HBM: 2}
        assert found.time_s.values.ravel().tolist() == swept.values("time").tolist()
    swept.to_csv(tmp_path / "sweep.csv")
    lines = (tmp_path / "sweep.csv").read_text().splitlines()
    assert len(lines) == 7
    assert lines[0].split(",")[:5] == ["point", "trace", "design", "fusion", L2]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sweep.csv", "sweep.nc"]


def test_every_column_is_in_the_glossary(swept: hs.Sweep) -> None:
    axes = {axis.name for axis in swept.axes}
    for name in swept.columns:
        assert name in axes or word_of(name) in METRICS, name


def test_policy_workload_and_design_are_varied_together() -> None:
    vary: dict[Any, Any] = {
        ("batch", HBM): [(1, "1x"), (8, "2x")], "weights": ["bf16", "fp8"], "fusion": ["inductor", "eager"],
        "launch": ["stream"],
    }  # fmt: skip
    found = hs.sweep("llama3-8b-decode", "h100-sxm", vary=vary, workers=1)
    assert found.grid.shape == (1, 2, 2, 1, 2, 1)
    assert len(found.failed) == 0
    trace = hs.variant(hs.load_trace("llama3-8b-decode"), weights="fp8", batch=8)
    design = hs.load_design("h100-sxm").replace({HBM: "2x"})
    one = found.select({"batch": 8, "weights": "fp8", "fusion": "inductor"})
    assert one.values("makespan_ticks").tolist() == [hs.simulate(trace, design, "inductor").makespan]
    assert one.rows[0]["workload"] == {"batch": 8, "weights": "fp8"}
    plain = found.select(batch=1, weights="bf16", fusion="eager")
    assert plain.values("result.trace").tolist() == ["llama3-8b-decode[batch=1]"]


def test_several_traces_and_designs(tmp_path: Path) -> None:
    wide = hs.load_design("tiny").replace({HBM: "200 GB/s", "name": "wide"})
    found = hs.sweep([RELU, "resnet50-infer"], ["tiny", wide], vary={L2: [2**20, 2**21]}, workers=1)
    assert found.grid.shape == (2, 2, 1, 2)
    assert found.select(trace="relu", design="wide").values(L2).tolist() == [2**20, 2**21]
    with pytest.raises(HiersimError, match="two are named 'tiny'"):
        hs.sweep(RELU, [hs.load_design("tiny"), hs.load_design("tiny")])
