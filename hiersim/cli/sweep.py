"""`sweep` and `results`: a grid of runs, and what came of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hiersim.cli import options
from hiersim.errors import HiersimError

if TYPE_CHECKING:
    from hiersim.sweeps.plan import Plan
    from hiersim.sweeps.spec import Spec
    from hiersim.sweeps.table import Sweep

VARY_HELP = "Axis and values: memory.l2.capacity=1MiB..1GiB*2, batch=1,8,32, weights=bf16,fp8. Repeatable."


@click.command()
@click.argument("traces", nargs=-1, metavar="TRACE ... | SPEC.yaml")
@click.option("-d", "--design", "designs", multiple=True, metavar="D", help="Design; repeatable.")
@click.option("-f", "--fusion", "fusions", multiple=True, metavar="P", help="Policy; repeatable. Default: eager.")
@click.option("--vary", "varies", multiple=True, metavar="PATH=VALUES", help=VARY_HELP)
@click.option("--zip", "zipped", is_flag=True, help="Pair the values of all --vary instead of their product.")
@click.option("-o", "--out", metavar="DIR", help="Folder of the sweep; the same command goes on with it.")
@click.option("--resume", metavar="DIR", help="Go on with a sweep that was stopped, or make sure that it is done.")
@click.option("--workers", type=int, metavar="N", help="Processes of this machine. Default: as many as cores.")
@click.option("--dask", metavar="ADDRESS", help="Scheduler of a Dask cluster that computes instead: HOST:PORT.")
@options.variants
@click.option("--set", "sets", multiple=True, metavar="PATH=VALUE", help=options.SET_HELP)
@options.launch
@options.engine
@click.option("--json", "as_json", is_flag=True, help="Print the rows as one JSON object instead of a table.")
@click.option("-q", "--quiet", is_flag=True, help="No messages on standard error.")
def sweep(
    traces: tuple[str, ...], out: str | None, resume: str | None, workers: int | None, dask: str | None, as_json: bool,
    quiet: bool, **asked: Any,
) -> None:  # fmt: skip
    """Replay every TRACE on every design with every policy and every combination of what is varied.

    Paths of the design, options of the workload (batch, context, weights, tokens), fusion and launch can be varied. A
    sweep that was stopped, or killed, goes on where it was; a point that does not fit is a row that says so.

    \b
    hiersim sweep gpt2-large-prefill -d h100-sxm -f eager -f inductor --vary memory.l2.capacity=1MiB..1GiB*2 -o l2
    hiersim sweep llama3-8b-decode -d h100-sxm --vary batch=1..64*2 --vary weights=bf16,fp8 -o batches
    hiersim sweep SPEC.yaml -o l2
    hiersim sweep --resume l2
    """
    from hiersim.sweeps.run import How, carried_out

    folder = _folder(out, resume)
    plan = _plan(traces, resume, asked)
    with _shown(quiet) as tell:
        how = How(workers=workers, dask=dask, progress=tell, report=lambda text: options.say(text, quiet))
        try:
            found = carried_out(plan, folder, how)
        except KeyboardInterrupt:
            options.say(f"stopped; hiersim sweep --resume {folder} goes on", quiet)
            raise
    _print(found, as_json, ())
    options.say(f"results: {Path(folder) / 'results.parquet'} (hiersim results {folder})", quiet)
    _check_any(found)


def _folder(out: str | None, resume: str | None) -> str:
    if out and resume:
        raise HiersimError("both are given", key="--out, --resume", expected="one of them")
    folder = out or resume
    if not folder:
        raise HiersimError("is missing", key="--out", expected="a folder for the sweep")
    return folder


def _plan(traces: tuple[str, ...], resume: str | None, asked: dict[str, Any]) -> Plan:
    """The checked sweep: of a folder, of a spec file, or of the command line."""
    from hiersim.sweeps.plan import planned, resumed
    from hiersim.sweeps.spec import read_spec

    options_given = {name for name, value in asked.items() if value and (name, value) != ("launch", "stream")}
    whole = "--resume" if resume else traces[0] if len(traces) == 1 and traces[0].endswith((".yaml", ".yml")) else None
    if whole and (options_given or (resume and traces)):
        raise HiersimError("says what is run, other options cannot", key=whole, expected="no traces, designs or --vary")
    if resume:
        return resumed(Path(resume))
    return planned(read_spec(whole) if whole else _spec(traces, **asked))


def _spec(
    traces: tuple[str, ...], *, designs: tuple[str, ...], fusions: tuple[str, ...], varies: tuple[str, ...],
    zipped: bool, variant: dict[str, Any], sets: tuple[str, ...], launch: str, engine: str | None,
) -> Spec:  # fmt: skip
    """The spec of the command line."""
    from hiersim.run import DEFAULT_ENGINE
    from hiersim.sweeps.axes import normalized
    from hiersim.sweeps.spec import EAGER, Spec

    if not traces:
        raise HiersimError("is missing", key="TRACE", expected="a bundled trace, a file, or SPEC.yaml")
    if not designs:
        raise HiersimError("is missing", key="--design", expected="a bundled design or a file")
    return Spec(
        traces=traces, designs=designs, fusion=fusions or EAGER, vary=tuple(normalized(varied(varies), zipped)),
        changes=options.changes_of(sets), variant=variant, launch=launch, engine=engine or DEFAULT_ENGINE,
    )  # fmt: skip


def varied(texts: Sequence[str]) -> dict[str | tuple[str, ...], Any]:
    """`--vary PATH=VALUES` options as a mapping."""
    found: dict[str | tuple[str, ...], Any] = {}
    for text in texts:
        path, equals, values = text.partition("=")
        if not equals or not path.strip() or not values.strip():
            example = "PATH=VALUES, as in memory.l2.capacity=1MiB..1GiB*2"
            raise HiersimError(f"'{text}' is no axis", key="--vary", expected=example)
        if path.strip() in found:
            raise HiersimError(f"'{path.strip()}' is varied twice", key="--vary", expected="each path once")
        found[path.strip()] = values.strip()
    return found


@contextmanager
def _shown(quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Progress with the time that is left, on standard error when that is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda done, of: None
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("points"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=options.console(stderr=True), transient=True) as bar:
        task = bar.add_task("points", total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)


def _check_any(found: Sweep) -> None:
    """A sweep of which no point could be run is no success."""
    lost = found.failed
    if len(found) and len(lost) == len(found):
        from hiersim import errors

        kind = getattr(errors, str(lost.columns["error_class"][0]), HiersimError)
        raise kind(f"no point could be run; the first: {lost.columns['error'][0]}")


@click.command()
@click.argument("folder", metavar="DIR")
@click.option("--pareto", metavar="A,B", help="Only rows that no other beats in all of these: time,memory_cost.")
@click.option(
    "--where", "wheres", multiple=True, metavar="AXIS=VALUES", help="Only rows with these values; repeatable."
)
@click.option("--columns", metavar="A,B", help="Figures to show, by name or in short; any key of the JSON form.")
@click.option("--csv", "csv_file", metavar="FILE", help="Write the rows as CSV.")
@click.option("--parquet", "parquet_file", metavar="FILE", help="Write the rows as Parquet.")
@click.option("--netcdf", "netcdf_file", metavar="FILE", help="Write the rows as netCDF, with labelled axes.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@click.option("-q", "--quiet", is_flag=True, help="No messages on standard error.")
def results(
    folder: str, pareto: str | None, wheres: tuple[str, ...], columns: str | None, csv_file: str | None,
    parquet_file: str | None, netcdf_file: str | None, as_json: bool, quiet: bool,
) -> None:  # fmt: skip
    """The results of a sweep: a table of the axes that vary and a few figures, or files for other tools.

    The table shows time, stalls, utilization, the traffic of the last tier, price and energy, as far as they are known,
    and what --pareto or --columns names instead or besides.

    \b
    hiersim results l2
    hiersim results l2 --pareto time,memory_cost
    hiersim results l2 --where fusion=eager --columns time,traffic_bytes.hbm --csv l2.csv
    """
    from hiersim.sweeps.table import load_sweep

    found = load_sweep(folder)
    objectives = _words(pareto, "--pareto")
    for axis, values in _wheres(wheres).items():
        found = found.select({axis: values})
    names = [text.partition(":")[0].strip() for text in objectives]
    if objectives:
        found = found.pareto(*objectives)
    wanted = _words(columns, "--columns")
    for name in wanted:
        found.values(name)
    for file, write in ((csv_file, found.to_csv), (parquet_file, found.to_parquet), (netcdf_file, found.to_netcdf)):
        if file:
            write(file)
            options.say(f"written: {file}", quiet)
    if as_json or not any((csv_file, parquet_file, netcdf_file)):
        _print(found, as_json, [*names, *wanted] if wanted else names, wanted=bool(wanted))


def _words(text: str | None, key: str) -> list[str]:
    words = [word.strip() for word in text.split(",")] if text is not None else []
    if not all(words):
        raise HiersimError(f"'{text}' has an empty name", key=key, expected="columns between commas")
    return words


def _wheres(texts: Sequence[str]) -> dict[str, list[str]]:
    """`--where AXIS=VALUES` options as a mapping."""
    found: dict[str, list[str]] = {}
    for text in texts:
        axis, equals, values = text.partition("=")
        if not equals or not values.strip():
            raise HiersimError(f"'{text}' names no values", key="--where", expected="AXIS=VALUES, as in fusion=eager")
        found.setdefault(axis.strip(), []).extend(_words(values, "--where"))
    return found


def _print(found: Sweep, as_json: bool, names: Sequence[str], *, wanted: bool = False) -> None:
    """The table, or JSON."""
    if as_json:
        click.echo(found.to_json())
        return
    from hiersim.views import sweeps

    screen = options.console()
    screen.print()
    screen.print(sweeps.sweep_table(found, names if wanted else [*names, *sweeps.figures(found)]))
    for line in sweeps.closing(found):
        click.echo(f"- {line}")
