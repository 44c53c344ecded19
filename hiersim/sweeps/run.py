"""`sweep`: from what is to be varied to a table of results, resumed where it was left."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hiersim.errors import HiersimError
from hiersim.lowering.host import STREAM
from hiersim.model.design import Design
from hiersim.model.trace import Trace
from hiersim.processes import cores
from hiersim.run import DEFAULT_ENGINE
from hiersim.sweeps.axes import Vary, normalized
from hiersim.sweeps.columns import Columns, joined
from hiersim.sweeps.drive import PATIENCE_SECONDS, Cluster, Crew, Guest, Pool, Todo, alone, together
from hiersim.sweeps.folder import PARTS, RESULTS, Folder, Span
from hiersim.sweeps.job import Bench, packed
from hiersim.sweeps.parquet import arrow
from hiersim.sweeps.plan import Plan, planned
from hiersim.sweeps.rows import POINT
from hiersim.sweeps.spec import EAGER, Spec, written
from hiersim.sweeps.table import Sweep, load_sweep, sweep_of

Progress = Callable[[int, int], None]
"""Told how many points are done, of how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """Who computes a sweep, and who is told; nothing here changes a byte of it."""

    workers: int | None = None
    executor: Executor | None = None
    dask: Any = None
    progress: Progress = lambda done, of: None
    report: Callable[[str], None] = lambda text: None
    patience: float = PATIENCE_SECONDS
    """Seconds of work that are not worth starting processes for."""


def sweep(
    traces: Trace | str | Sequence[Trace | str],
    designs: Design | str | Sequence[Design | str],
    fusion: str | Sequence[str] = EAGER,
    *,
    vary: Vary | None = None,
    zipped: bool = False,
    changes: Mapping[str, Any] | None = None,
    variant: Mapping[str, Any] | None = None,
    launch: str = STREAM,
    engine_name: str = DEFAULT_ENGINE,
    out: str | Path | None = None,
    workers: int | None = None,
    executor: Executor | None = None,
    dask: Any = None,
    progress: Progress | None = None,
    report: Callable[[str], None] | None = None,
) -> Sweep:
    """Replay every trace on every design with every policy and every combination of what is varied.

    Parameters
    ----------
    traces, designs : one or several
        Values, bundled names or files.
    fusion : one or several texts
        Policies.
    vary : mapping of axis to values, optional
        Axes are paths of the design (`memory.l2.capacity`), options of the workload (`batch`, `context`, `weights`,
        `tokens`), `fusion` and `launch`. Values are a sequence, or a text as on the command line (`1MiB..1GiB*2`).
        Several axes make the product; a tuple of axes with tuples of values is varied in pairs.
    zipped : bool
        Pair all axes of `vary`.
    changes : mapping of path to value, optional
        Values of the designs that are set at every point.
    variant : mapping, optional
        Arguments of `hiersim.variant`, for every trace.
    launch, engine_name : str
        As of `hiersim.simulate`.
    out : path, optional
        Folder to keep the sweep in (needs the extra `sweep`). The same call goes on with a sweep that was stopped, and
        reads one that is done.
    workers : int, optional
        Processes of this machine: as many as it has cores, and none where the sweep is too short to pay for them. A
        script guards its calls with ``if __name__ == "__main__"``, as always with processes.
    executor : concurrent.futures.Executor, optional
        Computes the points instead.
    dask : address or distributed.Client, optional
        Computes the points instead (needs the extra `dask`).
    progress : callable, optional
        Told how many points are done, of how many.
    report : callable, optional
        Told what is worth knowing: damaged parts, points that were there.

    Returns
    -------
    Sweep
        The same whoever computed it. A point that does not fit is a row that says so.

    Raises
    ------
    HiersimError
        Wrong names, paths, units or ranges, before anything is run or written; a folder that holds another sweep.
    """
    chosen = {"traces": _several(traces, Trace), "designs": _several(designs, Design)}
    names = {what: tuple(_name(item) for item in items) for what, items in chosen.items()}
    spec = Spec(
        traces=names["traces"],
        designs=names["designs"],
        fusion=(fusion,) if isinstance(fusion, str) else tuple(fusion),
        vary=tuple(normalized(vary or {}, zipped)),
        changes={path: str(value) for path, value in (changes or {}).items()},
        variant=dict(variant or {}),
        launch=launch,
        engine=engine_name,
    )
    how = How(
        workers=workers, executor=executor, dask=dask, progress=progress or (lambda done, of: None),
        report=report or (lambda text: None),
    )  # fmt: skip
    return carried_out(planned(spec, **chosen), out, how)


