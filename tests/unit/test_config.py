"""A design file becomes one checked value: inheritance, what-if changes, and all faults at once."""

from __future__ import annotations

import dataclasses
import json
import pickle
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from hiersim import bundled, units
from hiersim.config import bundled_files, schema
from hiersim.config.document import parse_document, parse_quickly, read_document, walk
from hiersim.config.load import MAX_EXTENDS, design_of, load_design, merge, read_extended, resolve, valid_keys
from hiersim.config.pricing import priced
from hiersim.errors import DesignError
from hiersim.model import compute
from hiersim.model import design as value
from hiersim.model.constants import SOURCES, Constants
from hiersim.model.design import Arbitration, Design, Management, Replacement, Scope, Start
from hiersim.model.design_changes import field_types
from hiersim.model.operators import DType

ROOT = Path(__file__).parents[2]

FULL = """\
name: base
title: A base with three tiers
compute:
  cores: 4
  clock: 1 GHz
  matrix:
    tile: [16, 8, 16]
    peak: {fp16: 2 TFLOP/s, fp32: 1 TFLOP/s}
    stand_in: {bf16: fp16}
  vector:
    peak: {fp32: 100 GFLOP/s}
    special: 10 GOP/s
memory:
  smem: {scope: core, management: scratchpad, capacity: 64 KiB}
  l2: {scope: shared, management: cache, capacity: 1 MiB, bandwidth: 200 GB/s}
  hbm: {scope: shared, management: scratchpad, capacity: 1 GB, bandwidth: 100 GB/s, latency: 400 ns}
references:
  sheet: "A data sheet, 2024"
sources:
  compute: sheet
  memory.l2: measured
"""
L3 = "{scope: shared, management: cache, capacity: 8 MiB, bandwidth: 150 GB/s}"
SSD = "{scope: shared, management: scratchpad, capacity: 1 TB, bandwidth: 7 GB/s}"


OURS = (*bundled.designs().values(), *sorted(bundled.prices().glob("*.yaml")))


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.stem)
def test_libyaml_reads_our_files_as_ruamel_does(path: Path) -> None:
    """Values, their order and their lines: so that it does not matter which of the two is there."""
    text = path.read_text()
    found, wanted = parse_quickly(text, path.name), parse_document(text, path.name)
    assert bundled.is_bundled(path)
    assert found is not None and found.bundled and not wanted.bundled
    assert dataclasses.replace(found, bundled=False) == wanted
    assert json.dumps(found.data) == json.dumps(wanted.data)


@pytest.mark.parametrize("name", bundled.designs())
def test_our_designs_are_read_alike_with_and_without_the_validator(name: str) -> None:
    """Every value and its type."""
    document = read_extended(resolve(name), ())
    found, wanted = bundled_files.design(document.data), design_of(dataclasses.replace(document, bundled=False))
    assert document.bundled
    assert found.checked() == found
    assert repr(dataclasses.asdict(priced(found))) == repr(dataclasses.asdict(wanted))


@pytest.mark.parametrize(
    ("old", "new"),
    [("cores: 4", "cores: 0"), ("cores: 4", "cors: 4"), ("capacity: 1 MiB", "capacity: 1 MB/s"), ("title:", "titel:"),
     ("scope: core", "scope: cores"), ("latency: 400 ns", "latency: 400")],
)  # fmt: skip
def test_a_fault_in_our_files_is_told_by_the_validator(tmp_path: Path, old: str, new: str) -> None:
    document = read_document(write(tmp_path, "base.yaml", FULL.replace(old, new, 1)))
    messages = []
    for is_bundled in (True, False):
        with pytest.raises(DesignError) as caught:
            design_of(dataclasses.replace(document, bundled=is_bundled))
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


@pytest.mark.parametrize("text", ["a: [1", "a: &x 1", "a: 1\na: 2", "- 1", "", "a: !!python/none x", "a: 1\n---\nb: 2"])
def test_what_libyaml_objects_to_is_read_again(text: str) -> None:
    """The message is always the other parser's."""
    assert parse_quickly(text, "ours.yaml") is None


def test_files_of_others_are_not_ours(tmp_path: Path) -> None:
    assert not bundled.is_bundled(tmp_path / "h100-sxm.yaml")


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def child(folder: Path, body: str = "", extends: str = "base.yaml", name: str = "child") -> Path:
    write(folder, "base.yaml", FULL)
    return write(folder, f"{name}.yaml", f"name: {name}\ntitle: A child\nextends: {extends}\n{body}")


