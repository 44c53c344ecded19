"""`hiersim import`, and the exports of traces: the formats of others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hiersim import units
from hiersim.cli.options import output, say
from hiersim.errors import HiersimError

if TYPE_CHECKING:
    from hiersim.model.trace import Trace

name = click.option("--name", default="", metavar="NAME", help="Name of the trace; default: that of the file.")
quiet = click.option("-q", "--quiet", is_flag=True, help="No messages on standard error.")


@click.group(name="import")
def import_group() -> None:
    """Make a trace of what other tools wrote."""


@import_group.command()
@click.argument("file")
@click.option("--dtype", default="bf16", show_default=True, metavar="DTYPE", help="Of rows that give none.")
@name
@output
@quiet
def csv(file: str, dtype: str, name: str, output: str, quiet: bool) -> None:
    """A table of operators (.csv, .tsv, .yaml): name, kind, dims or shape, dtype, inputs.

    \b
    name,kind,dims,shape,dtype,inputs
    fc1,gemm,m=64 n=512 k=256,,bf16,x:input w1:weight
    act,pointwise,,64x512,bf16,fc1
    """
    from hiersim.frontends.operator_list.build import import_table

    _check_target(output)
    _write(import_table(file, name=name, dtype=dtype), output, quiet)


@import_group.command()
@click.argument("file")
@click.option("--device", type=int, metavar="N", help="Index of the device; default: the one on which most ran.")
@name
@output
@quiet
def kineto(file: str, device: int | None, name: str, output: str, quiet: bool) -> None:
    """A profile of the PyTorch profiler (.json, .json.gz), with its measured times.

    Record it with record_shapes=True, else only launches can be predicted.

    \b
    hiersim import kineto run.pt.trace.json.gz -o run.npz
    hiersim run run.npz --design a100-80gb-sxm
    """
    from hiersim.frontends.kineto.build import import_kineto

    _check_target(output)
    _write(import_kineto(file, name=name, device=device), output, quiet)


@import_group.command()
@click.argument("file")
@name
@output
@quiet
def chakra(file: str, name: str, output: str, quiet: bool) -> None:
    """An MLCommons Chakra execution trace (.et), or the JSON of its tools and of PyTorch.

    \b
    hiersim import chakra rank0.et -o rank0.npz
    """
    from hiersim.frontends.chakra.build import import_chakra

    _check_target(output)
    _write(import_chakra(file, name=name), output, quiet)


@import_group.command()
@click.argument("file")
@click.option("--side", "sides", multiple=True, metavar="NAME=N", help="Value of a symbolic side; repeatable.")
@click.option(
    "--runtime",
    type=click.Choice(["basic", "extended"]),
    help="Also the graph that ONNX Runtime makes of it, optimised up to this level: the schedule 'ort'.",
)
@name
@output
@quiet
def onnx(file: str, sides: tuple[str, ...], runtime: str | None, name: str, output: str, quiet: bool) -> None:
    """An ONNX model (.onnx): one inference. Weights' data is not needed.

    \b
    hiersim import onnx bert.onnx --side batch=8 --side sequence=512 -o bert.npz
    hiersim import onnx bert.onnx --runtime extended -o bert.npz
    hiersim run bert.npz --design h100-sxm --fusion ort
    """
    from hiersim.frontends.onnx_model.build import import_onnx

    _check_target(output)
    _write(import_onnx(file, name=name, sides=_sides(sides), runtime=runtime or ""), output, quiet)


@import_group.command()
@click.argument("file")
@click.option("--weights", multiple=True, metavar="NAME", help="An argument that holds weights; repeatable.")
@name
@output
@quiet
def hlo(file: str, weights: tuple[str, ...], name: str, output: str, quiet: bool) -> None:
    """The text of an HLO module of XLA (.txt, .hlo, plain or gzip), before or after XLA's passes.

    Fusions become the schedule 'xla'. Dump it with XLA_FLAGS=--xla_dump_to=DIR, or from JAX with
    lower(...).as_text(dialect="hlo") and compile().as_text().

    \b
    hiersim import hlo module_0001.jit_step.cpu_after_optimizations.txt -o step.npz
    """
    from hiersim.frontends.hlo.build import WEIGHTS, import_hlo

    _check_target(output)
    _write(import_hlo(file, name=name, weights=(*WEIGHTS, *weights)), output, quiet)


def _sides(words: tuple[str, ...]) -> dict[str, int]:
    found: dict[str, int] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not value.isascii() or not value.isdigit() or len(value) > 12 or int(value) < 1:
            raise HiersimError(f"'{word[:60]}' is no side", key="--side", expected="NAME=N, as in batch=8")
        found[key] = int(value)
    return found


@click.command(name="chakra")
@click.argument("trace")
@click.option("-o", "--out", required=True, metavar="FILE", help="File to write (.et or .et.gz).")
@quiet
def export_command(trace: str, out: str, quiet: bool) -> None:
    """TRACE as an MLCommons Chakra execution trace; `hiersim import chakra` reads it back whole.

    \b
    hiersim export chakra gpt2-large-prefill -o gpt2.et
    """
    from hiersim.frontends.chakra.write import export_chakra
    from hiersim.frontends.load import load_trace

    loaded = load_trace(trace)
    export_chakra(loaded, out)
    say(f"{out}: {len(loaded.graph.operators)} nodes", quiet)


def _check_target(output: str) -> None:
    """A wrong output is found before the work is done."""
    if Path(output).suffix != ".npz":
        raise HiersimError("has an unknown form", file=output, expected="a name that ends in .npz")


def _write(trace: Trace, output: str, quiet: bool) -> None:
    from hiersim.frontends.archive import save_trace
    from hiersim.views.traces import trace_facts

    save_trace(trace, output)
    facts = trace_facts(trace)
    say(f"{output}: {facts['operators']} operators, {units.show_flops(facts['matrix_flops'])}", quiet)
    for policy, estimate in trace.estimates.items():
        known = estimate.cycles[estimate.cycles >= 0]
        kernels = f"{len(known)} of {len(estimate.cycles)} kernels"
        say(f"{policy}: its compiler expects {int(known.sum()):,} cycles of {kernels}; see hiersim explain", quiet)
    for note in trace.header.notes:
        say(f"{'warning' if 'without' in note or 'could not' in note else 'note'}: {note}", quiet)
