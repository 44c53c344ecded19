"""`designs`, `traces` and `define`: what there is, and what its words mean."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from hiersim import units
from hiersim.cli import options
from hiersim.errors import HiersimError, nearest

if TYPE_CHECKING:
    from hiersim.model.trace import Trace


@click.group(invoke_without_command=True)
@click.pass_context
def designs(context: click.Context) -> None:
    """Designs: list, show, check, and the schema for editors."""
    if context.invoked_subcommand is None:
        context.invoke(list_designs)


@designs.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_designs(as_json: bool = False) -> None:
    """All bundled designs, by family and year."""
    from hiersim import bundled
    from hiersim.config.load import load_design
    from hiersim.views.designs import by_family
    from hiersim.views.tables import plain_table

    families = by_family(load_design(name) for name in bundled.designs())
    if as_json:
        entries = [
            {"name": item.name, "title": item.title, "family": item.device.family, "year": item.device.year}
            for items in families.values()
            for item in items
        ]
        click.echo(json.dumps({"designs": entries}, indent=1))
        return
    from hiersim.views.designs import summary_row

    screen, table = options.console(), plain_table()
    headings = ("design", "year", "cores", "best peak", "far memory", "bandwidth", "SRAM, nearest first")
    shown = headings if screen.width >= 110 else headings[:-1] if screen.width >= 96 else headings[:-2]
    for heading in shown:
        left = heading in (headings[0], headings[-1])
        table.add_column(heading, justify="left" if left else "right", no_wrap=heading != headings[-1])
    for family, items in families.items():
        table.add_row(f"[bold]{family}[/]")
        for item in items:
            year = "" if item.device.year is None else str(item.device.year)
            table.add_row(f"  {item.name}", *(year, *summary_row(item))[: len(shown) - 1])
    screen.print(table)


@designs.command("show")
@click.argument("name")
@click.option("--set", "sets", multiple=True, metavar="PATH=VALUE", help="Change a value of the design.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object (base units).")
def show_design(name: str, sets: tuple[str, ...], as_json: bool) -> None:
    """Every value of a design with its source."""
    from hiersim.provenance import plain
    from hiersim.views.designs import design_rows, pattern_rows
    from hiersim.views.tables import plain_table

    design = options.changed_design(name, options.changes_of(sets))
    if as_json:
        click.echo(json.dumps(plain(design), sort_keys=True, indent=1))
        return
    table = plain_table(f"{design.name}: {design.title}")
    table.add_column("value", no_wrap=True)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("source", style="dim")
    for path, value, source in design_rows(design):
        table.add_row(path, value, source)
    options.console().print(table)
    patterns = list(pattern_rows(design))
    if patterns:
        table = plain_table("share of the bandwidth by access pattern, reads")
        for heading, style in (("access", ""), ("share", ""), ("factors of the DRAM model", "dim")):
            table.add_column(heading, style=style, no_wrap=heading != "factors of the DRAM model")
        for row in patterns:
            table.add_row(*row)
        options.console().print(table)


@designs.command("check")
@click.argument("file")
def check_design(file: str) -> None:
    """Read a design file and report every fault in it."""
    from hiersim.config.load import load_design

    design = load_design(file)
    click.echo(f"{file}: sound ({design.title})")


@designs.command("schema")
def schema() -> None:
    """JSON Schema of a design file, for editors."""
    from hiersim.config.schema import json_schema

    click.echo(json.dumps(json_schema(), sort_keys=True, indent=2))


@click.group(invoke_without_command=True)
@click.pass_context
def traces(context: click.Context) -> None:
    """Traces: list, show and check."""
    if context.invoked_subcommand is None:
        context.invoke(list_traces)


@traces.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_traces(as_json: bool = False) -> None:
    """All bundled traces."""
    from hiersim import bundled
    from hiersim.frontends.load import load_trace
    from hiersim.views.tables import plain_table
    from hiersim.views.traces import trace_facts

    facts = [trace_facts(load_trace(name)) for name in bundled.traces()]
    if as_json:
        click.echo(json.dumps({"traces": facts}, indent=1))
        return
    screen, table = options.console(), plain_table()
    wide = {
        "workload": screen.width >= 120,
        "dtype": screen.width >= 90,
        "FLOPs": screen.width >= 90,
        "weights": screen.width >= 90,
    }
    headings = ("trace", "workload", "dtype", "operators", "kernels", "captured schedules", "FLOPs", "weights")
    for heading in headings:
        if wide.get(heading, True):
            left = heading in ("trace", "workload", "dtype", "captured schedules")
            table.add_column(heading, justify="left" if left else "right", no_wrap=heading != "workload")
    for fact in facts:
        schedules = ", ".join(f"{name}: {count} kernels" for name, count in fact["schedules"].items()) or "-"
        cells = (
            fact["name"], fact["workload"], fact["dtype"], str(fact["operators"]), str(fact["kernels"]), schedules,
            units.show_flops(fact["matrix_flops"]), units.show_bytes(fact["weight_bytes"]),
        )  # fmt: skip
        table.add_row(*(cell for cell, heading in zip(cells, headings, strict=True) if wide.get(heading, True)))
    screen.print(table)


@traces.command("show")
@click.argument("name")
@click.option(
    "--primitives", "small", is_flag=True, help="Which operators it has, and which when composite ones are written out."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show_trace(name: str, small: bool, as_json: bool) -> None:
    """What a trace holds: operators by kind, FLOPs, bytes, provenance.

    \b
    hiersim traces show bert-large-prefill
    hiersim traces show bert-large-prefill --primitives
    """
    from hiersim.frontends.load import load_trace
    from hiersim.views.tables import plain_table
    from hiersim.views.traces import kind_rows, region_lines, trace_facts

    trace = load_trace(name)
    if small:
        _primitives(trace, as_json)
        return
    facts = trace_facts(trace)
    if as_json:
        click.echo(json.dumps({**facts, "kinds": kind_rows(trace)}, indent=1))
        return
    screen = options.console()
    for key, value in facts.items():
        if value not in ("", [], {}):
            screen.print(f"[bold]{key}[/] {_shown(key, value)}")
    for line in region_lines(trace):
        screen.print(line, highlight=False, markup=False)
    table = plain_table()
    for heading in ("kind", "operators", "matrix FLOPs", "vector FLOPs", "bytes read", "bytes written"):
        table.add_column(heading, justify="left" if heading == "kind" else "right")
    for row in kind_rows(trace):
        flops = (units.show_flops(row["matrix_flops"]), units.show_flops(row["vector_flops"]))
        moved = (units.show_bytes(row["read_bytes"]), units.show_bytes(row["write_bytes"]))
        table.add_row(row["kind"], str(row["operators"]), *flops, *moved)
    screen.print(table)


def _primitives(trace: Trace, as_json: bool) -> None:
    """Answer `--primitives`: distinct operators before and after."""
    from hiersim.frontends.variants.primitives import distinct_operators, primitives
    from hiersim.views.tables import plain_table

    counts = {"operators": distinct_operators(trace), "primitives": distinct_operators(primitives(trace))}
    if as_json:
        facts = {key: {"distinct": len(found), "names": dict(sorted(found.items()))} for key, found in counts.items()}
        click.echo(json.dumps({"name": trace.name, **facts}, indent=1))
        return
    screen = options.console()
    for key, found in counts.items():
        table = plain_table(f"{trace.name}: {len(found)} distinct {key}, {sum(found.values()):,} in all")
        table.add_column("operator", no_wrap=True)
        table.add_column("times", justify="right")
        for label, times in sorted(found.items(), key=lambda item: (-item[1], item[0])):
            table.add_row(label, f"{times:,}")
        screen.print(table)


def _shown(key: str, value: Any) -> str:
    if key.endswith("_bytes"):
        return units.show_bytes(value)
    if key.endswith("_flops"):
        return units.show_flops(value)
    if isinstance(value, dict):
        return ", ".join(f"{name} ({count} kernels)" for name, count in value.items())
    return "; ".join(value) if isinstance(value, list) else str(value)


@traces.command("check")
@click.argument("file")
def check_trace(file: str) -> None:
    """Read a trace file, check every law, and summarise it."""
    from hiersim.frontends.load import load_trace
    from hiersim.views.traces import kind_rows, region_lines, trace_facts

    trace = load_trace(file)
    facts, kinds = trace_facts(trace), kind_rows(trace)
    unknown = f", {facts['unknown_operators']} of them without a cost formula" if facts["unknown_operators"] else ""
    click.echo(f"{file}: sound ({facts['operators']} operators{unknown}, {units.show_flops(facts['matrix_flops'])})")
    moved = {key: units.show_bytes(sum(row[key] for row in kinds)) for key in ("read_bytes", "write_bytes")}
    counted = ", ".join(f"{row['operators']} {row['kind']}" for row in kinds)
    click.echo(f"{len(kinds)} kinds: {counted}")
    click.echo(
        f"{facts['distinct_operators']} distinct operators; {moved['read_bytes']} read, {moved['write_bytes']} written"
    )
    for line in region_lines(trace):
        click.echo(line)
    if trace.measured is not None:
        click.echo(f"measured: {len(trace.measured)} device events, idle {trace.measured.idle_share:.1%}")


@click.command()
@click.argument("word", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def define(word: str | None, as_json: bool) -> None:
    """The glossary: every key and column, with its unit."""
    from hiersim import bundled
    from hiersim.config.load import load_design
    from hiersim.model.metrics import LABELS, METRICS, find

    chosen = list(METRICS.values())
    if word is not None:
        found = find(word) or find(word, {t.name for name in bundled.designs() for t in load_design(name).memory})
        if found is None:
            raise HiersimError(f"'{word}' is not in the glossary", expected=nearest(word, [*METRICS, *LABELS]))
        chosen = [found]
    if as_json:
        entries = {item.name: {"unit": item.unit, "meaning": item.meaning, "better": item.better} for item in chosen}
        click.echo(json.dumps(entries, indent=1))
        return
    screen = options.console()
    for item in chosen:
        unit = "" if item.unit == "-" else f" [dim]\\[{item.unit}][/]"
        better = f" [dim]({item.better} is better)[/]" if item.better else ""
        screen.print(f"[bold]{item.name}[/]{unit}  {item.meaning}{better}")
