"""`run`, `compare`, `demo` and `export`: the main job."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hiersim.cli import options
from hiersim.cli.exchange import export_command
from hiersim.cli.report import html_command
from hiersim.errors import CapacityError, HiersimError

if TYPE_CHECKING:
    from hiersim.model.design import Design
    from hiersim.model.trace import Trace
    from hiersim.results import Result

Variant = Mapping[str, Any]
"""Arguments of `hiersim.variant`."""
DEMO_TRACES = ("gpt2-large-prefill", "llama3-8b-decode")
DEMO_DESIGNS = ("a100-80gb-sxm", "h100-sxm")


@click.command()
@click.argument("trace")
@click.option("-d", "--design", required=True, metavar="D", help="Bundled design or YAML file.")
@click.option(
    "-f",
    "--fusion",
    default="eager",
    show_default=True,
    metavar="P",
    help="Policy: eager, pointwise, epilogue, attention, depth-first, inductor, inductor-rules, optimal, ort, xla.",
)
@options.keep_peak
@options.variants
@options.common
def run(
    trace: str, design: str, fusion: str, keep_peak: bool, variant: Variant, sets: tuple[str, ...], launch: str,
    engine: str | None, no_fast_forward: bool, check: bool, as_json: bool, timeline: str | None, quiet: bool,
    verbose: bool,
) -> None:  # fmt: skip
    """Replay TRACE on one design: where does the time go? With --set, beside the design as it is.

    \b
    hiersim run gpt2-large-prefill --design h100-sxm --fusion inductor
    hiersim run llama3-8b-decode --design h100-sxm --set memory.hbm.bandwidth=2x
    hiersim run llama3-70b-decode --design h200 --weights fp8 --context 8192
    """
    how = _How(
        launch=launch, engine=engine, fast_forward=not no_fast_forward, check=check, quiet=quiet, keep_peak=keep_peak
    )
    loaded, changes, machines = _inputs(trace, (design,), sets, how, variant)
    results = _simulate(loaded, machines, (fusion,), changes, how)
    if timeline:
        _write_timeline(results[0], timeline, quiet)
    if as_json:
        click.echo(results[0].to_json())
        return
    if sets:
        results = [*_as_it_is(loaded, design, fusion, how), *results]
    _print(results, quiet, verbose)


@click.command()
@click.argument("trace")
@click.option("-d", "--design", "designs", multiple=True, required=True, metavar="D", help="Design; repeatable.")
@click.option(
    "-f",
    "--fusion",
    "fusions",
    multiple=True,
    metavar="P",
    help="Policy; repeatable. Default: eager, and what the trace carries.",
)
@options.keep_peak
@options.variants
@options.common
def compare(
    trace: str, designs: tuple[str, ...], fusions: tuple[str, ...], keep_peak: bool, variant: Variant,
    sets: tuple[str, ...], launch: str, engine: str | None, no_fast_forward: bool, check: bool, as_json: bool,
    timeline: str | None, quiet: bool, verbose: bool,
) -> None:  # fmt: skip
    """Replay TRACE with every policy on every design; the first column is the baseline.

    \b
    hiersim compare gpt2-large-prefill --design h100-sxm
    hiersim compare llama3-8b-decode -d a100-80gb-sxm -d h100-sxm -f eager -f inductor --json
    """
    how = _How(
        launch=launch, engine=engine, fast_forward=not no_fast_forward, check=check, quiet=quiet, keep_peak=keep_peak
    )
    loaded, changes, machines = _inputs(trace, designs, sets, how, variant)
    results = _simulate(loaded, machines, fusions, changes, how)
    if timeline:
        for result in results:
            _write_timeline(result, _numbered(timeline, result), quiet)
    if as_json:
        click.echo(json.dumps({"rows": [result.to_dict() for result in results]}, sort_keys=True, indent=1))
    else:
        _print(results, quiet, verbose)


@click.command()
@click.option(
    "-o", "--out", default="hiersim-demo", show_default=True, metavar="DIR", help="Folder for report and timelines."
)
@click.option("--set", "sets", multiple=True, metavar="PATH=VALUE", help="Change a value of both designs.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
@click.option("-q", "--quiet", is_flag=True, help="No messages on standard error.")
def demo(out: str, sets: tuple[str, ...], as_json: bool, quiet: bool) -> None:
    """Two real models, eager and compiled, on A100 and H100: where does the time go, and what does memory cost?"""
    from hiersim.views.document import demo_report
    from hiersim.views.perfetto import write_whole
    from hiersim.views.report.write import write_report
    from hiersim.views.tables import conclusion

    everything: list[list[Result]] = []
    how = _How(quiet=quiet)
    for trace in DEMO_TRACES:
        loaded, changes, machines = _inputs(trace, DEMO_DESIGNS, sets, how)
        for design in machines:
            results = _simulate(loaded, [design], ("eager", "inductor"), changes, how)
            everything.append(results)
            if not as_json:
                _print(results, quiet, verbose=False)
    folder = Path(out)
    for results in everything:
        for result in results:
            policy = result.fusion.split()[0]
            _write_timeline(
                result, str(folder / f"{result.trace.name}.{result.design.name}.{policy}.pftrace"), quiet=True
            )
    rows = {"rows": [result.to_dict() for results in everything for result in results]}
    text = json.dumps(rows, sort_keys=True, indent=1)
    write_whole(folder / "results.json", text.encode())
    write_whole(folder / "report.md", demo_report(everything).encode())
    write_report([result for results in everything for result in results], folder / "report.html")
    if as_json:
        click.echo(text)
    else:
        click.echo("\nIn short:")
        for results in everything:
            click.echo(f"- {conclusion(results)}")
    options.say(f"report: {folder}/report.html (and .md)   timelines for ui.perfetto.dev: {folder}/*.pftrace", quiet)


@click.group()
def export() -> None:
    """Write a replay, or a trace, in another tool's form."""


