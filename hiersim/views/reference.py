"""Pages that are made from the source: the glossary, the JSON Schema of designs, the studies, and what examples
print.

`python -m hiersim.views.reference` in a checkout writes them; a test holds them current.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path

from hiersim.config.load import load_design
from hiersim.config.schema import json_schema
from hiersim.decisions.studies import names, study
from hiersim.frontends.load import load_trace
from hiersim.model.metrics import METRICS
from hiersim.results import Result
from hiersim.run import compare
from hiersim.views.studies import page as studies_page
from hiersim.views.tables import comparisons, percent, shares, waiting_for

EXAMPLE = ("llama3-8b-decode", "h100-sxm")
EXECUTED = ("tutorial.md",)
"""Pages of `docs/` whose Python is run, and shown with what it prints."""
ROOT = Path(__file__).parents[2]


def glossary() -> str:
    """Every word of the output as one Markdown table."""
    lines = [
        "# Glossary",
        "",
        "Every key and column that hiersim prints, made from `hiersim/model/metrics.py`.",
        "`hiersim define WORD` prints one entry.",
        "",
        "| word | unit | meaning | better |",
        "|---|---|---|---|",
    ]
    lines += [f"| `{item.name}` | {item.unit} | {item.meaning} | {item.better or '–'} |" for item in METRICS.values()]
    return "\n".join(lines) + "\n"


def schema_text() -> str:
    """The JSON Schema of a design file, as committed."""
    return json.dumps(json_schema(), sort_keys=True, indent=2) + "\n"


def studies() -> str:
    """Every study with its claims and figures as one page."""
    return studies_page(study(name) for name in names())


def example() -> list[Result]:
    """The comparison that the README shows."""
    trace, design = EXAMPLE
    return compare(load_trace(trace), [load_design(design)])


def example_table(results: Sequence[Result]) -> str:
    """The table as the command prints it, as an indented block."""
    from rich.console import Console

    stream = io.StringIO()
    Console(file=stream, width=100, highlight=False).print(*comparisons(results, 100))
    lines = [line.rstrip() for line in stream.getvalue().splitlines()]
    return "\n".join(f"    {line}".rstrip() for line in lines if line.strip())


def example_answer(results: Sequence[Result]) -> str:
    """The README's reading of the table; every number in it comes from the ledger."""
    eager, compiled = results
    home = eager.design.home.name
    host = percent(shares(eager)[("dispatch", None)])
    return (
        f"run eagerly, the decode step spends {host} of its time waiting for the host's launches and "
        f"{percent(waiting_for(eager, home))} waiting for {home.upper()}. Compiled, it is "
        f"{eager.makespan / compiled.makespan:.2f} times as fast: {len(compiled.program)} launches instead of "
        f"{len(eager.program):,}, each cheaper. The bytes from {home.upper()} stay the same, so that now "
        f"{percent(waiting_for(compiled, home))} of the time is waiting for {home.upper()}. Fusion moved the "
        "bottleneck from the host to the memory; fusing more would not help, for the weights have to be read."
    )


def readme(text: str) -> str:
    """The README with its example brought up to date."""
    results = example()
    for name, block in (("example", f"\n\n{example_table(results)}\n\n"), ("answer", example_answer(results))):
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        pattern = re.escape(begin) + ".*?" + re.escape(end)
        text = re.sub(pattern, lambda _: f"{begin}{block}{end}", text, flags=re.DOTALL)  # noqa: B023
    return text


def executed(text: str, page: str) -> str:
    """A page with what its Python prints: the blocks run one after the other in one namespace.

    What a block prints stands behind it as an indented block, between the marks `output:begin` and `output:end`.
    """
    names: dict[str, object] = {}

    def run(found: re.Match[str]) -> str:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(found["code"], page, "exec"), names)
        shown = "".join(f"    {line}\n" for line in printed.getvalue().splitlines())
        return f"```python\n{found['code']}```\n\n<!-- output:begin -->\n\n{shown}\n<!-- output:end -->"

    return _EXECUTED.sub(run, text)


_EXECUTED = re.compile(
    r"```python\n(?P<code>(?:(?!```).)*?)```\n\n<!-- output:begin -->.*?<!-- output:end -->", re.DOTALL
)


def main() -> None:
    """Write the pages of this checkout."""
    (ROOT / "docs" / "glossary.md").write_text(glossary())
    (ROOT / "configs" / "design.schema.json").write_text(schema_text())
    (ROOT / "docs" / "studies.md").write_text(studies())
    page = ROOT / "README.md"
    page.write_text(readme(page.read_text()))
    for name in EXECUTED:
        page = ROOT / "docs" / name
        page.write_text(executed(page.read_text(), name))


if __name__ == "__main__":
    main()
