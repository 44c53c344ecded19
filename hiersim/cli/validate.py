"""`hiersim validate`: predictions beside what real devices took."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from hiersim.cli import options
from hiersim.errors import one_line

STEP = 500
"""Replays between two messages where standard error is no terminal."""


@click.command()
@click.option(
    "--data", multiple=True, metavar="DIR",
    help="Measured times, a file or a folder of them, or of a published data set; repeatable. "
    "Default: what comes with hiersim.",
)  # fmt: skip
@click.option(
    "-d", "--design", metavar="D", help="What was measured. Default: the bundled design of the device's name."
)
@click.option(
    "--clock", metavar="NAME",
    help="Only operators timed by profiler (kernels alone), events (with the gaps between them) or wall (with the "
    "launch). Default: the first of these that timed.",
)  # fmt: skip
@click.option(
    "--trace", "traces", multiple=True, metavar="TRACE",
    help="Trace of a measured model that is not bundled, captured from the same target. Repeatable.",
)  # fmt: skip
@click.option("--match", default="", metavar="TEXT", help="Only cases whose name contains TEXT, such as gemm/mm/bf16.")
@click.option(
    "--sample", type=click.IntRange(1, 1_000_000), metavar="N",
    help="Replay at most N cases of each class, chosen by their names. Default: all.",
)  # fmt: skip
@click.option(
    "--workers", type=click.IntRange(1, 1024), metavar="N",
    help="Processes that replay operators. Default: one for each core, where there are thousands of operators.",
)  # fmt: skip
@click.option(
    "--worst", type=click.IntRange(0, 10_000), default=5, show_default=True, metavar="N",
    help="Name so many operators that are furthest off.",
)  # fmt: skip
@click.option(
    "--write-bands", "bands", metavar="FILE",
    help="Also write the errors by class, which results give as their error band (hiersim/error_bands.json).",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
@click.option("-q", "--quiet", is_flag=True, help="No messages on standard error.")
def validate(
    data: tuple[str, ...], design: str | None, clock: str | None, traces: tuple[str, ...], match: str,
    sample: int | None, workers: int | None, worst: int, bands: str | None, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Predicted against measured, with the error table.

    Replays what `hiersim measure` timed, each operator as its clock and its cache were, models alone and with
    the measured host, and the bytes that hardware counted. Nothing is fitted to the data.

    \b
    hiersim validate
    hiersim validate --data kernels.jsonl --design my-gpu.yaml --match gemm
    hiersim validate --data aiconfigurator/ --sample 100
    hiersim validate --data mine.jsonl --trace mine.npz
    """
    from hiersim.validation.validate import validate as run
    from hiersim.views.validation import KEY, heading, tables

    with _progress(quiet) as tell:
        found = run(
            data or None, design=design, clock=clock, match=match, sample=sample, workers=workers, traces=traces,
            progress=tell,
        )  # fmt: skip
    if bands:
        from hiersim.frontends.archive import write_whole
        from hiersim.validation.bands import bands_text

        write_whole(Path(bands), bands_text(found).encode())
    if as_json:
        click.echo(found.to_json(worst))
        return
    screen = options.console()
    click.echo(heading(found))
    screen.print(*tables(found, worst))
    click.echo(KEY)


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Tells what is replayed, on standard error: in one line on a terminal, else now and then."""
    if quiet:
        yield lambda name, done, count: None
    elif sys.stderr.isatty():
        from rich.markup import escape

        with options.console(stderr=True).status("reading") as status:
            yield lambda name, done, count: status.update(escape(one_line(f"{done} of {count}: {name}")))
    else:
        yield lambda name, done, count: options.say(
            f"replaying {done} of {count}: {name}", bool(done % STEP or not done)
        )
