"""The page as a file, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from hiersim.errors import HiersimError
from hiersim.results import Result
from hiersim.views.perfetto import write_whole
from hiersim.views.report.runs import Group, of_results


def check_target(path: str | os.PathLike[str]) -> Path:
    """The path, when it can be that of a page; found before any work is done.

    Raises
    ------
    HiersimError
        For a name that does not end in .html.
    """
    target = Path(path)
    if target.suffix not in (".html", ".htm"):
        raise HiersimError("has an unknown form", file=str(path), expected="a name that ends in .html")
    return target


def write_report(
    runs: Sequence[Group] | Sequence[Result], path: str | os.PathLike[str], title: str | None = None
) -> int:
    """Write the report of some results; the same results give the same bytes.

    Parameters
    ----------
    runs : sequence of Result, or of Group
        At least one; results of one trace are compared, the first is the baseline.
    path : path
        Ends in .html.
    title : str, optional
        Its heading; default: what was run.

    Returns
    -------
    int
        Size of the file in bytes.

    Raises
    ------
    HiersimError
        No results, a name of another form, or a folder that cannot be written.
    """
    from hiersim.views.report.page import report_html

    target = check_target(path)
    results = [run for run in runs if isinstance(run, Result)]
    groups = [*(run for run in runs if isinstance(run, Group)), *of_results(results)]
    if not groups:
        raise HiersimError("there are no results to report", expected="at least one")
    data = report_html(groups, title).encode()
    write_whole(target, data)
    return len(data)