export.add_command(export_command)
export.add_command(html_command)


@export.command()
@click.argument("trace")
@click.option("-d", "--design", required=True, metavar="D", help="Bundled design or YAML file.")
@click.option(
    "-f",
    "--fusion",
    "fusions",
    multiple=True,
    metavar="P",
    default=("eager",),
    show_default=True,
    help="Fusion policy; several stand side by side.",
)
@click.option("-o", "--out", required=True, metavar="FILE", help="File to write (.pftrace, .json or .json.gz).")
@click.option("--set", "sets", multiple=True, metavar="PATH=VALUE", help="Change a value of the design.")
@options.engine
@click.option("-q", "--quiet", is_flag=True, help="No messages on standard error.")
def perfetto(
    trace: str, design: str, fusions: tuple[str, ...], out: str, sets: tuple[str, ...], engine: str | None, quiet: bool
) -> None:  # fmt: skip
    """A timeline for ui.perfetto.dev: host, kernels, every port and unit.

    \b
    hiersim export perfetto llama3-8b-decode --design h100-sxm -o decode.pftrace
    hiersim export perfetto llama3-8b-decode -d h100-sxm -f eager -f inductor -o both.pftrace
    """
    how = _How(engine=engine, keep_log=True, quiet=quiet)
    loaded, changes, machines = _inputs(trace, (design,), sets, how)
    _write_timeline(_simulate(loaded, machines, fusions, changes, how), out, quiet)


@dataclass(frozen=True, slots=True, kw_only=True)
class _How:
    """Options of a run besides trace, design and policy."""

    launch: str = "stream"
    engine: str | None = None
    fast_forward: bool = True
    check: bool = False
    keep_log: bool = False
    quiet: bool = False
    keep_peak: bool = False


def _inputs(
    trace: str, designs: Sequence[str], sets: Sequence[str], how: _How, variant: Variant | None = None
) -> tuple[Trace, dict[str, str], list[Design]]:
    """The trace or its variant, the changes, and the designs with the changes in them.

    Wrong words are found before files are read.
    """
    from hiersim.frontends.load import load_trace
    from hiersim.lowering.host import check_launch
    from hiersim.run import engine as check_engine

    check_launch(how.launch)
    if how.engine is not None:
        check_engine(how.engine)
    changes = options.changes_of(sets)
    machines = [options.changed_design(name, changes) for name in designs]
    loaded = load_trace(trace)
    if variant:
        from hiersim.frontends.variants.variant import variant as variant_of

        loaded = variant_of(loaded, **variant)
    return loaded, changes, machines


