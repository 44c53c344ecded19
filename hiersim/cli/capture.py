"""`hiersim capture`: record a model from its framework as a trace."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hiersim.cli.options import output, workload_options
from hiersim.errors import HiersimError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable

    from hiersim.model.trace import Trace


def mode_of(**gives: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option `--mode`: eager, or what each of the compilers gives beside."""
    choice = click.Choice(["eager", *gives])
    text = " ".join(f"{compiler}: {what}" for compiler, what in gives.items())
    return click.option("--mode", type=choice, default="eager", show_default=True, help=text)


@click.group()
def capture() -> None:
    """Record a model as a trace, without a GPU and without its weights."""


@capture.command(name="torch")
@click.argument("target")
@mode_of(inductor="also the kernels that torch.compile makes for an H100.", dynamo="also graph breaks and guards.")
@click.option(
    "--shapes",
    type=click.Choice(["automatic", "static", "dynamic"]),
    default="automatic",
    show_default=True,
    help="dynamo: what a region does when sizes change, `dynamic` of torch.compile.",
)
@click.option("--train", is_flag=True, help="Record a training step: forward, loss, backward, AdamW.")
@workload_options
@click.option("--dtype", type=click.Choice(["bf16", "fp16", "fp32"]), help="hf:, timm: element type (bf16).")
@output
def torch_command(
    target: str, mode: str, shapes: str, train: bool, output: str, settings: tuple[str, ...], **workload: Any
) -> None:
    """Capture a PyTorch model.

    TARGET is a bundled name; hf:NAME of transformers (a model type, a class, or a config.json); timm:NAME; or
    package.module:function, which returns (model, args) or (model, args, kwargs) and is called under the meta device.

    \b
    Examples:
      hiersim capture torch gpt2-large-prefill --mode inductor -o gpt2.npz
      hiersim capture torch hf:my/config.json --phase decode --sequence 4096 -o mine.npz
      hiersim capture torch timm:regnety_032 --batch 8 --image 288 -o regnet.npz
      hiersim capture torch my_package.my_module:build --mode dynamo -o regions.jsonl
    """
    from hiersim.frontends.pytorch.capture import capture_torch
    from hiersim.frontends.pytorch.workload import Workload, settings_of

    trace = capture_torch(target, mode, train, Workload(settings=settings_of(settings), **workload), shapes)
    _write(trace, output)
    if not train and _draws(trace):
        click.echo(
            "note: dropout runs, for the model is in training mode; 'return model.eval(), …' leaves it out", err=True
        )


def _draws(trace: Trace) -> bool:
    """Whether random masks are among the operators."""
    table = trace.graph.operators
    names = {table.label(row) for row in range(len(table))}
    return any(word in name for name in names for word in ("dropout", "bernoulli"))


@capture.command(name="jax")
@click.argument("target")
@mode_of(xla="also the fusions that XLA makes of it.")
@click.option(
    "--platform",
    default="cpu",
    show_default=True,
    metavar="PLATFORM",
    help="What XLA compiles for: cpu, or tpu:TOPOLOGY (tpu:v5e:2x2) where libtpu is installed; no TPU is needed.",
)
@click.option("--weights", multiple=True, metavar="NAME", help="An argument that holds weights; repeatable.")
@output
def jax_command(target: str, mode: str, platform: str, weights: tuple[str, ...], output: str) -> None:
    """Capture a JAX function.

    TARGET is package.module:function; the function returns (function, args) or (function, args, kwargs), where
    arrays may be jax.ShapeDtypeStruct: nothing is computed. Arguments called params, weights, variables or model hold
    weights.

    \b
    Example:
      hiersim capture jax my_package.my_module:build --mode xla -o mine.npz
    """
    from hiersim.frontends.jax_capture import capture_jax

    trace = capture_jax(target, mode, platform, weights)
    _write(trace, output)


@capture.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("-o", "--out", required=True, metavar="DIR", help="Folder for the traces.")
def bundled(names: tuple[str, ...], out: str) -> None:
    """Capture bundled traces again, eager and inductor: all of them, or those named.

    Each is what the command in its header gives, in a process of its own, so that nothing of one reaches the next.
    """
    from hiersim.frontends.pytorch.capture import capture_torch
    from hiersim.frontends.pytorch.capture_process import CaptureProcess
    from hiersim.zoo import BUILDERS

    chosen = names or tuple(builder.name for builder in BUILDERS.values() if builder.bundled)
    for name in chosen:
        if name not in BUILDERS:
            raise HiersimError(f"'{name}' is not a bundled model", expected=nearest(name, BUILDERS))
    with CaptureProcess() as process:
        for name in chosen:
            _write(capture_torch(name, "inductor", process=process), str(Path(out) / f"{name}.npz"))


def _write(trace: Trace, output: str) -> None:
    from hiersim.frontends.archive import save_trace
    from hiersim.views.traces import summary_of

    save_trace(trace, output)
    click.echo(f"{output}: {summary_of(trace)}", err=True)
