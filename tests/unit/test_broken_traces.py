"""Every broken trace is refused in one line that names the file, the line and what was expected."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from hostile_traces import BUILT, FOLDER, WORST

from hiersim.config.load import load_design
from hiersim.errors import TraceError
from hiersim.frontends.load import load_trace
from hiersim.run import simulate

SECONDS = 5.0
MEGABYTES = 500

MESSAGES: dict[str, tuple[str, ...]] = {
    "blank": ("is empty", "a header line"),
    "bytes_beyond_shape": (":2:", "bytes: 5000 is more", "at most 4096"),
    "cycle": (":4:", "reads z, which", "a cycle of rows 0 -> 1 -> 0", "producers before consumers"),
    "dangling_tensor": (":6:", "reads y, which nothing writes"),
    "dims_for_pointwise": (":7:", "dims.m: a pointwise has no such size"),
    "dims_incomplete": (":6:", "dims.k: is missing", "a whole number"),
    "dims_missing": (":6:", "dims.batch: is missing"),
    "dims_not_an_object": (":6:", "dims: is not an object", "{batch, m, n, k}"),
    "dims_of_other_kind": (":6:", "dims.heads: a gemm has no such size", "batch, k, m, n"),
    "duplicate_key": (":2:", "dtype: is there twice", "each key once"),
    "duplicate_tensor": (":4:", "tensor 'x' is there twice"),
    "empty": ("is empty", "a header line"),
    "endless_number": (":2:", "endless number"),
    "flops_overflow": (":6:", "dims:", "is too large", "2^62"),
    "flops_sum_overflow": (":7:", "flops.vector:", "is too large"),
    "flops_typo": (":7:", "vectors: is not a key", "'vector'"),
    "fractional_size": (":2:", "shape: 32.5 is not a whole number"),
    "free_of_a_list": (":7:", "frees: there is no storage ['y']"),
    "free_of_unknown": (":7:", "frees: there is no storage 'yy'", "'y'"),
    "freed_twice": (":8:", "'y' is freed twice"),
    "frees_not_a_list": (":7:", "frees: str is not a list"),
    "header_only": ("has no operators", "at least one operator row"),
    "header_typo": (":1:", "header.worklod: is not a header key", "'workload'"),
    "huge_number": (":2:", "shape: 1000", "is too large", "2^62"),
    "huge_tensor": (":2:", "shape: is too large", "fewer than 2^62 bytes"),
    "infinite_float": (":2:", "inf is not a whole number"),
    "infinity": (":2:", "Infinity is not a number", "a finite number"),
    "masked_beyond_matrix": (":6:", "flops.masked: is more than flops.matrix", "at most 65536"),
    "matrix_flops_of_pointwise": (":7:", "matrix_flops[1]", "is not 0 for a pointwise"),
    "missing_dtype": (":3:", "dtype: is missing", "bf16"),
    "missing_role": (":3:", "role: is missing", "weight"),
    "missing_shape": (":2:", "shape: is missing", "whole numbers"),
    "nan": (":2:", "NaN is not a number", "a finite number"),
    "negative_size": (":2:", "shape: -32 is negative"),
    "no_header": (":1:", "format: is not a hiersim trace", "on the first line"),
    "no_name": (":1:", "header.name: has no name"),
    "no_operators": ("has no operators", "at least one operator row"),
    "not_json": (":3:", "is not JSON at column 1"),
    "not_utf8": (":2:", "is not UTF-8 text at byte 12"),
    "output_freed": (":7:", "frees: 'z' is an output"),
    "row_is_a_list": (":3:", "is not an object", '{"tensor": …}'),
    "row_of_no_kind": (":3:", "is neither a tensor nor an operator", "'tensor'"),
    "shape_not_a_list": (":2:", "shape: dict is not a list"),
    "single_quotes": (":3:", "is not JSON at column 2", "double quotes"),
    "size_in_text": (":2:", "shape: '32' is not a whole number"),
    "size_true": (":2:", "shape: True is not a whole number"),
    "too_many_sides": (":2:", "shape: has 65 sides", "at most 64"),
    "truncated_row": (":6:", "is not JSON at column"),
    "two_rows_on_a_line": (":2:", "Extra data", "one JSON object per line"),
    "typo_in_key": (":2:", "shpae: is not a key", "'shape'"),
    "typo_in_operator_key": (":6:", "read: is not a key", "'reads'"),
    "unknown_dtype": (":2:", "'bfloat16' is not a dtype", "'bf16'"),
    "unknown_flag": (":7:", "'mutable' is not a flag", "'mutates'"),
    "unknown_kind": (":6:", "'matmul' is not a kind", "gemm"),
    "unknown_phase": (":7:", "'foreward' is not a phase", "'forward'"),
    "unknown_role": (":3:", "'weights' is not a role", "'weight'"),
    "unknown_tensor": (":6:", "there is no tensor 'v' above", "w, x, y, z"),
    "use_after_free": (":8:", "uses y after row 1 freed it"),
    "version_true": (":1:", "has version True", "version 1"),
    "view_beyond_storage": (":3:", "ends at byte 4160 of a storage of 4096 bytes"),
    "view_of_nothing": (":2:", "there is no storage 'base' above"),
    "view_with_a_role": (":3:", "role: a view has the role of its storage"),
    "write_beyond_tensor": (":6:", "writes.bytes: 9999 is more than tensor 'y' has", "at most 2048"),
    "wrong_format": (":1:", "format: is not a hiersim trace"),
    "wrong_order": (":6:", "reads y, which 'aten.mm.default' (row 1) writes later: a wrong order", "producers before"),
    "wrong_version": (":1:", "has version 2", "version 1"),
}

SOUND = ("good", "only_views")


def message_of(path: Path | str) -> str:
    """The one line that refuses the trace, within the time limit."""
    begin = time.process_time()
    with pytest.raises(TraceError) as caught:
        load_trace(path)
    assert time.process_time() - begin < SECONDS
    assert caught.value.exit_code == 2
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) <= 400
    return message


def test_the_table_and_the_folder_agree() -> None:
    assert {path.stem for path in FOLDER.glob("*.jsonl")} == {*MESSAGES, *SOUND}


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_a_broken_trace_is_refused_in_one_line(name: str) -> None:
    path = FOLDER / f"{name}.jsonl"
    message = message_of(path)
    assert message.startswith(f"{path}:")
    for part in MESSAGES[name]:
        assert part in message


@pytest.mark.parametrize("name", sorted(BUILT))
def test_a_hostile_trace_is_refused_quickly(name: str, tmp_path: Path) -> None:
    suffix, build, parts = BUILT[name]
    path = tmp_path / f"hostile{suffix}"
    build(path)
    message = message_of(path)
    assert "hostile" in message
    for part in parts:
        assert part in message


def test_the_sound_trace_that_the_broken_ones_were_made_from_is_accepted() -> None:
    assert load_trace(FOLDER / "good.jsonl").name == "broken"


def test_a_trace_that_launches_nothing_is_refused_when_it_is_run() -> None:
    with pytest.raises(TraceError, match="launches nothing"):
        simulate(load_trace(FOLDER / "only_views.jsonl"), load_design("tiny"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("", "has an unknown form"),
        (".", "has an unknown form"),
        ("no/such/file.jsonl", "no/such/file.jsonl: cannot be read: No such file"),
        ("no/such/file.npz", "no/such/file.npz: cannot be read: No such file"),
        ("gpt2-large-prefil", "expected 'gpt2-large-prefill'"),
        ("x" * 5000, "is neither a bundled trace nor a file"),
        ("x" * 5000 + ".npz", "cannot be read"),
        ("nul\0.jsonl", "cannot be read"),
        ("nul\0.npz", "cannot be read"),
        ("two\nlines.jsonl", "cannot be read"),
    ],
    ids=range(10),
)
def test_a_wrong_name_is_refused_in_one_line(name: str, expected: str) -> None:
    assert expected in message_of(name)


@pytest.mark.parametrize("suffix", [".jsonl", ".npz"])
def test_a_folder_is_refused_in_one_line(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"folder{suffix}"
    path.mkdir()
    assert "cannot be read" in message_of(path)


def test_the_worst_files_need_little_memory(tmp_path: Path) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc: the high-water mark of getrusage is that of the parent")
    paths = []
    for index, name in enumerate(WORST):
        suffix, build, _ = BUILT[name]
        paths.append(str(tmp_path / f"{index}{suffix}"))
        build(Path(paths[-1]))
    program = (
        "import re, sys\n"
        "from hiersim.frontends.load import load_trace\n"
        "from hiersim.errors import TraceError\n"
        "for path in sys.argv[1:]:\n"
        "    try:\n"
        "        load_trace(path)\n"
        "    except TraceError:\n"
        "        continue\n"
        "    sys.exit(path)\n"
        "print(re.search(r'VmHWM:\\s*(\\d+) kB', open('/proc/self/status').read())[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *paths], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) * 1024 < MEGABYTES * 10**6
