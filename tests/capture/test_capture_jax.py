"""JAX functions become traces; XLA's own analysis is the oracle for what its fusions move."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

jax = pytest.importorskip("jax")

import hiersim as hs  # noqa: E402
from hiersim.cli.main import main  # noqa: E402
from hiersim.errors import TraceError  # noqa: E402
from hiersim.frontends import jax_capture  # noqa: E402
from hiersim.frontends.hlo.build import import_hlo  # noqa: E402
from hiersim.frontends.hlo.text import Module, parse_module  # noqa: E402
from hiersim.frontends.jax_capture import capture_jax  # noqa: E402
from hiersim.model.operators import Role  # noqa: E402
from hiersim.model.trace import Trace  # noqa: E402

pytestmark = pytest.mark.jax
HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")


@functools.cache
def captured(name: str) -> tuple[Trace, str]:
    """The trace of a model, and the text of the module that XLA compiled for it: once, for XLA takes long."""
    texts: list[str] = []

    def kept(text: str, file: str) -> Module:
        texts.append(text)
        return parse_module(text, file)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax_capture, "parse_module", kept)
        trace = jax_capture.capture_jax(f"jax_models:{name}", "xla")
    return trace, texts[1]


def models(*rows: tuple[Any, ...]) -> list[Any]:
    """Parameters that begin with a model's name; tests of one model share a worker and with it the compilation."""
    return [pytest.param(*row, marks=pytest.mark.xdist_group(str(row[0])), id=str(row[0])) for row in rows]


def alone(text: str, name: str) -> str:
    """A module that holds one instruction of `text` and the computations that it calls."""
    plain = re.sub(r", metadata=\{(?:[^{}\"]|\"(?:[^\"\\]|\\.)*\")*\}|, backend_config=.*", "", text)
    rows = plain.splitlines()
    begin = next(at for at, row in enumerate(rows) if row.endswith("{") and row.startswith(("%", "ENTRY")))
    end = next(at for at, row in enumerate(rows) if row.startswith("ENTRY"))
    shapes = dict(re.findall(r"^\s+(?:ROOT )?%([\w.\-]+) = (.*?) [a-z][a-z\-]*\(", plain, re.MULTILINE))
    found = re.search(rf"%{re.escape(name)} = (.*?) ([a-z\-]+)\((.*?)\)(.*)$", plain, re.MULTILINE)
    assert found
    out, opcode, operands, rest = found.groups()
    names = re.findall(r"%([\w.\-]+)", operands)
    head = ", ".join(f"p{at}: {shapes[item]}" for at, item in enumerate(names))
    inputs = [f"  %p{at} = {shapes[item]} parameter({at})" for at, item in enumerate(names)]
    given = ", ".join(f"%p{at}" for at in range(len(names)))
    entry = [f"ENTRY %e ({head}) -> {out} {{", *inputs, f"  ROOT %r = {out} {opcode}({given}){rest}", "}"]
    return "\n".join(["HloModule one", *rows[begin:end], *entry]) + "\n"


def bytes_by_xla(text: str) -> float:
    from jaxlib import _hlo, _jax

    module = _hlo.hlo_module_from_text(text)
    return float(_jax.hlo_module_cost_analysis(jax.devices("cpu")[0].client, module)["bytes accessed"])


@pytest.mark.parametrize("name", models(("mlp",), ("mlp_step",), ("scan",), ("llama",), ("resnet50",)))
def test_each_kernel_moves_the_bytes_that_xla_says(name: str) -> None:
    trace, text = captured(name)
    kernels = trace.schedules["xla"]
    moved = {}
    for at, kernel in enumerate(kernels.names):
        parts = (kernels.reads, kernels.writes)
        moved[kernel] = sum(int(part.size[part.ptr[at] : part.ptr[at + 1]].sum()) for part in parts)
    checked = 0
    for kernel, size in moved.items():
        if kernel.startswith(("broadcast.", "gather")) or not re.search(rf"%{re.escape(kernel)} = ", text):
            continue  # XLA's analysis of a fused lookup reads the whole table
        expected = bytes_by_xla(alone(text, kernel))
        assert size == pytest.approx(expected, rel=0.02, abs=16), kernel
        checked += 1
    assert checked >= 0.9 * len(moved)


SLICES = """%f (p: <all>) -> (<part>, <part>) {
  %p = <all> parameter(0)
  WHOLE
  %low = <part> slice(%q), slice={[0:7], [0:2], [0:7], [0:1], [0:512]}
  %high = <part> slice(%q), slice={[0:7], [0:2], [1:8], [0:1], [0:512]}
  ROOT %t = (<part>, <part>) tuple(%low, %high)
}
ENTRY %e (x: <all>) -> (<part>, <part>) {
  %x = <all> parameter(0)
  ROOT %fusion = (<part>, <part>) fusion(%x), kind=kLoop, calls=%f
}
""".replace("<all>", "bf16[7,2,8,1,512]").replace("<part>", "bf16[7,2,7,1,512]")
TWICE = """%inner (a: f32[128,256]) -> f32[128,256] {
  %a = f32[128,256] parameter(0)
  ROOT %r = f32[128,256] negate(%a)
}
%f (p: f32[128,256]) -> f32[128,256] {
  %p = f32[128,256] parameter(0)
  %n = f32[128,256] PART
  ROOT %s = f32[128,256] add(%p, %n)
}
ENTRY %e (x: f32[128,256]) -> f32[128,256] {
  %x = f32[128,256] parameter(0)
  ROOT %fusion = f32[128,256] fusion(%x), kind=kLoop, calls=%f
}
"""


