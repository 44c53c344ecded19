"""`hiersim calibrate`: fit parameters of a design to what a real device took."""

from __future__ import annotations

import click

from hiersim.cli import options


@click.command()
@click.argument("design")
@click.option(
    "--measured", "measured", multiple=True, required=True, metavar="FILE",
    help="Rows of hiersim measure (.jsonl), a file of a published data set, or a trace of a profile "
    "(hiersim import kineto, .npz); repeatable.",
)  # fmt: skip
@click.option("-o", "--output", metavar="DESIGN2", help="The fitted design to write (.yaml). Without it: tables only.")
@click.option(
    "--fit", "fit", multiple=True, metavar="PATH",
    help="A value (memory.hbm.efficiency), or a table (host) for all that is in it; repeatable. Default: what the data "
    "tells of a usual set.",
)  # fmt: skip
@click.option(
    "--trace", "traces", multiple=True, metavar="TRACE",
    help="Trace of a measured model that is not bundled; its name is the target that was measured. Repeatable.",
)  # fmt: skip
@click.option("--match", default="", metavar="TEXT", help="Only cases whose name contains TEXT, such as gemm/mm/bf16.")
@click.option(
    "--take", type=click.Choice(["median", "p25", "p10", "min"]), default="median", show_default=True,
    help="The quantile of its samples that stands for a time; a low one where other programs ran beside it.",
)  # fmt: skip
@click.option("--cache", type=click.Choice(["warm", "cold"]), help="Only operators that began so. Default: both.")
@click.option(
    "--sample", type=click.IntRange(0, 1_000_000), default=20, show_default=True, metavar="N",
    help="At most N cases of each class, chosen by their names; 0: all.",
)  # fmt: skip
@click.option(
    "--folds", type=click.IntRange(0, 100), default=5, show_default=True, metavar="N",
    help="Parts for cross-validation; 0: none.",
)  # fmt: skip
@click.option(
    "--hold-out", "group", type=click.Choice(["row", "class"]), default="row", show_default=True,
    help="What a part holds: cases, or all cases of a kind of operator.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
@click.option("-q", "--quiet", is_flag=True, help="No messages on standard error.")
def calibrate(
    design: str, measured: tuple[str, ...], output: str | None, fit: tuple[str, ...], traces: tuple[str, ...],
    match: str, take: str, cache: str | None, sample: int, folds: int, group: str, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Fit parameters of DESIGN to measured times.

    Prints each value before and after with its 95 % range, and the errors before, after and on rows that the fit had
    not seen. Refuses what the data does not tell: a value that moves nothing, or two that move the same. Needs SciPy
    (pip install "hiersim[calibrate]").

    \b
    hiersim calibrate h100-sxm --measured kernels.jsonl -o my-h100.yaml
    hiersim calibrate h100-sxm --measured kernels.jsonl --fit memory.hbm.efficiency --fit compute.matrix.efficiency
    """
    from hiersim.calibration.calibrate import calibrate as run
    from hiersim.calibration.write import check_target, save
    from hiersim.views.calibration import KEY, heading, tables

    if output:
        check_target(design, output)
    found = run(
        design, measured, fit=fit or None, traces=traces, match=match, take=take, cache=cache,
        sample=sample or None, folds=folds, group=group,
        tell=lambda text: options.say(text, quiet),
    )  # fmt: skip
    if output:
        save(found, design, output)
    if as_json:
        click.echo(found.to_json())
    else:
        screen = options.console()
        click.echo(heading(found))
        screen.print(*tables(found))
        click.echo(KEY)
    for text in found.warnings:
        options.say(f"warning: {text}", quiet)
    if output:
        options.say(f"{output}: {len(found.parameters)} values fitted", quiet)
