"""`advise`, `tornado`, `knees`, `target` and `rank`: what to buy next."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from hiersim.cli import options
from hiersim.errors import HiersimError, TargetError, one_line

if TYPE_CHECKING:
    from hiersim.model.design import Design
    from hiersim.model.trace import Trace


def question(function: Callable[..., Any]) -> Callable[..., Any]:
    """Arguments and options of every command that varies one run."""
    for option in reversed(
        (
            click.argument("trace"),
            click.option("-d", "--design", required=True, metavar="D", help="Bundled design or YAML file."),
            click.option("-f", "--fusion", default="eager", show_default=True, metavar="P", help="Fusion policy."),
            options.variants,
            click.option("--set", "sets", multiple=True, metavar="PATH=VALUE", help=options.SET_HELP),
            options.launch,
            options.engine,
            click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables."),
            click.option("-q", "--quiet", is_flag=True, help="No messages on standard error."),
            click.option("-v", "--verbose", is_flag=True, help="Print every row."),
        )
    ):
        function = option(function)
    return function


def inputs(
    trace: str, design: str, variant: Mapping[str, Any], sets: Sequence[str], launch: str, engine: str | None
) -> tuple[Trace, Design, dict[str, Any]]:
    """The trace, the design, and the options of every replay."""
    changes = options.changes_of(sets)
    machine = options.changed_design(design, changes)
    model, how = replays(trace, variant, launch, engine)
    return model, machine, {**how, "changes": changes}


def replays(trace: str, variant: Mapping[str, Any], launch: str, engine: str | None) -> tuple[Trace, dict[str, Any]]:
    """The trace, and the options of every replay of it."""
    from hiersim.frontends.load import load_trace
    from hiersim.frontends.variants.variant import variant as varied
    from hiersim.lowering.host import check_launch
    from hiersim.run import DEFAULT_ENGINE
    from hiersim.run import engine as check_engine

    name = engine or DEFAULT_ENGINE
    check_engine(name)
    check_launch(launch)
    loaded = load_trace(trace)
    return varied(loaded, **variant) if variant else loaded, {"launch": launch, "engine_name": name}


@contextmanager
def telling(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Tells what is replayed, on standard error, where that is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda what, done, count: None
        return
    from rich.markup import escape

    with options.console(stderr=True).status("reading") as status:
        yield lambda what, done, count: status.update(escape(one_line(f"{done} of {count}: {what}")))


def as_text(value: Mapping[str, Any]) -> str:
    """A JSON form as text."""
    return json.dumps(value, sort_keys=True, indent=1, allow_nan=False)


@click.command()
@question
@click.option("-r", "--resource", "paths", multiple=True, metavar="PATH", help="Only this resource. Repeatable.")
def advise(
    trace: str, design: str, fusion: str, variant: Mapping[str, Any], sets: tuple[str, ...], launch: str,
    engine: str | None, as_json: bool, quiet: bool, verbose: bool, paths: tuple[str, ...],
) -> None:  # fmt: skip
    """What should one buy for TRACE: FLOPS, bandwidth, SRAM, or a faster host?

    Elasticities: by how many per cent a run gets faster when a resource gets one per cent better; and replays with
    10 % more and 10 % less of each.

    \b
    hiersim advise llama3-8b-decode --design h100-sxm --fusion inductor
    hiersim advise gpt2-train -d a100-80gb-sxm --resource memory.hbm.bandwidth --json
    """
    from hiersim.decisions.elasticity import advise as advised
    from hiersim.views import decisions as views

    model, machine, how = inputs(trace, design, variant, sets, launch, engine)
    with telling(quiet) as tell:
        found = advised(model, machine, fusion, paths=paths or None, progress=tell, **how)
    if as_json:
        click.echo(as_text(found.to_dict() | {"verdict": views.verdict(found)}))
        return
    options.console().print(views.advice_table(found, verbose or bool(paths)))
    for line in views.advice_notes(found) if not paths else ():
        click.echo(line)
    click.echo(views.verdict(found))
    options.print_warnings([found.result], quiet)


@click.command()
@question
@click.option(
    "-r", "--range", "ranges", multiple=True, metavar="PATH=LOW,HIGH",
    help="Only this resource, over this range; values or factors: memory.l2.capacity=25MiB,4x. Repeatable.",
)  # fmt: skip
def tornado(
    trace: str, design: str, fusion: str, variant: Mapping[str, Any], sets: tuple[str, ...], launch: str,
    engine: str | None, as_json: bool, quiet: bool, verbose: bool, ranges: tuple[str, ...],
) -> None:  # fmt: skip
    """Which part of a design moves TRACE most, from half of it to twice as much?

    \b
    hiersim tornado bert-large-prefill --design h100-sxm
    hiersim tornado bert-large-prefill -d h100-sxm --range memory.l2.capacity=10MiB,1GiB --range compute.cores=0.5x,2x
    """
    from hiersim.decisions.tornado import tornado as turned
    from hiersim.views import decisions as views

    wanted = ranges_of(ranges)
    model, machine, how = inputs(trace, design, variant, sets, launch, engine)
    with telling(quiet) as tell:
        found = turned(model, machine, fusion, ranges=wanted, progress=tell, **how)
    if as_json:
        click.echo(as_text(found.to_dict()))
        return
    options.console().print(views.tornado_table(found, len(found.bars) if verbose else 15))
    click.echo(views.tornado_note(found))
    options.print_warnings([found.result], quiet)


def ranges_of(texts: Sequence[str]) -> dict[str, tuple[str, str]]:
    """`--range PATH=LOW,HIGH` options as a mapping."""
    found: dict[str, tuple[str, str]] = {}
    for text in texts:
        path, _, values = text.partition("=")
        ends = [value.strip() for value in values.split(",")]
        if not path.strip() or len(ends) != 2 or not all(ends):
            raise HiersimError(
                f"'{text[:100]}' is not a range",
                key="--range",
                expected="PATH=LOW,HIGH, as in memory.l2.capacity=0.5x,2x",
            )
        if path.strip() in found:
            raise HiersimError(f"'{path.strip()}' has two ranges", key="--range", expected="each path once")
        found[path.strip()] = (ends[0], ends[1])
    return found


@click.command()
@question
@click.option("-t", "--tier", metavar="NAME", help="Which tier. Default: the largest shared cache.")
@click.option("--sizes", metavar="SIZE,SIZE,…", help="Replay these sizes. Default: around all working sets.")
def knees(
    trace: str, design: str, fusion: str, variant: Mapping[str, Any], sets: tuple[str, ...], launch: str,
    engine: str | None, as_json: bool, quiet: bool, verbose: bool, tier: str | None, sizes: str | None,
) -> None:  # fmt: skip
    """How large should a tier be for TRACE? Where more of it stops to help, and what it holds from there on.

    \b
    hiersim knees gpt2-large-prefill --design h100-sxm
    hiersim knees gpt2-train -d a100-80gb-sxm -f inductor --tier l2 --sizes 20MiB,40MiB,80MiB,160MiB
    """
    from hiersim.decisions.knees import knees as found_knees
    from hiersim.views import decisions as views

    wanted = None if sizes is None else sizes_of(sizes)
    model, machine, how = inputs(trace, design, variant, sets, launch, engine)
    with telling(quiet) as tell:
        found = found_knees(model, machine, fusion, tier=tier, sizes=wanted, progress=tell, **how)
    if as_json:
        click.echo(as_text(found.to_dict()))
        return
    screen = options.console()
    if found.knees:
        screen.print(views.curve_table(found))
    if verbose or sizes is not None:
        screen.print(views.points_table(found))
    click.echo(views.curve_note(found))
    options.print_warnings([found.result], quiet)


def sizes_of(text: str) -> list[int]:
    """`10MiB,20MiB,40MiB` in bytes."""
    from hiersim import units

    found = []
    for part in text.split(","):
        try:
            found.append(int(units.parse(units.Bytes, part.strip())))
        except HiersimError as error:
            raise HiersimError(error.problem, key="--sizes", expected=error.expected) from None
    if len(set(found)) < 3 or 0 in found:
        raise HiersimError(
            f"'{text[:100]}' are too few sizes",
            key="--sizes",
            expected="at least three sizes above zero, as in 10MiB,20MiB,40MiB",
        )
    return found


@click.command()
@question
@click.option(
    "--vary", "varies", multiple=True, required=True, metavar="PATH=VALUES",
    help="A list or a range: memory.hbm.bandwidth=3TB/s..6TB/s+1TB/s. Repeatable: the grid is the product.",
)  # fmt: skip
@click.option("--time", "time", required=True, metavar="TIME", help="The run may take so long: 10ms.")
@click.option(
    "--price", "prices", multiple=True, metavar="PATH=USD/AMOUNT",
    help="What more of something varied costs: memory.hbm.bandwidth=500/1TB/s. Memory has its own price. Repeatable.",
)  # fmt: skip
def target(
    trace: str, design: str, fusion: str, variant: Mapping[str, Any], sets: tuple[str, ...], launch: str,
    engine: str | None, as_json: bool, quiet: bool, verbose: bool, varies: tuple[str, ...], time: str,
    prices: tuple[str, ...],
) -> None:  # fmt: skip
    """Which is the cheapest design of a grid on which TRACE takes at most TIME? Exit status 1: none is.

    \b
    hiersim target llama3-70b-decode -d h100-sxm -f inductor --time 50ms --vary memory.hbm.capacity=80GB..160GB+20GB
    hiersim target gpt2-large-prefill -d h100-sxm --time 15ms --vary memory.l2.capacity=50MiB..800MiB*2
    """
    from hiersim.cli.sweep import varied
    from hiersim.decisions.target import target as aimed
    from hiersim.views import decisions as views

    wanted, asked = seconds_of(time), varied(varies)
    model, machine, how = inputs(trace, design, variant, sets, launch, engine)
    costs = prices_of(prices, machine)
    with telling(quiet) as tell:
        found = aimed(model, machine, asked, wanted, fusion, prices=costs, progress=tell, **how)
    if as_json:
        click.echo(as_text(found.to_dict()))
    else:
        options.console().print(views.front_table(found, len(found.front) if verbose else 15))
        for warning in views.target_warnings(found):
            options.say(f"warning: {warning}", quiet)
        options.print_warnings([found.result], quiet)
    if found.best is not None and not as_json:
        click.echo(views.target_note(found))
    if found.best is None:
        raise TargetError(views.target_note(found), key="--time")


def seconds_of(text: str) -> float:
    """`10ms` in seconds."""
    from hiersim import units

    try:
        ticks = units.parse(units.Ticks, text)
    except HiersimError as error:
        raise HiersimError(error.problem, key="--time", expected=error.expected) from None
    if not ticks:
        raise HiersimError(f"'{text}' is no time", key="--time", expected="a time above zero")
    return ticks / units.TICKS_PER_SECOND


def prices_of(texts: Sequence[str], design: Design) -> dict[str, float]:
    """`--price PATH=USD/AMOUNT` options as dollars per base unit."""
    from hiersim.model.design_changes import leaf

    found: dict[str, float] = {}
    for text in texts:
        path, _, price = (part.strip() for part in text.partition("="))
        usd, _, amount = price.partition("/")
        try:
            dollars = float(usd.removesuffix("$"))
        except ValueError:
            dollars = float("nan")
        if not path or not amount or not 0 <= dollars < float("inf"):
            example = "PATH=USD/AMOUNT, as in memory.hbm.bandwidth=500/1TB/s"
            raise HiersimError(f"'{text[:100]}' is not a price", key="--price", expected=example)
        if path in found:
            raise HiersimError(f"'{path}' has two prices", key="--price", expected="each path once")
        value = leaf(design, path, amount).value
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise HiersimError(f"'{path}' is no amount that has a price", key="--price", expected="a rate or a size")
        found[path] = dollars / value
    return found


@click.command()
@click.argument("trace")
@click.option(
    "-d",
    "--design",
    "designs",
    multiple=True,
    metavar="D",
    help="Rank this one; repeatable. Default: all bundled devices.",
)
@click.option("-f", "--fusion", default="eager", show_default=True, metavar="P", help="Fusion policy.")
@options.variants
@options.launch
@options.engine
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
@click.option("-q", "--quiet", is_flag=True, help="No messages on standard error.")
def rank(
    trace: str, designs: tuple[str, ...], fusion: str, variant: Mapping[str, Any], launch: str, engine: str | None,
    as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """Which device gives most for its price on TRACE? Unknown prices are shown as unknown.

    \b
    hiersim rank llama3-8b-decode --fusion inductor
    hiersim rank bert-large-prefill -d h100-sxm -d mi300x -d a100-80gb-sxm
    """
    from hiersim.config.load import load_design
    from hiersim.decisions.rank import rank as ranked
    from hiersim.views import decisions as views

    model, how = replays(trace, variant, launch, engine)
    chosen = [load_design(name) for name in designs] or None
    with telling(quiet) as tell:
        found = ranked(model, chosen, fusion, progress=tell, **how)
    if as_json:
        click.echo(as_text(found.to_dict()))
        return
    options.console().print(views.rank_table(found))
    for line in views.rank_notes(found):
        click.echo(line)
