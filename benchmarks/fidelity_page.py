"""`python -m benchmarks.fidelity_page DIR`: what docs/fidelity.md says of published data sets, as Markdown to paste.

DIR holds files of the data sets that the page names, in any folders. Prints the block "A sample", and below it a table
of scores, each over the rows that the page speaks of. Files that are not there leave their lines out, and are named.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Final

from rich.console import Console

from hiersim.errors import HiersimError
from hiersim.validation.accuracy import Accuracy, Pair, accuracy
from hiersim.validation.rows import OperatorRow
from hiersim.validation.validate import ALL, Validation, validate
from hiersim.views.tables import percent
from hiersim.views.validation import group_table

SAMPLE: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Rows that are scored together, a line for each device, suite and mode."""

    title: str
    files: str
    """Pattern of their names."""
    match: str = ""
    sample: int | None = None
    shortest_s: float = 0.0
    """Measured times below are not scored."""


SCORES: Final = (
    Score(title="NeuSight, operators of the split `test`", files="*_A100-*40GB.csv*", match=" test/", sample=100),
    Score(title="NeuSight, operators of the split `test`", files="Tesla_*.csv*", match=" test/", sample=100),
    Score(title="aiconfigurator from 20 us up", files="*.parquet", sample=250, shortest_s=20e-6),
    Score(title="LLMCompass, all rows", files="*_A100.csv"),
    Score(title="models end to end", files="neusight_e2e.csv"),
    Score(title="FlashAttention, all rows", files="flashattention_tables*.csv"),
    Score(title="FlashAttention, from 1 ms up", files="flashattention_*.csv", shortest_s=1e-3),
    Score(title="KernelBench", files="*level1.csv"),
)


def sample_block(folder: Path, sample: int) -> Iterator[str]:
    """The block `A sample`: every suite of every device."""
    began = time.process_time()
    found = validate(folder, sample=sample)
    spent = time.process_time() - began
    today = time.strftime("%Y-%m-%d", time.gmtime())
    yield f"A sample, {today} (`--sample {sample}`; {spent:.0f} s of processor time):"
    yield ""
    groups = [group for group in found.totals if group.suite != ALL]
    text = StringIO()
    Console(file=text, width=200, color_system=None).print(group_table("", found, groups))
    yield from (f"    {line}".rstrip() for line in text.getvalue().splitlines() if line.strip())


def score_lines(folder: Path) -> Iterator[str]:
    """A line for each device, suite and mode of each score, and for what compilation gains."""
    yield "| rows | device | suite | n | MAPE | median error | median | roofline |"
    yield "|---|---|---|--:|--:|--:|--:|--:|"
    for score in SCORES:
        files = sorted(path for path in folder.rglob(score.files) if path.is_file())
        if not files:
            yield f"| {score.title}: no file {score.files} | | | | | | | |"
            continue
        found = validate(files, match=score.match, sample=score.sample)
        for (device, suite), pairs in _groups(found, score.shortest_s).items():
            yield _line(score.title, device, suite, accuracy(pairs))
        for (device, suite), pairs in _gains(found).items():
            gains = [_gain(pair) for pair in pairs if _gains_much(pair)]
            yield _line(score.title, device, f"{suite}, speed-up", accuracy(pairs))
            if gains:
                yield _line(score.title, device, f"{suite}, gain (speed-up less 1)", accuracy(gains))
        for row in found.traffic:
            if row.both is not None:
                yield _line(score.title, row.device, f"{row.suite}, bytes", row.both)


def _gain(pair: Pair) -> Pair:
    return Pair(predicted=pair.predicted - 1, measured=pair.measured - 1)


def _gains_much(pair: Pair) -> bool:
    """Whether compilation gained 5 % or more where it was measured, and anything in the replay."""
    return pair.measured >= 1.05 and pair.predicted > 1


def _groups(found: Validation, shortest_s: float) -> dict[tuple[str, str], list[Pair]]:
    rows: dict[tuple[str, str], list[Pair]] = {}
    for row in found.operators:
        if row.pair.measured >= shortest_s:
            rows.setdefault((row.device, _suite(row)), []).append(row.pair)
    return dict(sorted(rows.items()))


def _suite(row: OperatorRow) -> str:
    return row.suite if row.mode == "eager" else f"{row.suite}, {row.mode}"


def _gains(found: Validation) -> dict[tuple[str, str], list[Pair]]:
    rows: dict[tuple[str, str], list[Pair]] = {}
    for row in found.speed_ups:
        rows.setdefault((row.device, row.suite), []).append(row.pair)
    return dict(sorted(rows.items()))


def _line(title: str, device: str, suite: str, found: Accuracy) -> str:
    roofline = "–" if found.roofline_mape is None else percent(found.roofline_mape)
    cells = (str(found.n), percent(found.mape), percent(found.median_error), f"{found.median:.2f}", roofline)
    return f"| {title} | {device} | {suite} | {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the page's parts."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fidelity_page", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sample", type=int, default=SAMPLE)
    parser.add_argument("--only", choices=("sample", "scores"))
    options = parser.parse_args(arguments)
    try:
        if options.only != "scores":
            print("\n".join(sample_block(options.folder, options.sample)), flush=True)
        if options.only != "sample":
            print()
            for line in score_lines(options.folder):
                print(line, flush=True)
    except HiersimError as error:
        print(f"fidelity_page: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
