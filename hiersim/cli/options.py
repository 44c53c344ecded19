"""Options and helpers that several commands share."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from hiersim.errors import HiersimError

if TYPE_CHECKING:
    from rich.console import Console

    from hiersim.model.design import Design
    from hiersim.results import Result

Decorated = Callable[..., Any]
SECONDS_PER_STAGE = {"reference": 4e-5, "compiled": 1e-7}
"""What an engine and its ledger need on an ordinary core when every tile is played."""
LONG_SECONDS = 5
SET_HELP = "Change a value of the design: memory.l2.capacity=200MiB, memory.hbm.bandwidth=2x. Repeatable."


engine = click.option(
    "--engine", metavar="NAME", help="Simulation engine: compiled or reference. Default: the fastest that is there."
)
no_fast_forward = click.option(
    "--no-fast-forward", is_flag=True, help="Play what repeats as well, instead of skipping it; same result."
)
launch = click.option(
    "--launch", metavar="MODE", default="stream", show_default=True,
    help="How the host launches: stream (a call per kernel) or graph (replay of a captured CUDA graph).",
)  # fmt: skip
output = click.option("-o", "--output", required=True, metavar="TRACE", help="The trace to write (.npz).")
check = click.option("--check", is_flag=True, help="Keep what every stage did and audit it stage by stage.")


def workload_options(function: Decorated) -> Decorated:
    """What a target of a model library runs: `batch`, `sequence`, `phase`, `image` and `settings`."""
    for option in reversed(
        (
            click.option("--batch", type=int, metavar="N", help="hf:, timm: sequences or images (1; timm: 8)."),
            click.option(
                "--sequence", type=int, metavar="N", help="hf: tokens; of a decode step, those in the KV cache."
            ),
            click.option(
                "--phase", type=click.Choice(["prefill", "decode"]),
                help="hf: all tokens at once, or one over a KV cache.",
            ),
            click.option("--image", type=int, metavar="N", help="hf:, timm: pixels along each side."),
            click.option(
                "--config", "settings", multiple=True, metavar="KEY=VALUE",
                help="hf:, timm: replace a value of the configuration.",
            ),
        )
    ):  # fmt: skip
        function = option(function)
    return function


def common(function: Decorated) -> Decorated:
    """Options of every command that simulates."""
    for option in reversed(
        (
            click.option("--set", "sets", multiple=True, metavar="PATH=VALUE", help=SET_HELP),
            launch,
            engine,
            no_fast_forward,
            check,
            click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables."),
            click.option("--timeline", metavar="FILE", help="Write a Perfetto timeline (.pftrace, .json or .json.gz)."),
            click.option("-q", "--quiet", is_flag=True, help="No messages on standard error."),
            click.option("-v", "--verbose", is_flag=True, help="Print the largest kernels and modules as well."),
        )
    ):  # fmt: skip
        function = option(function)
    return function


keep_peak = click.option(
    "--keep-peak",
    is_flag=True,
    help="Fused runs: take fused kernels apart where they would need more memory than eager mode.",
)


def variants(function: Decorated) -> Decorated:
    """Options that replay a variant of the trace; gathered in one argument, `variant`."""

    @functools.wraps(function)
    def gathered(
        *args: Any, weights: str | None, batch: int | None, context: int | None, tokens: str | None, **others: Any
    ) -> Any:
        asked = {"weights": weights, "batch": batch, "context": context, **_tokens_of(tokens)}
        return function(*args, variant={name: value for name, value in asked.items() if value is not None}, **others)

    for option in reversed(
        (
            click.option("--weights", metavar="FORMAT", help="Weights in fp8, int8, mxfp8, mxfp4 or nvfp4 (fp4)."),
            click.option("--batch", type=int, metavar="N", help="Decode: that many sequences."),
            click.option("--context", type=int, metavar="N", help="Decode: attend to that many positions."),
            click.option("--tokens", metavar="N[:STRIDE]", help="Decode: N steps, each with STRIDE (1) more context."),
        )
    ):
        gathered = option(gathered)
    return gathered


def _tokens_of(text: str | None) -> dict[str, int]:
    """`64` or `64:16` as arguments of `variant`."""
    if text is None:
        return {}
    parts = text.split(":")
    if len(parts) > 2 or not all(part.isascii() and part.isdigit() and len(part) <= 10 for part in parts):
        raise HiersimError(
            f"'{text[:100]}' is not a number of tokens", key="--tokens", expected="N or N:STRIDE, as in 64:16"
        )
    return dict(zip(("tokens", "stride"), map(int, parts), strict=False))


def changes_of(sets: Sequence[str]) -> dict[str, str]:
    """`--set PATH=VALUE` options as a mapping."""
    changes: dict[str, str] = {}
    for text in sets:
        path, equals, value = text.partition("=")
        if not equals or not path.strip() or not value.strip():
            raise HiersimError(
                f"'{text}' is not a change", key="--set", expected="PATH=VALUE, as in memory.l2.capacity=200MiB"
            )
        if path.strip() in changes:
            raise HiersimError(f"'{path.strip()}' is set twice", key="--set", expected="each path once")
        changes[path.strip()] = value.strip()
    return changes


def changed_design(name: str, changes: dict[str, str]) -> Design:
    """A design by name or file, with changes applied."""
    from hiersim.config.load import load_design

    design = load_design(name)
    if not changes:
        return design
    try:
        return design.replace(changes)
    except HiersimError as error:
        raise HiersimError(error.problem, file=f"--set on {name}", key=error.key, expected=error.expected) from None


def console(*, stderr: bool = False) -> Console:
    """A rich console; wide enough for tables when the output is a file or a pipe."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else 120
    return Console(stderr=stderr, width=width, highlight=False, soft_wrap=False)


@contextmanager
def progress(quiet: bool, engine: str, *, fast_forward: bool) -> Iterator[Callable[[str, int], None]]:
    """Tells what runs, on standard error: always when that is a terminal, else when it will take long.

    How long is told of engines that play every stage; how much fast-forward skips is not known before.
    """
    pace = 0.0 if engine == "compiled" and fast_forward else SECONDS_PER_STAGE.get(engine, 0.0)

    def told(text: str, stages: int) -> str:
        about = f", about {stages * pace:.0f} s" if stages * pace > LONG_SECONDS else ""
        return f"simulating {text}: {stages:,} stages{about}"

    if quiet or not sys.stderr.isatty():
        yield lambda text, stages: say(told(text, stages), quiet or stages * pace < LONG_SECONDS)
        return
    with console(stderr=True).status("reading") as status:
        yield lambda text, stages: status.update(told(text, stages))


def say(text: str, quiet: bool) -> None:
    """A message on standard error."""
    if not quiet:
        click.echo(text, err=True)


def print_warnings(results: Sequence[Result], quiet: bool) -> None:
    """Each warning once."""
    seen: dict[str, None] = {}
    for result in results:
        for text in result.warnings:
            seen.setdefault(text)
    for text in seen:
        say(f"warning: {text}", quiet)
