"""Every broken design is refused in one line that names the file, the line and what was expected."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hiersim.config.document import MAX_SIZE, MAX_VALUES
from hiersim.config.load import load_design
from hiersim.errors import DesignError

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "broken" / "designs"
SECONDS = 2.0
MEGABYTES = 500

MESSAGES: dict[str, tuple[str, ...]] = {
    "alias_bomb": (":1:", "anchor or alias"),
    "arbitration_in_the_cores": (":17:", "memory.smem.arbitration:", "has no port to share", "scope: shared"),
    "bad_design_name": (":1:", "name:", "'../../etc/passwd' is not a valid name", "expected the pattern"),
    "bad_indent": (":5:", "is not valid YAML", "mapping values are not allowed"),
    "bad_tier_name": (":17:", "'L2 cache' is not a valid name", "expected the pattern"),
    "bandwidth_three_ways": (":21:", "memory.l2.bandwidth:", "beside read_bandwidth", "one or the other"),
    "belady_in_a_core": (":17:", "memory.smem.replacement:", "belady but the tier is not a shared cache"),
    "binary": ("is not UTF-8 text at byte 128",),
    "bits_for_bytes": (":26:", "memory.hbm.bandwidth:", "'Gb/s'", "may mean bits", "'3.35 TB/s'"),
    "boolean_for_number": (":4:", "compute.cores:", "True is not a count", "whole number"),
    "cache_behind_the_device": (":30:", "memory.dram.management:", "is a cache behind the device", "scratchpad"),
    "control_characters": ("is not valid YAML", "#x0001"),
    "core_tier_behind_shared": (":12:", "memory:", "has a tier behind one of farther scope", "nearest to farthest"),
    "cores_fraction": (":4:", "compute.cores:", "2.5 is not a whole number", "expected a whole number"),
    "cores_zero": (":4:", "compute.cores:", "0 is too small", "expected at least 1)"),
    "date_in_words": (":28:", "memory.hbm.price_as_of:", "'last year' is not a valid name or date"),
    "deep_nesting": (":2:", "is nested too deeply", "at most 12 levels"),
    "deep_nesting_by_indent": (":14:", "is nested too deeply", "at most 12 levels"),
    "dram_in_cores": (":17:", "memory.smem.dram:", "is given for a tier in the cores", "a preset at a shared tier"),
    "dram_number": (":27:", "memory.hbm.dram:", "'3' is not a DRAM preset"),
    "dram_unknown": (":27:", "memory.hbm.dram:", "'hbm33' is not a DRAM preset", "'hbm3'"),
    "duplicate_key": (":21:", "memory.l2.capacity:", "is there twice", "each key once"),
    "efficiency_above_one": (":27:", "memory.hbm.efficiency:", "1.2 is too large", "expected at most 1)"),
    "efficiency_zero": (":27:", "memory.hbm.efficiency:", "0 is not above zero", "at most 1"),
    "empty": ("is empty", "expected 'name: …'"),
    "extends_a_device": (":2:", "extends:", "'/dev/zero' is neither a bundled design nor a YAML file"),
    "extends_a_list": (":2:", "extends:", "is not a name", "a design's name or file"),
    "extends_broken": ("missing_unit.yaml:20:", "memory.l2.capacity:", "has no unit"),
    "extends_circle_a": (":2:", "extends itself in a circle", "a chain that ends"),
    "extends_circle_b": (":2:", "extends itself in a circle", "a chain that ends"),
    "extends_itself": (":2:", "extends itself in a circle", "a chain that ends"),
    "extends_missing_file": (":2:", "extends:", "'nowhere.yaml' is neither a bundled design nor a YAML file"),
    "extends_removes_unknown_tier": (":5:", "memory.l3:", "is not a table"),
    "extends_unknown": (":2:", "extends:", "'h100-smx'", "expected 'h100-sxm'"),
    "gbit_for_bytes": (":25:", "memory.hbm.capacity:", "'Gbit'", "give bytes, not bits", "'80 GB'"),
    "host_tier_before_the_device": (
        ":12:",
        "memory:",
        "has a tier behind one of farther scope",
        "'core', then 'shared', then 'host'",
    ),
    "host_tier_without_port": (":28:", "memory.dram.bandwidth:", "is missing", "3.35 TB/s"),
    "huge_capacity": (":25:", "memory.hbm.capacity:", "9e30 EB is too large", "at most 4.61e+18 B"),
    "huge_exponent": (":25:", "memory.hbm.capacity:", "is not a unit of a size", "'80 GB'"),
    "infinite_capacity": (":25:", "memory.hbm.capacity:", "'inf GB' is not a size", "'80 GB'"),
    "infinite_cores": (":4:", "compute.cores:", "inf is not a finite number", "whole number"),
    "last_tier_is_a_cache": (":24:", "memory.hbm.management:", "a cache but the last tier", "scratchpad"),
    "link_named_like_a_tier": (":34:", "links.hbm:", "has the name of a tier", "a name of its own"),
    "link_to_nowhere": (":35:", "links.pcie.to:", "'drum' is not a tier behind the device", "'dram'"),
    "link_to_the_device": (
        ":30:",
        "links.pcie.to:",
        "'hbm' is not a tier behind the device",
        "a tier with 'scope: host'",
    ),
    "link_without_bandwidth": (":34:", "links.pcie.bandwidth:", "is missing", "64 GB/s"),
    "list_at_top": ("is not a table", "expected 'name: …'"),
    "list_for_number": (":4:", "compute.cores:", "list is not a count", "whole number"),
    "missing_name": ("name: is missing", "expected a value"),
    "missing_section": ("memory: is missing", "expected a value"),
    "missing_unit": (":20:", "memory.l2.capacity:", "1048576 has no unit", "'50 MiB'"),
    "missing_unit_in_text": (":27:", "memory.hbm.latency:", "'400' has no unit", "'560 ns'"),
    "nan_efficiency": (":27:", "memory.hbm.efficiency:", "nan is not a finite number", "above 0"),
    "nan_with_unit": (":26:", "memory.hbm.bandwidth:", "'nan GB/s' is not a bandwidth"),
    "negative_capacity": (":25:", "memory.hbm.capacity:", "-1 GB is negative"),
    "negative_latency": (":27:", "memory.hbm.latency:", "-400 ns is negative", "'560 ns'"),
    "no_bandwidth": (":17:", "memory.l2.bandwidth:", "is missing", "'3.35 TB/s'"),
    "no_core_tier": (":12:", "memory:", "no tier in the cores", "'scope: core'"),
    "no_fp32_on_vector_unit": (":10:", "compute.vector.peak:", "lacks fp32"),
    "no_peak": (":8:", "compute.matrix.peak:", "at least 1 item"),
    "no_shared_tier": (":12:", "memory:", "no shared tier", "'scope: shared'"),
    "no_tiers": (":12:", "memory:", "at least 1 item"),
    "not_utf8": ("is not UTF-8 text at byte 44",),
    "null_capacity": (":25:", "memory.hbm.capacity:", "None is not a size", "'80 GB'"),
    "number_for_table": (":28:", "host:", "is not a table"),
    "number_for_title": (":2:", "title:", "should be a valid string"),
    "number_too_long": (":25:", "memory.hbm.capacity:", "is too long for a size"),
    "only_comments": ("is empty", "expected 'name: …'"),
    "pin_to_a_cache": (":31:", "placement.pins.weight:", "'l2' is not a tier that tensors can live in", "one of hbm"),
    "placement_order": (":31:", "placement.order:", "'fastest' is not valid", "'density', 'first-touch' or 'spread'"),
    "placement_prefetch_zero": (":31:", "placement.prefetch:", "0 is too small", "at least 1"),
    "placement_typo": (":31:", "placement.prefech:", "is not a key of a design", "'prefetch'"),
    "price_without_currency": (":27:", "memory.hbm.price:", "'/GB' is not a unit of a price", "'12 $/GB'"),
    "area_without_unit": (":27:", "device.die_area:", "814 has no unit", "'814 mm2'"),
    "kind_unknown": (":27:", "memory.hbm.kind:", "'hbm33' is not a kind of memory in the price book", "'hbm3'"),
    "process_unknown": (":28:", "device.process:", "'4nm' is not a process node in the price book"),
    "price_without_source": (":27:", "memory.hbm.price:", "has no source", "sources: {memory.hbm.price: "),
    "price_without_date": (":27:", "memory.hbm.price:", "has no date", "price_as_of: YYYY-MM"),
    "read_bandwidth_only": (":21:", "memory.l2.read_bandwidth:", "without its partner", "together"),
    "scratchpad_larger_than_home": (":20:", "memory.l2.capacity:", "larger than the last tier's"),
    "stand_in_without_peak": (":9:", "compute.matrix.stand_in.fp8:", "'fp16' has no peak", "a dtype in peak"),
    "string_too_long": (":2:", "title:", "at most 400 characters"),
    "table_as_key": (":2:", "table or list as a key", "a name"),
    "table_for_number": (":5:", "compute.clock:", "dict is not a frequency", "'1.83 GHz'"),
    "tabs": (":4:", "is not valid YAML", "cannot start any token"),
    "text_at_top": ("is not a table", "expected 'name: …'"),
    "tile_of_two": (":7:", "compute.matrix.tile:", "[8, 8] is not a tile", "three whole numbers"),
    "tile_with_zero": (":7:", "compute.matrix.tile:", "[8, 0, 8] is not a tile", "three whole numbers"),
    "tiny_time": (":27:", "memory.hbm.latency:", "smaller than one ps"),
    "truncated": (":8:", "is not valid YAML", "stream end"),
    "truncated_in_quotes": (":27:", "is not valid YAML", "end of stream"),
    "two_documents": (":30:", "holds a second document", "one design per file"),
    "two_links_to_one_tier": (
        ":35:",
        "links.nvlink.to:",
        "'dram' has a link already",
        "one link in front of each tier",
    ),
    "typo_at_top": (":28:", "hosts:", "is not a key of a design", "expected 'host'"),
    "typo_in_key": (":20:", "memory.l2.capacty:", "is not a key of a design", "expected 'capacity'"),
    "unknown_management": (":19:", "memory.l2.management:", "'lru' is not valid", "'cache', 'scratchpad' or 'pool'"),
    "unknown_arbitration": (":22:", "memory.l2.arbitration:", "'round-robin' is not valid", "'fifo' or 'fair'"),
    "unknown_replacement": (":22:", "memory.l2.replacement:", "'min' is not valid", "'lru' or 'belady'"),
    "unknown_scope": (":18:", "memory.l2.scope:", "'global' is not valid", "'core', 'shared' or 'host'"),
    "unknown_unit": (":5:", "compute.clock:", "'gigahertz' is not a unit of a frequency", "'1.83 GHz'"),
    "utf16": ("is not UTF-8 text at byte 0",),
    "warm_scratchpad": (":28:", "memory.hbm.start:", "warm but the tier is not a shared cache", "management: cache"),
    "wrong_dtype": (":8:", "compute.matrix.peak.bfloat16:", "is not valid", "'bf16'"),
    "wrong_unit": (":21:", "memory.l2.bandwidth:", "'GB' is not a unit of a bandwidth", "'3.35 TB/s'"),
    "yaml_anchor": (":20:", "anchor or alias", "the value itself"),
    "yaml_merge_key": (":29:", "host.<<:", "is not a key of a design"),
    "yaml_own_tag": (":20:", "YAML tag !size", "plain values only"),
    "yaml_tag": (":2:", "YAML tag", "os.system", "plain values only"),
    "zero_capacity": (":20:", "memory.l2.capacity:", "is zero", "above zero"),
}

HOSTILE: dict[str, tuple[str, str]] = {
    "too large": ("a: " + "x" * MAX_SIZE, "is too large for a design"),
    "unknown keys": ("".join(f"k{i}: 1\n" for i in range(12_000)), "holds too much for a design"),
    "unknown keys in one table": ("memory:\n" + "".join(f"  k{i}: {{}}\n" for i in range(8000)), "holds too much"),
    "just below the limit": ("".join(f"capacity{i}: 1\n" for i in range(MAX_VALUES // 2 - 4)), "is not a key"),
    "long list": ("a: [" + ",".join("1" * 60_000) + "]\n", "holds too much for a design"),
    "long keys": ("".join("capacity" * 15 + f"{i}: 1\n" for i in range(1000)), "is not a key of a design"),
    "brackets": ("a: " + "[" * 120_000, "is nested too deeply"),
    "dashes": ("- " * 60_000, "is nested too deeply"),
    "comments": ("#\n" * 60_000, "is empty"),
    "one long text": ('a: "' + "\\n" * 60_000 + '"\n', "is not a key of a design"),
    "one long number": ("a: " + "9" * 120_000, "is not a key of a design"),
    "exclamation marks": ("!" * 120_000, "YAML tag"),
    "percent signs": ("%" * 120_000, "is not valid YAML"),
}


def message_of(path: Path | str) -> str:
    with pytest.raises(DesignError) as caught:
        load_design(path)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_the_table_and_the_folder_agree() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(MESSAGES)


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_a_broken_design_is_refused_in_one_line(name: str) -> None:
    path = FOLDER / f"{name}.yaml"
    begin = time.process_time()
    message = message_of(path)
    assert time.process_time() - begin < SECONDS
    assert "\n" not in message
    assert message.isprintable()
    assert len(message) <= 400
    assert "Traceback" not in message
    if name != "extends_broken":
        assert message.startswith(f"{path}:")
    for part in MESSAGES[name]:
        assert part in message


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_a_hostile_file_is_refused_quickly(name: str, tmp_path: Path) -> None:
    text, expected = HOSTILE[name]
    path = tmp_path / "hostile.yaml"
    path.write_text(text, encoding="utf-8")
    begin = time.process_time()
    message = message_of(path)
    assert time.process_time() - begin < SECONDS
    assert expected in message
    assert "\n" not in message
    assert len(message) <= 400


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("", "cannot be read"),
        (".", "cannot be read"),
        ("no/such/file.yaml", "no/such/file.yaml: cannot be read: No such file"),
        ("h100", "expected 'h100-sxm'"),
        ("a100-80gb-smx", "expected 'a100-80gb-sxm'"),
        ("H100 SXM", "is neither a bundled design nor a file"),
        ("x" * 5000, "is neither a bundled design nor a file"),
        ("x" * 5000 + ".yaml", "cannot be read"),
        ("nul\0.yaml", "cannot be read"),
        ("nul\0", "is neither a bundled design nor a file"),
        ("two\nlines.yaml", "cannot be read"),
        (os.devnull, "is empty"),
    ],
    ids=range(12),
)
def test_a_wrong_name_is_refused_in_one_line(name: str, expected: str) -> None:
    message = message_of(name)
    assert expected in message
    assert message.isprintable()


def test_the_worst_files_need_little_memory(tmp_path: Path) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc: the high-water mark of getrusage begins with that of the parent")
    paths = [str(FOLDER / f"{name}.yaml") for name in ("alias_bomb", "deep_nesting", "binary", "huge_exponent")]
    for index, (text, _) in enumerate(HOSTILE.values()):
        paths.append(str(tmp_path / f"{index}.yaml"))
        Path(paths[-1]).write_text(text, encoding="utf-8")
    program = (
        "import re, sys\n"
        "from hiersim.config.load import load_design\n"
        "from hiersim.errors import DesignError\n"
        "for path in sys.argv[1:]:\n"
        "    try:\n"
        "        load_design(path)\n"
        "    except DesignError:\n"
        "        continue\n"
        "    sys.exit(path)\n"
        "print(re.search(r'VmHWM:\\s*(\\d+) kB', open('/proc/self/status').read())[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *paths], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) * 1024 < MEGABYTES * 10**6