def tier_names(design: Design) -> list[str]:
    return [tier.name for tier in design.memory]


def refusal(path: Path | str) -> DesignError:
    with pytest.raises(DesignError) as caught:
        load_design(path)
    return caught.value


# Reading


def test_a_file_becomes_a_frozen_value_in_base_units(tmp_path: Path) -> None:
    design = load_design(write(tmp_path, "base.yaml", FULL))
    assert design.compute.cores == 4
    assert design.compute.matrix is not None
    assert design.compute.matrix.peak == {DType.FP32: 10**12, DType.FP16: 2 * 10**12}
    assert design.compute.matrix.stand_in == {DType.BF16: DType.FP16}
    assert design.compute.matrix.tile == (16, 8, 16)
    assert design.tier("l2").capacity == 2**20
    assert design.tier("l2").management is Management.CACHE
    assert design.tier("smem").scope is Scope.CORE
    assert design.home is design.memory[-1] is design.tier("hbm")
    assert design.home.latency == 400_000
    assert [tier.name for tier in design.shared_tiers] == ["l2", "hbm"]
    assert [tier.name for tier in design.core_tiers] == ["smem"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        design.name = "other"  # type: ignore[misc]


def test_defaults_are_those_of_the_value(tmp_path: Path) -> None:
    design = load_design(write(tmp_path, "base.yaml", FULL))
    assert design.host == value.Host()
    assert design.compute.buffer_depth == 2
    assert design.compute.load_bandwidth == units.UNLIMITED
    assert design.tier("l2").efficiency == 1.0
    assert design.tier("l2").price is None
    assert not design.tier("smem").has_port


def test_a_source_that_names_a_reference_is_replaced_by_it(tmp_path: Path) -> None:
    design = load_design(write(tmp_path, "base.yaml", FULL))
    assert design.sources == {"compute": "A data sheet, 2024", "memory.l2": "measured"}


def test_two_ports_are_given_together(tmp_path: Path) -> None:
    text = FULL.replace("bandwidth: 200 GB/s", "read_bandwidth: 200 GB/s, write_bandwidth: unlimited")
    tier = load_design(write(tmp_path, "base.yaml", text)).tier("l2")
    assert tier.full_duplex
    assert tier.has_port
    assert (tier.read_bandwidth, tier.write_bandwidth) == (200 * 10**9, units.UNLIMITED)


def test_quoted_and_plain_values_read_the_same(tmp_path: Path) -> None:
    plain = load_design(write(tmp_path, "plain.yaml", FULL))
    quoted = FULL.replace("cores: 4", 'cores: "4"').replace("1 GHz", "'1 GHz'").replace("name: base", '"name": base')
    assert load_design(write(tmp_path, "quoted.yaml", quoted)) == plain


def test_a_bundled_name_and_its_path_give_the_same_design() -> None:
    assert load_design("h100-sxm") == load_design(bundled.designs()["h100-sxm"])


def test_a_design_and_its_error_survive_pickling(tmp_path: Path) -> None:
    design = load_design("tiny")
    assert pickle.loads(pickle.dumps(design)) == design
    error = refusal(write(tmp_path, "bad.yaml", FULL.replace("cores: 4", "cores: 0").replace("1 GHz", "1")))
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert [str(other) for other in again.others] == [str(other) for other in error.others] != []


@given(st.text(alphabet="abc: {}[]\n-#&*!|>'\"%@?,\t", max_size=60))
def test_any_text_is_a_document_or_a_design_error(text: str) -> None:
    try:
        document = parse_document(text, "some.yaml")
    except DesignError as error:
        assert str(error).startswith("some.yaml")
        assert "\n" not in str(error)
    else:
        assert all(document.line(path) for path, _ in walk(document.data) if path)


# Extending


def test_a_child_takes_what_it_does_not_set(tmp_path: Path) -> None:
    design = load_design(child(tmp_path, "memory:\n  l2: {capacity: 4 MiB}\nsources:\n  memory.l2.capacity: chosen\n"))
    base = load_design(tmp_path / "base.yaml")
    assert (design.name, design.title) == ("child", "A child")
    assert design.compute == base.compute
    assert design.tier("l2") == dataclasses.replace(base.tier("l2"), capacity=units.Bytes(4 * 2**20))
    assert design.sources == {**base.sources, "memory.l2.capacity": "chosen"}


def test_a_child_may_extend_a_bundled_design(tmp_path: Path) -> None:
    design = load_design(write(tmp_path, "mine.yaml", "name: mine\ntitle: Mine\nextends: h100-sxm\n"))
    parent = load_design("h100-sxm")
    own = ("device.year", "device.price")
    expected = dataclasses.replace(
        parent,
        name="mine",
        title="Mine",
        device=dataclasses.replace(parent.device, year=None, family=None, price=None, price_as_of=None),
        sources={path: text for path, text in parent.sources.items() if path not in own},
    )
    assert design == expected, "all but the facts of one product"


def test_a_grandchild_takes_the_nearest_value(tmp_path: Path) -> None:
    child(tmp_path, "compute: {cores: 8}\nhost: {start: 1 us}\n")
    path = write(tmp_path, "grand.yaml", "name: grand\ntitle: G\nextends: child.yaml\nhost: {start: 2 us}\n")
    design = load_design(path)
    assert (design.compute.cores, design.host.start, design.tier("l2").capacity) == (8, 2 * 10**6, 2**20)


def test_a_parent_is_sought_beside_its_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inner").mkdir()
    path = child(tmp_path / "inner")
    monkeypatch.chdir(tmp_path)
    assert load_design(path.relative_to(tmp_path)).compute.cores == 4


def test_null_removes_a_value_or_a_unit(tmp_path: Path) -> None:
    design = load_design(child(tmp_path, "compute:\n  matrix:\nmemory:\n  hbm: {latency: 0 ns}\n"))
    assert design.compute.matrix is None
    assert design.home.latency == 0


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        ("  l2:\n", ["smem", "hbm"]),
        ("  l2: {capacity: 2 MiB}\n", ["smem", "l2", "hbm"]),
        ("  hbm: {latency: 1 ns}\n  smem: {capacity: 1 KiB}\n", ["smem", "l2", "hbm"]),
        (f"  ssd: {SSD}\n", ["smem", "l2", "hbm", "ssd"]),
        (f"  l2: {{}}\n  l3: {L3}\n", ["smem", "l2", "l3", "hbm"]),
        (f"  l3: {L3}\n  hbm: {{}}\n", ["smem", "l2", "l3", "hbm"]),
        (f"  l2:\n  l3: {L3}\n", ["smem", "l3", "hbm"]),
        (f"  smem: {{}}\n  l3: {L3}\n  hbm: {{}}\n  ssd: {SSD}\n", ["smem", "l3", "l2", "hbm", "ssd"]),
        (f"  l3: {L3}\n  l4: {L3}\n  hbm: {{}}\n", ["smem", "l2", "l3", "l4", "hbm"]),
        (f"  hbm:\n  ssd: {SSD}\n", ["smem", "l2", "ssd"]),
    ],
)
def test_a_child_removes_and_adds_tiers(memory: str, expected: list[str], tmp_path: Path) -> None:
    assert tier_names(load_design(child(tmp_path, f"memory:\n{memory}"))) == expected


