"""`report`, and `export html`: results as one HTML page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hiersim.cli import options
from hiersim.errors import HiersimError

if TYPE_CHECKING:
    from hiersim.results import Result
    from hiersim.sweeps.table import Sweep
    from hiersim.views.report.runs import Group

Decorated = Callable[..., Any]


def _shared(function: Decorated) -> Decorated:
    """Options of both commands."""
    for option in reversed(
        (
            click.option(
                "-f", "--fusion", "fusions", multiple=True, metavar="P", help="Policy for traces; repeatable."
            ),
            click.option("--set", "sets", multiple=True, metavar="PATH=VALUE", help=options.SET_HELP),
            options.launch,
            options.engine,
            click.option("--title", metavar="TEXT", help="Heading of the page; default: what was run."),
            click.option("--no-what-if", is_flag=True, help="Do not replay with parts twice and half as good."),
            click.option("-q", "--quiet", is_flag=True, help="No messages on standard error."),
        )
    ):
        function = option(function)
    return function


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="DIR|RESULT|TRACE ...")
@click.option("-d", "--design", "designs", multiple=True, metavar="D", help="Replay traces on it; repeatable.")
@click.option("-o", "--out", required=True, metavar="FILE", help="Page to write (.html).")
@_shared
def report(
    sources: tuple[str, ...], designs: tuple[str, ...], out: str, fusions: tuple[str, ...], sets: tuple[str, ...],
    launch: str, engine: str | None, title: str | None, no_what_if: bool, quiet: bool,
) -> None:  # fmt: skip
    """One HTML page of results, to be mailed: where the time goes, and what would change it.

    A RESULT is what `run --json` or `compare --json` printed; a DIR is that of a sweep, or holds a results.json, as
    that of the demo does. Runs of bundled traces and designs are replayed for what the JSON leaves out. A TRACE is
    replayed on every --design. The page loads nothing: it opens without a network, on a phone and on paper.

    \b
    hiersim report gpt2-large-prefill --design h100-sxm -o report.html
    hiersim compare llama3-8b-decode -d h100-sxm -d a100-80gb-sxm --json > results.json
    hiersim report results.json -o report.html
    """
    from hiersim.views.report.write import check_target

    check_target(out)
    if designs:
        groups = _replayed(sources, designs, fusions, sets, launch, engine, not no_what_if, quiet)
        _write(groups, (), out, title, quiet)
    else:
        _refuse(fusions=fusions, set=sets, engine=engine)
        _write(*_saved(sources, not no_what_if), out, title, quiet)


@click.command(name="html")
@click.argument("trace")
@click.option("-d", "--design", "designs", multiple=True, required=True, metavar="D", help="Design; repeatable.")
@click.option("-o", "--out", required=True, metavar="FILE", help="Page to write (.html).")
@_shared
def html_command(
    trace: str, designs: tuple[str, ...], out: str, fusions: tuple[str, ...], sets: tuple[str, ...], launch: str,
    engine: str | None, title: str | None, no_what_if: bool, quiet: bool,
) -> None:  # fmt: skip
    """A replay as one HTML page; the same as `hiersim report TRACE --design D`.

    \b
    hiersim export html llama3-8b-decode --design h100-sxm -o decode.html
    """
    from hiersim.views.report.write import check_target

    check_target(out)
    groups = _replayed((trace,), designs, fusions, sets, launch, engine, not no_what_if, quiet)
    _write(groups, (), out, title, quiet)


def _refuse(**given: Any) -> None:
    """Options that replays need say so when there is nothing to replay."""
    for name, value in given.items():
        if value:
            flag = f"--{name.removesuffix('s')}"
            raise HiersimError("saved results are what they are", key=flag, expected=f"{flag} with traces and --design")


def _replayed(
    sources: Sequence[str], designs: Sequence[str], fusions: Sequence[str], sets: Sequence[str], launch: str,
    engine: str | None, with_what_ifs: bool, quiet: bool,
) -> tuple[Group, ...]:  # fmt: skip
    """Every trace on every design with every policy; without any named, eager and what the trace carries."""
    from hiersim.frontends.load import load_trace
    from hiersim.lowering.host import check_launch
    from hiersim.run import DEFAULT_ENGINE, compare
    from hiersim.run import engine as check_engine
    from hiersim.views.report.runs import of_results

    check_launch(launch)
    name = engine or DEFAULT_ENGINE
    check_engine(name)
    changes = options.changes_of(sets)
    machines = [options.changed_design(design, changes) for design in designs]
    results: list[Result] = []
    with options.progress(quiet, name, fast_forward=True) as tell:
        for source in sources:
            trace = load_trace(source)
            policies = fusions or ("eager", *sorted(trace.schedules), *sorted(trace.groupings))
            results += compare(
                trace, machines, policies, engine_name=name, changes=changes, progress=tell, launch=launch
            )  # fmt: skip
    options.print_warnings(results, quiet)
    return of_results(results, with_what_ifs)


def _saved(sources: Sequence[str], with_what_ifs: bool) -> tuple[tuple[Group, ...], tuple[Sweep, ...]]:
    """Groups of saved results, and sweeps with what to look at of each."""
    from hiersim import bundled
    from hiersim.sweeps.table import load_sweep
    from hiersim.views.report.runs import of_saved
    from hiersim.views.report.saved import read_results
    from hiersim.views.report.sweep import sweep_groups

    for source in sources:
        if source in bundled.traces() or source.endswith((".npz", ".jsonl", ".jsonl.gz")):
            raise HiersimError("is a trace, not a result", file=source, expected="--design D with it")
    swept = [source for source in sources if _is_sweep(Path(source))]
    facts = [row for source in sources if source not in swept for row in read_results(Path(source))]
    sweeps = {source: load_sweep(source) for source in swept}
    looked_at = [group for source, sweep in sweeps.items() for group in sweep_groups(sweep, source, with_what_ifs)]
    return (*of_saved(facts, with_what_ifs), *looked_at), tuple(sweeps.values())


def _is_sweep(path: Path) -> bool:
    """A folder that `hiersim sweep` filled, or the Parquet file of one."""
    return path.suffix == ".parquet" or (path / "manifest.json").exists()


def _write(groups: tuple[Group, ...], sweeps: tuple[Sweep, ...], out: str, title: str | None, quiet: bool) -> None:
    from hiersim.views.report.write import write_report

    size = write_report(groups, out, title, sweeps)
    runs = sum(len(sweep) for sweep in sweeps) or sum(len(group.runs) for group in groups)
    options.say(f"report: {out} ({runs} run{'s' if runs > 1 else ''}, {size / 1e6:.1f} MB)", quiet)
