"""`hiersim capture`: record a model from its framework as a trace."""

from __future__ import annotations

import click


@click.group()
def capture() -> None:
    """Record a model as a trace, without a GPU and without its weights."""


@capture.command(name="torch")
@click.argument("target")
@click.option(
    "--mode",
    type=click.Choice(["eager", "inductor"]),
    default="eager",
    show_default=True,
    help="inductor: also the kernels that torch.compile makes for an H100.",
)
@click.option("--train", is_flag=True, help="Record a training step: forward, loss, backward, AdamW.")
@click.option("-o", "--output", "output", required=True, metavar="TRACE", help="The trace to write (.npz).")
def torch_command(target: str, mode: str, train: bool, output: str) -> None:
    """Capture a PyTorch model.

    TARGET is a bundled name or package.module:function; the function returns (model, args) or
    (model, args, kwargs) and is called under the meta device.

    \b
    Example:
      hiersim capture torch gpt2-large-prefill --mode inductor -o gpt2.npz
    """
    from hiersim.frontends.archive import save_trace
    from hiersim.frontends.torch_capture import capture_torch, summary

    trace = capture_torch(target, mode, train)
    save_trace(trace, output)
    click.echo(f"{output}: {summary(trace)}", err=True)