def test_a_circle_is_refused(tmp_path: Path) -> None:
    for name, extends in (("a", "b"), ("b", "c"), ("c", "a")):
        child(tmp_path, extends=f"{extends}.yaml", name=name)
    for name in ("a", "b", "c"):
        error = refusal(tmp_path / f"{name}.yaml")
        assert error.problem == "extends itself in a circle"
        assert (error.key, error.line) == ("extends", 3)


def test_a_chain_has_a_longest_length(tmp_path: Path) -> None:
    child(tmp_path, name="c0")
    for index in range(1, MAX_EXTENDS + 2):
        child(tmp_path, extends=f"c{index - 1}.yaml", name=f"c{index}")
    assert load_design(tmp_path / f"c{MAX_EXTENDS - 1}.yaml").compute.cores == 4
    assert "circle" in refusal(tmp_path / f"c{MAX_EXTENDS + 1}.yaml").problem


def test_a_fault_is_placed_in_the_file_that_holds_it(tmp_path: Path) -> None:
    write(tmp_path, "bad.yaml", FULL.replace("capacity: 1 MiB", "capacity: 1"))
    path = child(tmp_path, "host: {start: 1 us}\nmemory:\n  hbm: {latency: soon}\n", extends="bad.yaml")
    error = refusal(path)
    found = {(Path(str(fault.file)).name, fault.line, fault.key) for fault in (error, *error.others)}
    assert found == {("bad.yaml", 15, "memory.l2.capacity"), ("child.yaml", 6, "memory.hbm.latency")}


