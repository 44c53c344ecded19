"""`hiersim measure`: times of real operators and models, on the device that is at hand."""

from __future__ import annotations

from typing import Any

import click

from hiersim.cli.options import workload_options
from hiersim.errors import HiersimError

DEVICE_HELP = "Where to measure. Default: the GPU where PyTorch sees one."


@click.group()
def measure() -> None:
    """Measure operators and models on this machine's GPU or CPU."""


device = click.option("--device", type=click.Choice(["cpu", "cuda"]), help=DEVICE_HELP)
output = click.option(
    "-o", "--output", required=True, metavar="FILE", help="Rows of measured times to write (.jsonl); must be new."
)
quiet = click.option("-q", "--quiet", is_flag=True, help="No messages on standard error.")


@measure.command()
@click.option("--suite", "suites", multiple=True, metavar="NAME", help="Only this suite; repeatable. Default: all.")
@click.option("--match", default="", metavar="TEXT", help="Only cases whose name contains TEXT, such as gemm/mm/bf16.")
@device
@click.option(
    "--limit-seconds", type=click.FloatRange(min=0.1), default=300.0, show_default=True, metavar="S",
    help="No case starts later than this.",
)  # fmt: skip
@click.option(
    "--spend-seconds", type=click.FloatRange(min=1e-4, max=60), default=0.02, show_default=True, metavar="S",
    help="Time for the samples of one clock of one case.",
)  # fmt: skip
@click.option("--largest", metavar="SIZE", help="Operands and results of a case. Default: 8GiB, on a CPU 64MiB.")
@click.option(
    "--counters", type=click.Choice(["ncu"]),
    help="Instead of times: hardware counters of memory traffic, read by Nsight Compute.",
)  # fmt: skip
@output
@quiet
def kernels(
    suites: tuple[str, ...], match: str, device: str | None, limit_seconds: float, spend_seconds: float,
    largest: str | None, counters: str | None, output: str, quiet: bool,
) -> None:  # fmt: skip
    """Measure suites of single operators, with warm and with cold caches.

    Cases run in the order of their value until the time is up; each result is in the file at once. Suites: launch,
    stream, pointwise, reduction, gemm, attention, transfer, bmm, gather, copy, conv, vision, fusion.

    \b
    Example:
      hiersim measure kernels --suite gemm --suite stream --limit-seconds 60 -o measured.jsonl
    """
    _import_torch()
    from hiersim.measure.environment import device_of
    from hiersim.measure.kernels import Request, measure_kernels

    request = Request(
        suites=suites, device=device_of(device), limit_s=limit_seconds, spend_s=spend_seconds, match=match,
        largest=_size(largest),
    )  # fmt: skip
    if counters:
        from hiersim.measure.counters import count_kernels

        end = count_kernels(request, output, lambda text: _say(text, quiet))
    else:
        end = measure_kernels(request, output, lambda text: _say(text, quiet))
    left = f", {end.left} left for want of time" if end.left else ""
    _say(f"{output}: {end.cases} cases in {end.seconds:.1f} s{left}", quiet)


@measure.command(name="torch")
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@click.option(
    "--mode", "modes", type=click.Choice(["eager", "compiled", "graph"]), multiple=True,
    help="eager, compiled (torch.compile) or graph (compiled and replayed as a CUDA graph); repeatable. "
    "Default: eager and compiled.",
)  # fmt: skip
@device
@click.option("--train", is_flag=True, help="A training step: forward, loss, backward, AdamW. Bundled names know.")
@click.option("--repeats", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Calls that count.")
@click.option("--warmup", type=click.IntRange(1, 10_000), default=30, show_default=True, help="Calls before, at most.")
@workload_options
@click.option(
    "--dtype", type=click.Choice(["bf16", "fp16", "fp32", "tf32", "fp64"]),
    help="Element type of the weights. Default: as the model has them; hf:, timm: bf16.",
)  # fmt: skip
@click.option(
    "--limit-seconds", type=click.FloatRange(min=0.1), metavar="S", help="No mode of a model starts later than this."
)
@output
@quiet
def torch_command(
    targets: tuple[str, ...], modes: tuple[str, ...], device: str | None, train: bool, repeats: int, warmup: int,
    dtype: str | None, limit_seconds: float | None, output: str, quiet: bool, settings: tuple[str, ...],
    **workload: Any,
) -> None:  # fmt: skip
    """Measure PyTorch models end to end and kernel by kernel.

    TARGET is what `hiersim capture torch` takes: a bundled name; hf:NAME of transformers; timm:NAME; or
    package.module:function, which returns (model, args) or (model, args, kwargs) and is called under the device that is
    measured. Bundled models and those of libraries get random weights there.

    \b
    Examples:
      hiersim measure torch gpt2-large-prefill bert-large-prefill -o models.jsonl
      hiersim measure torch hf:opt --batch 2 --sequence 1024 -o opt.jsonl
    """
    _import_torch()
    from hiersim.frontends.pytorch.workload import Workload, settings_of
    from hiersim.measure.environment import device_of
    from hiersim.measure.model import ModelRequest, measure_models

    found = device_of(device)
    if "graph" in modes and found.type != "cuda":
        raise HiersimError("a CUDA graph needs a CUDA device", key="--mode graph", expected="--mode compiled")
    request = ModelRequest(
        targets=targets, modes=modes or ("eager", "compiled"), device=found, train=train, dtype=dtype,
        repeats=repeats, warm_up=warmup, limit_s=limit_seconds or float("inf"),
        workload=Workload(settings=settings_of(settings), **workload),
    )  # fmt: skip
    end = measure_models(request, output, lambda text: _say(text, quiet))
    _say(f"{output}: {end.cases} models in {end.seconds:.1f} s", quiet)


@measure.command()
@click.argument("file")
@click.option("--match", default="", metavar="TEXT", help="Only cases whose name contains TEXT.")
def show(file: str, match: str) -> None:
    """Check a file of measured times and print what it holds."""
    from hiersim.cli.options import console
    from hiersim.frontends.measured import load_measured
    from hiersim.measure.constants import host_constants, shown
    from hiersim.views.measured import print_measured

    measured = load_measured(file)
    print_measured(measured, shown(host_constants(measured)), console(), match)


def _import_torch() -> None:
    """PyTorch, whose profiler is told not to write its progress to standard error."""
    import os

    os.environ.setdefault("KINETO_LOG_LEVEL", "6")
    from hiersim.frontends.pytorch.capture import require_torch

    require_torch()


def _size(text: str | None) -> int | None:
    if text is None:
        return None
    from hiersim.units import Bytes, parse

    try:
        return int(parse(Bytes, text))
    except HiersimError as error:
        raise HiersimError(error.problem, key="--largest", expected=error.expected) from None


def _say(text: str, quiet: bool) -> None:
    if not quiet:
        click.echo(text, err=True)