def _several(values: Any, kind: type) -> list[Any]:
    return [values] if isinstance(values, str | Path | kind) else list(values)


def _name(item: Any) -> str:
    return str(item) if isinstance(item, str | Path) else str(item.name)


def carried_out(plan: Plan, out: str | Path | None, how: How) -> Sweep:
    """Run what is not there yet; in memory, or in the folder `out`."""
    _check(how)
    if out is None:
        parts: list[Columns] = []
        _compute(plan, [Span(0, len(plan.job.grid))], parts.append, how)
        return sweep_of(joined(parts), plan.job.grid, plan.about)
    arrow()
    path = Path(out)
    with Folder(path, plan.manifest, written(plan.spec, path), how.report) as folder:
        done = _read_done(path, plan, how)
        if done is not None:
            return done
        size = len(plan.job.grid)
        gaps = _gaps(folder.finished, size)
        there = size - sum(span.end - span.first for span in gaps)
        if there:
            how.report(f"{path}: {there:,} of {size:,} points are there, {size - there:,} to go")
        _compute(plan, gaps, folder.add, how)
        made = sweep_of(folder.columns(), plan.job.grid, plan.about)
        folder.close(made.parquet())
    return made


def _check(how: How) -> None:
    if how.workers is not None and (isinstance(how.workers, bool) or not 1 <= how.workers <= 4096):
        raise HiersimError(f"{how.workers!r} is no number of workers", key="workers", expected="1 to 4096")
    if sum(choice is not None for choice in (how.workers, how.executor, how.dask)) > 1:
        raise HiersimError("several say who computes", expected="one of workers, executor and dask")


def _read_done(path: Path, plan: Plan, how: How) -> Sweep | None:
    """The finished sweep, when it is there and whole; parts that a kill left beside it are removed."""
    file = path / RESULTS
    if not file.exists():
        return None
    try:
        found = load_sweep(file)
        if found.about != plan.about or len(found) != len(plan.job.grid):
            raise HiersimError("is that of another sweep", file=str(file))
    except HiersimError as error:
        how.report(f"{error}; it is made again")
        file.unlink()
        return None
    how.report(f"{path}: all {len(found):,} points are there")
    shutil.rmtree(path / PARTS)
    return found


def _gaps(finished: Iterable[Span], size: int) -> list[Span]:
    """The points that no span covers."""
    gaps, at = [], 0
    for span in sorted(finished):
        if span.first > at:
            gaps.append(Span(at, span.first))
        at = max(at, span.end)
    return [*gaps, Span(at, size)] if at < size else gaps


def _compute(plan: Plan, gaps: Sequence[Span], keep: Callable[[Columns], None], how: How) -> None:
    """All points of the gaps, by whoever is asked to."""
    size, todo = len(plan.job.grid), Todo(gaps)
    done = size - len(todo)

    def kept(columns: Columns) -> None:
        nonlocal done
        keep(columns)
        done += len(columns[POINT])
        how.progress(done, size)

    how.progress(done, size)
    crew = _crew(how)
    if crew is None:
        workers = how.workers or cores()
        alone(Bench(plan.job), todo, kept, how.patience if workers > 1 else None)
        crew = Pool(workers)
    if len(todo):
        together(crew, packed(plan.job), todo, kept)


def _crew(how: How) -> Crew | None:
    """Who was named."""
    if how.dask is not None:
        return Cluster(how.dask)
    return Guest(how.executor) if how.executor is not None else None