TABLES = st.recursive(
    st.integers(0, 9), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3), max_leaves=8
)
TREES = st.dictionaries(st.sampled_from("abc"), TABLES, max_size=3)


@given(base=TREES, own=TREES)
def test_merging_keeps_every_own_leaf_and_every_base_leaf_that_is_not_covered(base: Any, own: Any) -> None:
    merged = merge(base, own, ())
    leaves = dict(walk(merged))
    assert merge(merged, own, ()) == merged
    assert merge(base, {}, ()) == base
    for path, leaf in walk(own):
        assert leaves.get(path, leaf) == leaf
    for path, leaf in walk(base):
        if path[0] not in own:
            assert leaves[path] == leaf


# What-if changes


def test_a_change_is_read_with_its_unit_and_leaves_the_original_alone() -> None:
    base = load_design("h100-sxm")
    changed = base.replace(
        {
            "memory.l2.capacity": "200 MiB",
            "memory.hbm.bandwidth": "2x",
            "memory.hbm.latency": 100_000,
            "memory.hbm.efficiency": 0.8,
            "compute.cores": "0.5x",
            "compute.matrix.peak.bf16": "500 TFLOP/s",
            "compute.matrix.tile": [128, 128, 8],
            "compute.matrix.stand_in.fp64": "fp32",
            "compute.vector.peak.int8": 5 * 10**12,
            "compute.matrix.peak.fp32": "1 TFLOP/s",
            "host.launch_eager": "1 us",
            "memory.l2.management": "scratchpad",
            "memory.l2.arbitration": "fair",
            "name": "what-if",
        }
    )
    assert changed.tier("l2").capacity == 200 * 2**20
    assert changed.tier("l2").management is Management.SCRATCHPAD
    assert changed.tier("l2").arbitration is Arbitration.FAIR
    assert changed.tier("hbm").arbitration is Arbitration.FIFO
    assert changed.tier("hbm").bandwidth == 2 * 3_350_000_000_000
    assert changed.tier("hbm").latency == 100_000
    assert changed.tier("hbm").efficiency == 0.8
    assert changed.compute.cores == 66
    assert changed.compute.matrix is not None
    assert changed.compute.matrix.peak[DType.BF16] == 500 * 10**12
    assert changed.compute.matrix.tile == (128, 128, 8)
    assert changed.compute.matrix.stand_in[DType.FP64] is DType.FP32
    assert changed.compute.vector.peak[DType.INT8] == 5 * 10**12
    assert changed.host.launch_eager == 10**6
    assert changed.name == "what-if"
    assert base == load_design("h100-sxm")


def test_shared_caches_may_replace_by_another_rule_and_start_warm() -> None:
    base = load_design("h100-sxm")
    assert (base.tier("l2").replacement, base.tier("l2").start) == (Replacement.LRU, Start.COLD)
    changed = base.replace({"memory.l2.replacement": "belady", "memory.l2.start": "warm"})
    assert (changed.tier("l2").replacement, changed.tier("l2").start) == (Replacement.BELADY, Start.WARM)
    for path in ("memory.hbm.start", "memory.smem.start"):
        with pytest.raises(DesignError, match="warm but the tier is not a shared cache"):
            base.replace({path: "warm"})
    with pytest.raises(DesignError, match="belady but the tier is not a shared cache"):
        changed.replace({"memory.l2.start": "cold", "memory.l2.management": "scratchpad"})


def test_a_change_becomes_its_own_source() -> None:
    changed = load_design("h100-sxm").replace({"memory.l2.capacity": "2x"})
    assert changed.sources["memory.l2.capacity"] == "set to 2x"
    assert changed.sources["memory.hbm.capacity"] == load_design("h100-sxm").sources["memory.hbm.capacity"]


def test_no_change_changes_nothing() -> None:
    design = load_design("h100-sxm")
    assert design.replace({}) == design