@pytest.mark.parametrize(
    ("by_use", "by_memory", "ours", "over"),
    [
        (  # two of ResNet-50's: rows 0 to 6 and 1 to 7 of eight, cut at once, and cut from a copy inside the fusion
            SLICES.replace("  WHOLE\n", "").replace("%q", "%p"),
            SLICES.replace("WHOLE", "%q = bf16[7,2,8,1,512] copy(%p)"),
            114_688 + 2 * 100_352, 2 * 100_352 - 114_688,
        ),
        (  # one of Llama's: an operand and a nested fusion of it, added up, and the same without nesting
            TWICE.replace("PART", "fusion(%p), kind=kLoop, calls=%inner"), TWICE.replace("PART", "negate(%p)"),
            2 * 131_072, 131_072,
        ),
    ],
    ids=["overlapping slices", "nested fusion"],
)  # fmt: skip
def test_where_xla_counts_uses_another_spelling_of_the_same_reads_gives_our_bytes(
    by_use: str, by_memory: str, ours: int, over: int, tmp_path: Path
) -> None:
    """The three fusions for TPUs that differ: XLA's figure depends on the spelling, the memory read does not."""
    assert bytes_by_xla(f"HloModule m\n{by_use}") == ours + over
    assert bytes_by_xla(f"HloModule m\n{by_memory}") == ours
    for text in (by_use, by_memory):
        path = tmp_path / "module.txt"
        path.write_text(f"HloModule m\n{text}")
        kernels = import_hlo(path).schedules["xla"]
        assert int(kernels.reads.size.sum() + kernels.writes.size.sum()) == ours


@pytest.mark.parametrize(
    ("name", "flops"),
    models(
        ("mlp", 2 * 64 * 512 * 2048 * 2),
        ("mlp_step", 2 * 64 * 512 * 2048 * 5),
        ("scan", 7 * 2 * 32 * 128 * 128),
        ("llama", 2 * 2 * 128 * 256 * (4 * 256 + 3 * 768 + 2 * 128) + 2 * 128 * 256 * 1000),
        ("resnet50", 2 * 2 * 4_089_184_256),
    ),
)
def test_the_matrix_work_is_that_of_the_model_in_both_forms(name: str, flops: int) -> None:
    trace, _ = captured(name)
    assert int(trace.graph.operators.matrix_flops.sum()) == flops
    assert int(trace.schedules["xla"].operators.matrix_flops.sum()) == flops


def test_a_scan_is_walked_as_often_as_it_runs() -> None:
    graph = capture_jax("jax_models:scan").graph
    labels = [graph.operators.label(row) for row in range(len(graph.operators))]
    assert labels.count("hlo.dot") == labels.count("hlo.tanh") == labels.count("hlo.reduce") == 7


@pytest.mark.xdist_group("mlp_step")
def test_weights_are_known_by_name_and_donated_ones_are_written_in_place() -> None:
    graph = captured("mlp_step")[0].graph
    table = graph.tensors
    weights = np.flatnonzero(table.storage_role == Role.WEIGHT)
    assert {table.storage_names[at] for at in weights} == {"params.w1", "params.b1", "params.w2", "params.b2"}
    assert table.storage_output[weights].all()
    written = set(table.tensor_storage[graph.writes.tensor].tolist())
    assert set(weights.tolist()) <= written


@pytest.mark.xdist_group("llama")
def test_fusing_moves_fewer_bytes_and_takes_less_time() -> None:
    trace, design = captured("llama")[0], hs.load_design("tpu-v4")
    eager, fused = (hs.simulate(trace, design, fusion=policy) for policy in ("eager", "xla"))
    assert fused.time < eager.time


def test_the_command_writes_a_trace_that_runs(tmp_path: Path) -> None:
    target = tmp_path / "mlp.npz"
    done = CliRunner().invoke(main, ["capture", "jax", "jax_models:mlp", "--mode", "xla", "-o", str(target)])
    assert done.exit_code == 0, done.output
    assert "xla: 4 kernels" in done.output
    run = CliRunner().invoke(main, ["run", str(target), "-d", "tpu-v4", "-f", "xla", "-q"])
    assert run.exit_code == 0, run.output
    assert "xla (captured)" in run.output


@pytest.mark.parametrize(
    ("target", "platform", "problem"),
    [
        ("jax_models:nothing", "cpu", "cannot be imported"),
        ("jax_models:shape", "cpu", "returned ShapeDtypeStruct"),
        ("jax_models:mlp", "gpu", "is not a platform"),
    ],
)
def test_a_target_that_cannot_be_captured_is_one_line(target: str, platform: str, problem: str) -> None:
    with pytest.raises(TraceError, match=problem) as caught:
        capture_jax(target, "eager", platform)
    assert "\n" not in str(caught.value)
