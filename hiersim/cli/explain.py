"""`explain`: which working sets make the traffic, and what one kernel does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from hiersim.cli import options

if TYPE_CHECKING:
    from hiersim.results import Result


@click.command()
@click.argument("trace")
@click.option("-d", "--design", required=True, metavar="D", help="Bundled design or YAML file.")
@click.option("-f", "--fusion", default="eager", show_default=True, metavar="P", help="Fusion policy.")
@click.option(
    "-k", "--kernel", metavar="NAME", help="Explain one kernel as well: its index, or the name of a kernel or copy."
)
@click.option(
    "--why-not",
    "pair",
    nargs=2,
    metavar="OP_A OP_B",
    help="Why are two operators in different kernels? Each by index, name or MODULE/NAME.",
)
@click.option(
    "--by-class", is_flag=True, help="Work, bytes and time of contractions, normalization and element-wise operators."
)
@click.option("--set", "sets", multiple=True, metavar="PATH=VALUE", help=options.SET_HELP)
@options.engine
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
@click.option("-q", "--quiet", is_flag=True, help="No messages on standard error.")
def explain(
    trace: str, design: str, fusion: str, kernel: str | None, pair: tuple[str, str] | None, by_class: bool,
    sets: tuple[str, ...], engine: str | None, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """How large must a cache be for TRACE, and what would it save? And why does a kernel take what it takes?

    \b
    hiersim explain gpt2-large-prefill --design h100-sxm
    hiersim explain gpt2-large-prefill -d h100-sxm -f inductor --kernel 7
    hiersim explain gpt2-large-prefill -d h100-sxm -f inductor --why-not 7 22
    hiersim explain gpt2-train -d h100-sxm --by-class
    """
    from hiersim.explanation import explain as explained
    from hiersim.frontends.load import load_trace
    from hiersim.movement import without_optimizer
    from hiersim.run import DEFAULT_ENGINE, simulate
    from hiersim.run import engine as check_engine
    from hiersim.views import explanation as views

    if pair is not None:
        _why_not(trace, design, fusion, pair, sets, as_json)
        return
    name = engine or DEFAULT_ENGINE
    check_engine(name)
    changes = options.changes_of(sets)
    machine = options.changed_design(design, changes)
    with options.progress(quiet, name, fast_forward=True) as tell:
        model = load_trace(trace)
        model = without_optimizer(model) if by_class else model
        result = simulate(model, machine, fusion, engine_name=name, changes=changes, progress=tell)
    if by_class:
        _by_class(result, as_json)
        options.print_warnings([result], quiet)
        return
    answer = explained(result, kernel)
    if as_json:
        click.echo(json.dumps(answer.to_dict(), sort_keys=True, indent=1, allow_nan=False))
        return
    screen = options.console()
    screen.print()
    screen.print(views.sets_table(answer))
    for line in views.sets_summary(answer):
        click.echo(f"- {line}")
    if answer.estimate is not None:
        screen.print()
        screen.print(views.estimate_table(answer.estimate, machine.name))
    if answer.place is not None:
        facts = answer.to_dict()["kernel"]
        click.echo()
        for line in views.kernel_lines(facts):
            click.echo(f"- {line}")
        screen.print()
        if facts["operators"]:
            screen.print(views.operators_table(facts))
        screen.print(views.traffic_table(facts))
    options.print_warnings([result], quiet)


def _by_class(result: Result, as_json: bool) -> None:
    """Answer `--by-class`: forward and backward, without the optimizer."""
    from hiersim.movement import by_class
    from hiersim.views import movement as views

    rows = by_class(result)
    if as_json:
        facts = {"schema": 1, "trace": result.trace.name, "design": result.design.name, "fusion": result.fusion}
        answer = {**facts, "classes": [row.to_dict() for row in rows]}
        click.echo(json.dumps(answer, sort_keys=True, indent=1, allow_nan=False))
        return
    screen = options.console()
    screen.print()
    screen.print(views.classes_table(result, rows))


def _why_not(trace: str, design: str, fusion: str, pair: tuple[str, str], sets: tuple[str, ...], as_json: bool) -> None:
    """Answer `--why-not`; nothing is simulated."""
    from hiersim.explanation import explain_pair
    from hiersim.frontends.load import load_trace
    from hiersim.views import explanation as views

    machine = options.changed_design(design, options.changes_of(sets))
    answer = explain_pair(load_trace(trace), machine, fusion, *pair)
    if as_json:
        click.echo(json.dumps(answer, sort_keys=True, indent=1, allow_nan=False))
        return
    for line in views.pair_lines(answer):
        click.echo(line)