@pytest.mark.parametrize(
    ("path", "text", "problem", "expected"),
    [
        ("memory.l2.capcity", "1 MiB", "is not a value of a design", "'memory.l2.capacity'"),
        ("memory.L2.capacity", "1 MiB", "names no value of a tier", "l2"),
        ("memory.l2", "1 MiB", "names no value of a tier", "memory.TIER.VALUE"),
        ("memory", "1 MiB", "names no value of a tier", "registers, smem, l2, hbm"),
        ("memroy.l2.capacity", "1 MiB", "is not a value of a design", "memory"),
        ("", "1", "is not a value of a design", ""),
        ("sources", "x", "is not a value of a design", ""),
        ("compute.cores.count", "1", "has nothing inside", ""),
        ("compute.matrix", "x", "cannot be set here", ""),
        ("compute.matrix.peak.bfloat16", "1 TFLOP/s", "is not a dtype", "'bf16'"),
        ("compute.matrix.stand_in.fp8", "bfloat16", "is not a dtype", "'bf16'"),
        ("compute.matrix.stand_in.fp64", "int64", "'int64' has no peak", "a dtype in peak"),
        ("compute.matrix.tile", [8, 8], "is not a tile", "three whole numbers"),
        ("memory.l2.capacity", "200", "has no unit", "'50 MiB'"),
        ("memory.l2.capacity", "200 Gb", "may mean bits", "'50 MiB'"),
        ("memory.l2.capacity", -5, "is negative", "'50 MiB'"),
        ("memory.l2.capacity", True, "is not a size", "'50 MiB'"),
        ("memory.l2.capacity", "0x", "is zero", "above zero"),
        ("memory.l2.price", "2 €/GB", "is not a unit of a price", "$/GB"),
        ("memory.l2.read_bandwidth", "1 TB/s", "is given", "together"),
        ("memory.l2.scope", "global", "is not valid", "core or shared"),
        ("memory.l2.arbitration", "lifo", "is not valid", "fifo or fair"),
        ("memory.smem.arbitration", "fair", "has no port to share", "scope: shared"),
        ("memory.hbm.management", "cache", "is a cache but the last tier", "scratchpad"),
        ("memory.hbm.efficiency", "2x", "is too large", "at most 1"),
        ("memory.hbm.efficiency", "0x", "is not above zero", "above 0"),
        ("memory.nvme.energy", "2x", "needs a present value", "pJ/B"),
        ("compute.load_bandwidth", float("nan"), "is not a bandwidth", "TB/s"),
        ("compute.cores", 0.5, "is not a whole number", "whole number"),
        ("memory.smem.name", "registers", "is there twice", "one tier of each name"),
    ],
)
def test_a_senseless_change_is_refused(path: str, text: object, problem: str, expected: str) -> None:
    with pytest.raises(DesignError) as caught:
        load_design("h100-sxm").replace({path: text})
    assert problem in caught.value.problem
    assert expected in (caught.value.expected or "")
    assert "\n" not in str(caught.value)


def test_a_systolic_unit_is_read_changed_and_held_to_its_tile() -> None:
    design = load_design("tpu-v4")
    changes = {
        "compute.matrix.systolic.overlap": "false",
        "compute.matrix.systolic.arrays": "2x",
        "compute.matrix.systolic.dataflow": "input_stationary",
        "compute.matrix.tile": [128, 8, 128],
    }
    unit = design.replace(dict(reversed(changes.items()))).compute.matrix.systolic  # type: ignore[union-attr]
    assert unit == compute.Systolic(
        rows=128, columns=128, arrays=8, dataflow=compute.Dataflow.INPUT_STATIONARY, overlap=False
    )  # type: ignore[arg-type]
    for path, text, problem, expected in (
        ("compute.matrix.systolic.rows", 64, "does not lie on an array of 64 rows", "[any, columns, rows]"),
        ("compute.matrix.systolic.columns", 100_000, "is not a number of that sort", "1 to 65536"),
        ("compute.matrix.systolic.overlap", "maybe", "is neither true nor false", "true or false"),
        ("compute.matrix.systolic.dataflow", "row_stationary", "is not valid", "output_stationary"),
    ):
        with pytest.raises(DesignError) as caught:
            design.replace({path: text})
        assert problem in caught.value.problem
        assert expected in (caught.value.expected or "")
    with pytest.raises(DesignError, match="this design has no systolic"):
        load_design("h100-sxm").replace({"compute.matrix.systolic.rows": 8})


