"""HLO text becomes a trace: what is read, what is written, how often loops run, and what is wrong with broken text."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hiersim as hs
from hiersim.errors import TraceError
from hiersim.frontends.hlo.build import import_hlo
from hiersim.frontends.hlo.text import parse_module
from hiersim.model.operators import Kind, Role
from hiersim.model.trace import Trace

LAYERS = """HloModule jit_f, entry_computation_layout={(f32[5,64,64]{2,1,0}, f32[32,64]{1,0})->f32[32,64]{1,0}}

dynamic_index.1 {
  held.1 = f32[5,64,64]{2,1,0} parameter(0)
  at.1 = s32[] parameter(1)
  zero.1 = s32[] constant(0)
  part.1 = f32[1,64,64]{2,1,0} dynamic-slice(held.1, at.1, zero.1, zero.1), dynamic_slice_sizes={1,64,64}
  ROOT whole.1 = f32[64,64]{1,0} reshape(part.1)
}

body.2 {
  state.1 = (s32[], f32[32,64]{1,0}, f32[5,64,64]{2,1,0}) parameter(0)
  count.1 = s32[] get-tuple-element(state.1), index=0
  one.1 = s32[] constant(1)
  next.1 = s32[] add(count.1, one.1)
  x.1 = f32[32,64]{1,0} get-tuple-element(state.1), index=1
  weights.1 = f32[5,64,64]{2,1,0} get-tuple-element(state.1), index=2
  weight.1 = f32[64,64]{1,0} call(weights.1, count.1), to_apply=dynamic_index.1
  product.1 = f32[32,64]{1,0} dot(x.1, weight.1), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  tanh.1 = f32[32,64]{1,0} tanh(product.1), metadata={op_name="jit(f)/layer_3/while/body/tanh"}
  ROOT tuple.1 = (s32[], f32[32,64]{1,0}, f32[5,64,64]{2,1,0}) tuple(next.1, tanh.1, weights.1)
}

condition.3 {
  state.2 = (s32[], f32[32,64]{1,0}, f32[5,64,64]{2,1,0}) parameter(0)
  count.2 = s32[] get-tuple-element(state.2), index=0
  five.1 = s32[] constant(5)
  ROOT less.1 = pred[] compare(count.2, five.1), direction=LT
}

ENTRY main.4 {
  zero.2 = s32[] constant(0)
  x.2 = f32[32,64]{1,0} parameter(1), metadata={op_name="x"}
  weights.2 = f32[5,64,64]{2,1,0} parameter(0), metadata={op_name="params['layers']"}
  start.1 = (s32[], f32[32,64]{1,0}, f32[5,64,64]{2,1,0}) tuple(zero.2, x.2, weights.2)
  loop.1 = (s32[], f32[32,64]{1,0}, f32[5,64,64]{2,1,0}) while(start.1), condition=condition.3, body=body.2
  ROOT done.1 = f32[32,64]{1,0} get-tuple-element(loop.1), index=1
}
"""

FUSED = """HloModule jit_g, is_scheduled=true, input_output_alias={ {0}: (0, {}, may-alias) }

%update (param_0: f32[100,8], param_1: f32[2,8], param_2: s32[]) -> f32[100,8] {
  %param_0 = f32[100,8]{1,0} parameter(0)
  %param_1 = f32[2,8]{1,0} parameter(1)
  %param_2 = s32[] parameter(2)
  %zero = s32[] constant(0)
  %double = f32[2,8]{1,0} add(%param_1, %param_1)
  ROOT %put = f32[100,8]{1,0} dynamic-update-slice(%param_0, %double, %param_2, /*index=3*/%zero)
}

%look (param_0.1: f32[1000,16], param_1.1: s32[4,1]) -> f32[4,16] {
  %param_0.1 = f32[1000,16]{1,0} parameter(0)
  %param_1.1 = s32[4,1]{1,0} parameter(1)
  %gather = f32[4,16]{1,0} gather(%param_0.1, %param_1.1), offset_dims={1}, slice_sizes={1,16}
  ROOT %exp = f32[4,16]{1,0} exponential(%gather)
}

