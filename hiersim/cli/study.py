"""`hiersim study`: headline questions, each answered in seconds."""

from __future__ import annotations

import json

import click

from hiersim.cli import options

LIST = "list"


@click.command()
@click.argument("name", default=LIST)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
def study(name: str, as_json: bool) -> None:
    """Answer the question NAME by replays, beside what people claim; `list` says which there are.

    \b
    hiersim study list
    hiersim study waiting
    hiersim study serving --json
    """
    from hiersim.decisions.studies import PLACES
    from hiersim.decisions.studies import study as run

    if name == LIST:
        _list(dict(PLACES), as_json)
        return
    found = run(name)
    if as_json:
        click.echo(json.dumps(found.to_dict(), sort_keys=True, indent=1, allow_nan=False))
        return
    from hiersim.views import studies as views

    screen = options.console()
    screen.print(f"[bold]{found.question}[/]")
    screen.print(*views.tables(found))
    for line in views.conclusions(found):
        click.echo(line)


def _list(questions: dict[str, str], as_json: bool) -> None:
    """The names of all studies with their questions."""
    if as_json:
        rows = [{"study": name, "question": question} for name, question in questions.items()]
        click.echo(json.dumps({"rows": rows}, indent=1))
        return
    width = max(map(len, questions))
    for name, question in questions.items():
        click.echo(f"{name:{width}}  {question}")
