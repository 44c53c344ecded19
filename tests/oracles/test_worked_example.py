"""docs/worked-example.md, its tables read from the page, equals the simulator tick for tick."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from hiersim.config.load import load_design
from hiersim.frontends.load import load_trace
from hiersim.results import Result
from hiersim.run import simulate

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "worked-example.md").read_text()


@pytest.fixture(scope="module")
def result() -> Result:
    return simulate(load_trace(DOCS / "examples" / "relu.jsonl"), load_design("tiny"), keep_log=True)


def table(head: str) -> list[list[str]]:
    """Cells of the Markdown table whose first heading is `head`."""
    block = re.search(rf"^\| {head} \|.*\n\|[-:| ]+\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert block, f"the page has no table '{head}'"
    return [[cell.strip() for cell in line.strip("| \n").split("|")] for line in block.group(1).splitlines()]


def test_the_page_gives_the_makespan(result: Result) -> None:
    stated = re.search(r"\*\*([\d ]+) ps\*\*", PAGE)
    assert stated
    assert int(stated.group(1).replace(" ", "")) == result.makespan


def test_the_page_gives_every_service_and_arrival(result: Result) -> None:
    log = result.timeline.log
    assert log is not None
    start = int(result.timeline.start[0])
    arrive = log.end + result.program.stage_latency[log.stage]
    rows = table("tile")
    assert len(rows) == 3
    for cells in rows:
        tile, buffer, *times = (int(cell) for cell in cells)
        here = np.flatnonzero(log.tile == tile)
        load, near, compute, store, back = here.tolist()
        expected = [
            log.grant[load], arrive[load], log.grant[near], arrive[near], log.grant[compute],
            log.grant[store], arrive[store], log.grant[back], arrive[back],
        ]  # fmt: skip
        assert [int(time) - start for time in expected] == times
        assert int(log.buffer[load]) - start == buffer


def test_the_page_gives_the_whole_ledger(result: Result) -> None:
    stated = {tuple(cells[:3]): int(cells[3]) for cells in table("entry")}
    found = {
        (row.entry, row.tier or "–", row.phase or "–"): row.ticks for row in result.ledger if row.engine == "cores"
    }
    assert found == stated
    assert sum(stated.values()) == result.makespan
