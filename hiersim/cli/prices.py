"""`prices`: the price book, SRAM from silicon, and what memory cost over the years."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from hiersim import units
from hiersim.cli import options
from hiersim.errors import HiersimError, UnitError, nearest


@click.group(invoke_without_command=True)
@click.pass_context
def prices(context: click.Context) -> None:
    """Prices and energies of memory, each with its source and date.

    \b
    hiersim prices                          # every kind of memory
    hiersim prices sram 5nm                 # what 1 GB of SRAM costs, step by step
    hiersim prices history dram             # $/GB by year
    """
    if context.invoked_subcommand is None:
        context.invoke(list_prices)


@prices.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: every figure, with unit, date, source.")
def list_prices(as_json: bool = False) -> None:
    """Every kind of memory: $/GB and pJ/bit."""
    from hiersim.config.prices import load_prices
    from hiersim.views.prices import memory_rows, plain_book
    from hiersim.views.tables import plain_table

    book = load_prices()
    if as_json:
        click.echo(json.dumps(plain_book(book), indent=1))
        return
    table = plain_table("memory")
    for heading in ("kind", "$/GB", "as of", "pJ/bit", "source of the price"):
        table.add_column(
            heading, justify="right" if heading in ("$/GB", "pJ/bit") else "left", no_wrap="source" not in heading
        )
    for row in memory_rows(book):
        table.add_row(*row)
    options.console().print(table)


@prices.command("sram")
@click.argument("node")
@click.option("--die", metavar="AREA", help="The die that the SRAM is part of: '814 mm2'. Default: 1 GB alone.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def sram(node: str, die: str | None, as_json: bool) -> None:
    """What SRAM costs in a process NODE, from bit cells, yield and wafers."""
    from hiersim.config.prices import load_prices
    from hiersim.model.silicon import sram_price
    from hiersim.views.prices import sram_rows
    from hiersim.views.tables import plain_table

    book = load_prices()
    found = sram_price(book, node, None if die is None else _area(die))
    if as_json:
        click.echo(json.dumps(asdict(found), indent=1))
        return
    table = plain_table(f"1 GB of SRAM in {node}")
    for heading, style in (("step", ""), ("value", ""), ("how", "dim")):
        table.add_column(heading, justify="right" if heading == "value" else "left", style=style, no_wrap=not style)
    for row in sram_rows(found, book):
        table.add_row(*row)
    options.console().print(table)


def _area(text: str) -> float:
    try:
        area = units.parse(units.SquareMillimetres, text)
    except UnitError as error:
        raise HiersimError(f"--die: {error.problem}", expected=error.expected) from None
    if not 1 <= area <= 100_000:
        raise HiersimError(f"--die: {text} is no die", expected="1 mm2 to 100000 mm2")
    return float(area)


@prices.command("history")
@click.argument("kind", required=False, default="dram")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def history(kind: str, as_json: bool) -> None:
    """$/GB of a KIND of memory by year: dram, flash, usb_flash, disk."""
    from hiersim.config.prices import load_prices
    from hiersim.views.prices import history_rows, plain_book
    from hiersim.views.tables import plain_table

    book = load_prices()
    if kind not in book.history:
        raise HiersimError(f"there is no history of '{kind}'", expected=nearest(kind, book.history))
    series = book.history[kind]
    if as_json:
        click.echo(json.dumps(plain_book(book)["history"][kind], indent=1))
        return
    screen, table = options.console(), plain_table(f"{series.title}: {series.unit}")
    table.add_column("year")
    table.add_column("$/GB", justify="right")
    for row in history_rows(series):
        table.add_row(*row)
    screen.print(table)
    first, last = series.points[0].year, series.points[-1].year
    screen.print(f"{first} to {last}: {series.yearly_change(first, last):+.1%} a year. {series.source}.")
