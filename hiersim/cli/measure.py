"""`hiersim measure`: times of real operators and models, on the device that is at hand."""

from __future__ import annotations

import click

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
    from hiersim.frontends.pytorch.capture import require_torch

    require_torch()
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