def test_a_part_that_the_device_lacks_cannot_be_changed() -> None:
    with pytest.raises(DesignError, match="this design has no matrix"):
        load_design("m1-max").replace({"compute.matrix.efficiency": 0.5})
    with pytest.raises(DesignError, match="has no tier 'l2'"):
        load_design("m1-max").tier("l2")


SCALABLE = ("memory.l2.capacity", "memory.hbm.bandwidth", "compute.cores")


@given(factor=st.integers(1, 1000), path=st.sampled_from(SCALABLE))
def test_a_factor_is_exact(factor: int, path: str) -> None:
    design = load_design("tiny")
    changed = design.replace({path: f"{factor}x"} | ({"memory.hbm.capacity": "1 TB"} if "l2" in path else {}))

    def read(of: Design) -> int:
        if path == "compute.cores":
            return of.compute.cores
        _, tier, name = path.split(".")
        return int(getattr(of.tier(tier), name))

    assert read(changed) == factor * read(design)


# Faults


def test_all_faults_of_a_file_come_at_once_with_their_lines(tmp_path: Path) -> None:
    text = FULL
    for right, wrong in (
        ("cores: 4", "cores: many"),
        ("clock: 1 GHz", "clock: 1"),
        ("tile: [16, 8, 16]", "tile: 16"),
        ("fp16: 2 TFLOP/s", "half: 2 TFLOP/s"),
        ("management: cache", "management: magic"),
        ("latency: 400 ns", "latncy: 400 ns"),
    ):
        assert text.count(right) == 1
        text = text.replace(right, wrong)
    error = refusal(write(tmp_path, "bad.yaml", text))
    faults = [error, *error.others]
    assert [(fault.line, fault.key) for fault in faults] == [
        (4, "compute.cores"),
        (5, "compute.clock"),
        (7, "compute.matrix.tile"),
        (8, "compute.matrix.peak.half"),
        (15, "memory.l2.management"),
        (16, "memory.hbm.latncy"),
    ]
    assert all(isinstance(fault, DesignError) and fault.expected for fault in faults)
    assert len({fault.file for fault in faults}) == 1


def test_faults_across_values_come_at_once_too(tmp_path: Path) -> None:
    text = FULL.replace("l2: {scope: shared, management: cache", "l2: {scope: shared, management: scratchpad")
    text = text.replace("capacity: 1 MiB", "capacity: 2 GB, price: 1 $/GB").replace("bf16: fp16", "bf16: fp8")
    error = refusal(write(tmp_path, "bad.yaml", text))
    assert [(fault.line, fault.key, fault.problem) for fault in (error, *error.others)] == [
        (9, "compute.matrix.stand_in.bf16", "'fp8' has no peak"),
        (15, "memory.l2.capacity", "is larger than the last tier's"),
        (15, "memory.l2.price", "has no date"),
    ]


def test_a_typo_comes_before_what_it_leaves_missing(tmp_path: Path) -> None:
    error = refusal(write(tmp_path, "bad.yaml", FULL.replace("special: 10 GOP/s", "speical: 10 GOP/s")))
    assert (error.key, error.line, error.expected) == ("compute.vector.speical", 12, "'special'")
    assert [(other.key, other.problem) for other in error.others] == [("compute.vector.special", "is missing")]


# Models and values mirror each other

PAIRS = [
    (schema.MatrixModel, compute.MatrixUnit),
    (schema.SystolicModel, compute.Systolic),
    (schema.VectorModel, compute.VectorUnit),
    (schema.ComputeModel, compute.Compute),
    (schema.TierModel, value.Tier),
    (schema.HostModel, value.Host),
    (schema.LinkModel, value.Link),
    (schema.PlacementModel, value.Placement),
    (schema.ConstantsModel, Constants),
    (schema.DesignModel, value.Design),
]
ONLY_IN_THE_FILE = {"extends", "notes", "references"}
ONLY_IN_THE_VALUE = {(value.Tier, "name"), (value.Link, "name")}
OTHER_DEFAULTS = {(value.Design, "host"), (value.Design, "links"), (value.Placement, "order")}