ENTRY %main (cache: f32[100,8], new: f32[2,8], at: s32[], table: f32[1000,16], ids: s32[4,1]) -> (f32[]) {
  %cache = f32[100,8]{1,0} parameter(0), metadata={op_name="cache"}
  %new = f32[2,8]{1,0} parameter(1), metadata={op_name="new"}
  %at = s32[] parameter(2), metadata={op_name="at"}
  %table = f32[1000,16]{1,0} parameter(3), metadata={op_name="params['table']"}
  %ids = s32[4,1]{1,0} parameter(4), metadata={op_name="ids"}
  %updated = f32[100,8]{1,0} fusion(%cache, %new, %at), kind=kLoop, calls=%update
  %found = f32[4,16]{1,0} fusion(%table, %ids), kind=kLoop, calls=%look
  ROOT %tuple = (f32[100,8]{1,0}, f32[4,16]{1,0}) tuple(%updated, %found)
}
"""


def imported(folder: Path, text: str) -> Trace:
    path = folder / "module.txt"
    path.write_text(text)
    return import_hlo(path)


def labels(trace: Trace) -> list[str]:
    return [trace.graph.operators.label(row) for row in range(len(trace.graph.operators))]


def test_a_loop_runs_as_often_as_its_counter_says_and_reads_a_part_each_time(tmp_path: Path) -> None:
    trace = imported(tmp_path, LAYERS)
    graph = trace.graph
    assert labels(trace) == ["hlo.dynamic-slice", "hlo.dot", "hlo.tanh"] * 5
    assert graph.operators.matrix_flops.tolist() == [0, 2 * 32 * 64 * 64, 0] * 5
    slices = [int(graph.reads.size[graph.reads.ptr[row]]) for row in range(0, 15, 3)]
    assert slices == [4 * 64 * 64] * 5
    assert graph.tensors.storage_names[:2] == ("x", "params.layers")
    assert graph.tensors.storage_role[:2].tolist() == [Role.INPUT, Role.WEIGHT]
    assert graph.operators.strings[int(graph.operators.module[2])] == "layer_3"
    assert int(graph.tensors.storage_output.sum()) == 1


def test_a_loop_whose_length_is_not_known_runs_as_often_as_xla_says_or_once_with_a_note(tmp_path: Path) -> None:
    free = LAYERS.replace("five.1 = s32[] constant(5)", "five.1 = s32[] partition-id()")
    assert len(imported(tmp_path, free).graph.operators) == 3
    assert any("counted once" in note for note in imported(tmp_path, free).header.notes)
    said = free.replace("body=body.2", 'body=body.2, backend_config={"known_trip_count":{"n":"4"}}')
    assert len(imported(tmp_path, said).graph.operators) == 12


def test_a_fusion_reads_what_it_looks_at_and_replaces_a_donated_part_in_place(tmp_path: Path) -> None:
    trace = imported(tmp_path, FUSED)
    kernels = trace.schedules["xla"]
    assert kernels.names == ("updated", "found")
    read, write = ([part.size[part.ptr[k] : part.ptr[k + 1]].tolist() for k in range(2)]
                   for part in (kernels.reads, kernels.writes))  # fmt: skip
    assert read == [[64, 4], [4 * 16 * 4, 16]]  # the new rows and the offset; four rows of the table and their numbers
    assert write == [[64], [256]]
    cache = kernels.tensors.storage_names.index("cache")
    assert kernels.tensors.tensor_storage[kernels.writes.tensor[0]] == cache
    assert kernels.tensors.storage_output[cache] == 1
    assert labels(trace) == ["hlo.add", "hlo.dynamic-update-slice", "hlo.gather", "hlo.exponential"]


def test_what_is_not_donated_is_copied_before_a_part_is_replaced(tmp_path: Path) -> None:
    text = FUSED.replace(", input_output_alias={ {0}: (0, {}, may-alias) }", "")
    kernels = imported(tmp_path, text).schedules["xla"]
    assert kernels.writes.size[0] == 100 * 8 * 4
    assert sorted(kernels.reads.size[: kernels.reads.ptr[1]].tolist()) == [4, 64, 100 * 8 * 4]


def test_both_forms_run(tmp_path: Path) -> None:
    trace, design = imported(tmp_path, FUSED), hs.load_design("h100-sxm")
    eager, fused = (hs.simulate(trace, design, fusion=policy) for policy in ("eager", "xla"))
    assert fused.time < eager.time


@pytest.mark.parametrize(
    ("labels", "window", "shapes", "flops"),
    [
        ("b01f_01io->b01f", "size=3x3 stride=2x2", ("2,33,33,3", "3,3,3,16", "2,16,16,16"), 2 * 512 * 16 * 27),
        ("bf_io->bf", "", ("128,256", "256,64", "128,64"), 2 * 128 * 256 * 64),
        ("0bf_0io->0bf", "size=4 stride=3 lhs_dilate=4", ("4,8,16", "4,16,32", "4,8,32"), 2 * 4 * 8 * 16 * 32),
        ("bf0_0oi->b0f", "size=4 pad=3_3 rhs_reversal=1", ("8,16,1", "4,32,16", "8,4,32"), 2 * 8 * 16 * 4 * 32),
    ],
)  # fmt: skip
def test_convolutions_count_taps_on_data(
    tmp_path: Path, labels: str, window: str, shapes: tuple[str, str, str], flops: int
) -> None:
    left, right, out = shapes
    text = f"""HloModule m

