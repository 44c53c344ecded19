"""The page as a file, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from hiersim.errors import HiersimError
from hiersim.results import Result
from hiersim.sweeps.table import Sweep
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
    runs: Sequence[Group | Result] | Sweep,
    path: str | os.PathLike[str],
    title: str | None = None,
    sweeps: Sequence[Sweep] = (),
) -> int:
    """Write the report of some results; the same results give the same bytes.

    Parameters
    ----------
    runs : sequence of Result or of Group, or Sweep
        At least one; results of one trace are compared, the first is the baseline. Of a sweep, the first and the
        fastest point of each trace are looked at closely.
    path : path
        Ends in .html.
    title : str, optional
        Its heading; default: what was run.
    sweeps : sequence of Sweep
        Shown before the groups of `runs`.

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
    if isinstance(runs, Sweep):
        from hiersim.views.report.sweep import sweep_groups

        sweeps = (runs,)
        runs = sweep_groups(runs, "the sweep", with_what_ifs=True)
    results = [run for run in runs if isinstance(run, Result)]
    groups = [*(run for run in runs if isinstance(run, Group)), *of_results(results)]
    if not groups and not sweeps:
        raise HiersimError("there are no results to report", expected="at least one")
    data = report_html(groups, title, sweeps).encode()
    write_whole(target, data)
    return len(data)
