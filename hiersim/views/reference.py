"""Pages that are made from the source: the glossary, the JSON Schema of designs, the studies, what examples print, and
the times of a model that does not fit.

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
from hiersim.run import compare, simulate
from hiersim.views.studies import page as studies_page
from hiersim.views.tables import comparisons, percent, shares, waiting_for

EXAMPLE = ("llama3-8b-decode", "h100-sxm")
SPILLED = ("llama3-70b-decode", "h100-sxm")
LITTLE_DRAM = "16 GB"
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
    launch = percent(shares(eager)[("dispatch", None)])
    return (
        f"run eagerly, the decode step spends {launch} of its time launching and setting up kernels and "
        f"{percent(waiting_for(eager, home))} waiting for {home.upper()}. Compiled, it is "
        f"{eager.makespan / compiled.makespan:.2f} times as fast: {len(compiled.program)} launches instead of "
        f"{len(eager.program):,}, each cheaper. The bytes from {home.upper()} stay the same, so that now "
        f"{percent(waiting_for(compiled, home))} of the time is waiting for {home.upper()}. Fusion moved the "
        "bottleneck from the launches to the memory; fusing more would not help, for the weights have to be read."
    )


def readme(text: str) -> str:
    """The README with its example brought up to date."""
    results = example()
    text = between_marks(text, "example", f"\n\n{example_table(results)}\n\n")
    return between_marks(text, "answer", example_answer(results))


def between_marks(text: str, name: str, block: str) -> str:
    """`text` with `block` between its marks `name:begin` and `name:end`."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    pattern = re.escape(begin) + ".*?" + re.escape(end)
    return re.sub(pattern, lambda _: f"{begin}{block}{end}", text, flags=re.DOTALL)


def spilling(text: str) -> str:
    """The page of models that do not fit, with what the simulator says of its example today."""
    trace, design = load_trace(SPILLED[0]), load_design(SPILLED[1])
    eager, compiled = compare(trace, [design])
    small = simulate(trace, design.replace({"memory.dram.capacity": LITTLE_DRAM}))
    by_hand = link_seconds(eager, "pcie") + home_seconds(eager)
    less = [100 * (1 - result.time / by_hand) for result in (eager, compiled)]
    drive, gigabytes = link_seconds(small, "nvme"), small.traffic["nvme"]["read"] / 1e9
    warnings = "".join(f"    warning: {warning}\n" for warning in eager.program.warnings)
    text = between_marks(text, "warnings", f"\n\n{warnings}\n")
    times = f"{eager.time * 1000:.1f} ms eager and {compiled.time * 1000:.1f} ms as TorchInductor compiles it"
    text = between_marks(text, "token", f"{times}, {less[0]:.1f} and {less[1]:.1f} % less")
    rate = gigabytes / drive
    paced = f"{gigabytes:.2f} GB ÷ {rate:.1f} GB/s = {drive:.2f} s of a token of {small.time:.2f} s"
    return between_marks(text, "drive", paced)


def link_seconds(result: Result, name: str) -> float:
    """Seconds in which all that is read through a link, or from a tier, passes at its achievable rate."""
    place = next(place for place in result.design.places if place.name == name)
    rate = place.read_bandwidth or place.bandwidth
    assert rate is not None, "its bytes would cost no time"
    return result.traffic[name]["read"] / (int(rate) * float(place.efficiency))


def home_seconds(result: Result) -> float:
    """Seconds in which all bytes of the home tier pass its one port."""
    home = result.design.home
    assert home.bandwidth is not None, "reads and writes have a port each"
    return sum(result.traffic[home.name].values()) / (int(home.bandwidth) * float(home.efficiency))


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
    page = ROOT / "docs" / "spilling.md"
    page.write_text(spilling(page.read_text()))
    for name in EXECUTED:
        page = ROOT / "docs" / name
        page.write_text(executed(page.read_text(), name))


if __name__ == "__main__":
    main()