ENTRY main {{
  x = f32[{left}] parameter(0)
  w = f32[{right}] parameter(1)
  ROOT y = f32[{out}] convolution(x, w), window={{{window}}}, dim_labels={labels}
}}
"""
    graph = imported(tmp_path, text).graph
    assert graph.operators.kind.tolist() == [Kind.CONV]
    assert int(graph.operators.matrix_flops[0]) == flops
    groups, m, n, k = graph.operators.dims[:4].tolist()
    assert 2 * groups * m * n * k == flops


@pytest.mark.parametrize(
    ("old", "new", "problem", "line"),
    [
        ("HloModule jit_f", "Module jit_f", "is not an HLO module", None),
        ("ENTRY main.4", "main.4", "has no ENTRY computation", None),
        ("dot(x.1, weight.1)", "dot(x.1, weight.9)", "is not defined before", 19),
        ("dot(x.1, weight.1)", "dot(x.1, weight.1", "is not defined before", 19),
        ("f32[32,64]{1,0} dot(", "f31[32,64]{1,0} dot(", "element type 'f31' is not known", 19),
        ("f32[32,64]{1,0} dot(", "f32[3<=2,64]{1,0} dot(", "is not a shape", 19),
        ("f32[32,64]{1,0} dot(", "f32[32,]{1,0} dot(", "is not a shape", 19),
        ("rhs_contracting_dims={0}", "rhs_contracting_dims={7}", "contracts a dimension", 19),
        ("rhs_contracting_dims={0}", "rhs_contracting_dims={}", "contracts 64 elements with 1", 19),
        ("index=0\n  one.1", "index=8\n  one.1", "takes a part that its operand lacks", 13),
        ("body=body.2", "body=body.9", "computation 'body.9' is not in the file", 36),
        ("next.1 = s32[]", "count.1 = s32[]", "'count.1' is there twice", 15),
        ("add(count.1, one.1)", "subtract(count.1, one.1)", "walks more than", None),
        ("to_apply=dynamic_index.1", "to_apply=body.2", "takes a part that its operand lacks", 13),
        ("reshape(part.1)", "call(held.1, at.1), to_apply=dynamic_index.1", "nest too deeply", None),
        ("parameter(1), metadata", "parameter(5), metadata", "is not among", None),
        ("\n}\n\ncondition.3", "\n\ncondition.3", "is not an instruction", 23),
    ],
)
def test_broken_text_is_one_line_with_its_place(
    tmp_path: Path, old: str, new: str, problem: str, line: int | None
) -> None:
    assert old in LAYERS
    with pytest.raises(TraceError) as caught:
        imported(tmp_path, LAYERS.replace(old, new))
    assert problem in str(caught.value)
    assert line is None or caught.value.line == line
    assert "\n" not in str(caught.value)


@given(st.sampled_from((LAYERS, FUSED)), st.integers(0, 4000), st.integers(0, 60), st.text(max_size=12))
def test_mutated_text_is_read_or_refused(text: str, at: int, cut: int, put: str) -> None:
    from hiersim.frontends.hlo.build import trace_of
    from hiersim.model.trace import TraceHeader

    mutant = text[: at % len(text)] + put + text[at % len(text) + cut :]
    try:
        module = parse_module(mutant)
        trace_of(TraceHeader(name="mutant"), module, module)
    except TraceError as error:
        assert "\n" not in str(error)


def test_the_command_imports_a_module(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from hiersim.cli.main import main

    path, target = tmp_path / "module.txt", tmp_path / "module.npz"
    path.write_text(FUSED)
    done = CliRunner().invoke(main, ["import", "hlo", str(path), "-o", str(target)])
    assert done.exit_code == 0, done.output
    run = CliRunner().invoke(main, ["compare", str(target), "-d", "tpu-v4"])
    assert run.exit_code == 0, run.output
    assert "xla (captured)" in run.output


def test_memory_that_is_set_aside_is_no_work(tmp_path: Path) -> None:
    text = """HloModule m

ENTRY e {
  x = f32[1]{0} parameter(0)
  at = s32[] parameter(1)
  space = f32[7]{0} custom-call(), custom_call_target="AllocateBuffer"
  ROOT put = f32[7]{0} dynamic-update-slice(space, x, at)
}
"""
    graph = imported(tmp_path, text).graph
    assert labels(imported(tmp_path, text)) == ["hlo.dynamic-update-slice"]
    assert graph.writes.size.tolist() == [4]
    assert graph.tensors.storage_bytes.tolist()[-1] == 28