@pytest.mark.parametrize(("model", "owner"), PAIRS, ids=lambda kind: kind.__name__)
def test_a_model_mirrors_its_value_field_by_field(model: type[BaseModel], owner: Any) -> None:
    fields = {field.name: field for field in dataclasses.fields(owner) if (owner, field.name) not in ONLY_IN_THE_VALUE}
    models = {name: field for name, field in model.model_fields.items() if name not in ONLY_IN_THE_FILE}
    assert set(models) == set(fields)
    properties = model.model_json_schema()["properties"]
    for name, kind in field_types(owner).items():
        if name not in models:
            continue
        required = fields[name].default is dataclasses.MISSING and fields[name].default_factory is dataclasses.MISSING
        if (owner, name) in OTHER_DEFAULTS:
            continue
        assert models[name].is_required() == required, name
        if not required and fields[name].default is not dataclasses.MISSING:
            default = fields[name].default
            assert models[name].default == (default.value if isinstance(default, Enum) else default), name
        if kind in units.QUANTITIES:
            shown = properties[name].get("anyOf", [properties[name]])[0]
            assert shown["description"] == units.QUANTITIES[kind].example, name
        elif get_origin(kind) is not None and get_args(kind)[-1] in units.QUANTITIES:
            shown = properties[name]["additionalProperties"]
            assert shown["description"] == units.QUANTITIES[get_args(kind)[-1]].example, name


def test_constants_stand_in_a_file_like_any_other_value(tmp_path: Path) -> None:
    text = FULL.replace("memory:\n", "constants: {lookup: 231.5, wait_bytes: 1 KiB}\nmemory:\n", 1)
    design = load_design(write(tmp_path, "own.yaml", text))
    assert design.constants == Constants(lookup=units.Factor(231.5), wait_bytes=units.Bytes(1024))
    assert load_design(write(tmp_path, "plain.yaml", FULL)).constants == Constants()
    assert design.replace({"constants.lookup": "2x"}).constants.lookup == 463
    assert set(SOURCES) == {field.name for field in dataclasses.fields(Constants)}


@pytest.mark.parametrize(
    ("path", "text", "problem"),
    [
        ("constants.lookup", "0", "not above zero"),
        ("constants.wait_bytes", "0 B", "is zero"),
        ("constants.wait_bytes", "512", "has no unit"),
        ("constants.narrow_loads", "nan", "is not a number"),
        ("constants.adress", "70", "is not a value of a design"),
    ],
)
def test_constants_are_checked(path: str, text: str, problem: str) -> None:
    with pytest.raises(DesignError, match=problem) as caught:
        load_design("tiny").replace({path: text})
    assert caught.value.key == path


def test_the_names_of_dtypes_are_those_of_the_enum() -> None:
    assert set(get_args(schema.DTypeName)) == {dtype.name.lower() for dtype in DType}


def test_the_words_of_dataflows_are_those_of_the_enum() -> None:
    words = get_args(schema.SystolicModel.model_fields["dataflow"].annotation)
    assert set(words) == {dataflow.value for dataflow in compute.Dataflow}


def test_the_words_of_tiers_are_those_of_the_enums() -> None:
    fields = schema.TierModel.model_fields
    assert set(get_args(fields["scope"].annotation)) == {scope.value for scope in Scope}
    assert set(get_args(fields["management"].annotation)) == {kind.value for kind in Management}
    assert set(get_args(fields["replacement"].annotation)) == {rule.value for rule in Replacement}
    assert set(get_args(fields["start"].annotation)) == {start.value for start in Start}
    assert set(get_args(fields["arbitration"].annotation)) == {kind.value for kind in Arbitration}


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ((), "memory"),
        (("compute",), "cores"),
        (("compute", "matrix"), "tile"),
        (("compute", "vector"), "special"),
        (("compute", "matrix", "systolic"), "dataflow"),
        (("memory", "l2"), "granularity"),
        (("host",), "launch_view"),
        (("links", "pcie"), "to"),
        (("placement",), "prefetch"),
        (("constants",), "lookup"),
    ],
)
def test_hints_know_the_keys_of_every_table(path: tuple[str, ...], key: str) -> None:
    assert key in valid_keys(path)
    assert valid_keys(("nowhere",)) == []


def test_the_schema_file_is_current() -> None:
    path = ROOT / "configs" / "design.schema.json"
    written = json.dumps(schema.json_schema(), indent=2, sort_keys=True) + "\n"
    assert path.read_text(encoding="utf-8") == written