def _simulate(
    trace: Trace, designs: Sequence[Design], fusions: Sequence[str], changes: dict[str, str], how: _How
) -> list[Result]:
    from hiersim.run import DEFAULT_ENGINE, compare

    engine, keep_log = how.engine or DEFAULT_ENGINE, how.keep_log or how.check
    with options.progress(how.quiet, engine, fast_forward=how.fast_forward and not keep_log) as tell:
        carried = ("eager", *sorted(trace.schedules), *sorted(trace.groupings))
        results = compare(
            trace, designs, fusions or carried, engine_name=engine,
            changes=changes, progress=tell, keep_log=keep_log, fast_forward=how.fast_forward,
            launch=how.launch, keep_peak=how.keep_peak,
        )  # fmt: skip
    _note_interpreted(engine, how.quiet)
    if how.check:
        stages = sum(len(result.timeline.log.stage) for result in results if result.timeline.log)
        options.say(f"checked: every law holds for each of {stages:,} stages", how.quiet)
    return results


def _note_interpreted(engine: str, quiet: bool) -> None:
    """Where no compiler was at hand when hiersim was installed, the compiled engine says that it runs interpreted."""
    if engine == "compiled":
        from hiersim.engines.compiled import compiled

        if not compiled():
            options.say("note: engine 'compiled' ran interpreted: hiersim was installed without a C compiler", quiet)


def _as_it_is(trace: Trace, design: str, fusion: str, how: _How) -> list[Result]:
    """The design without changes, for the column beside them; none where it cannot hold the model."""
    try:
        return _simulate(trace, [options.changed_design(design, {})], (fusion,), {}, how)
    except CapacityError as error:
        options.say(f"note: no column for {design} as it is: {error.problem}", how.quiet)
        return []


def _print(results: list[Result], quiet: bool, verbose: bool) -> None:
    from hiersim.views import profile, tables

    screen = options.console()
    screen.print()
    for table in tables.comparisons(results, screen.width):
        screen.print(table)
    for line in tables.tier_summary(results):
        click.echo(f"- {line}")
    for result in results[-1:]:
        beside, told = profile.profile_table(result), profile.profile_line(result)
        if told:
            click.echo(f"- {told}")
        if beside is not None:
            screen.print(beside)
    for result, heading in zip(results, tables.headings(results), strict=True):
        label = heading.replace("\n", ", ")
        click.echo(f"- ledger, {label}: {tables.identity(result) if verbose else tables.closing(result)}")
    for text in tables.band_lines(results):
        click.echo(f"- {text}")
    if any("bandwidth" in path or "peak" in path for result in results for path in result.changes):
        click.echo("- cost is capacity x price: a changed bandwidth or rate has no price here")
    if verbose:
        screen.print(tables.pattern_table(results))
        for result in results:
            screen.print(tables.kernel_table(result))
            screen.print(tables.module_table(result))
    options.print_warnings(results, quiet)


def _write_timeline(source: Result | Sequence[Result], path: str, quiet: bool) -> None:
    from hiersim.views.perfetto import write_timeline

    write_timeline(source, path)
    options.say(f"timeline: {path} (open in ui.perfetto.dev)", quiet)


def _numbered(path: str, result: Result) -> str:
    """One file per row of a comparison: `x.pftrace` → `x.h100-sxm.eager.pftrace`."""
    name = Path(path)
    ends = "".join(name.suffixes[-2:]) if name.name.endswith(".json.gz") else name.suffix
    if not ends:
        raise HiersimError(
            "has no ending", file=path, key="--timeline", expected="a name that ends in .pftrace or .json"
        )
    stem = name.name.removesuffix(ends)
    return str(name.with_name(f"{stem}.{result.design.name}.{result.fusion.split()[0]}{ends}"))
