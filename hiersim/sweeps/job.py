"""What a worker needs to compute any point of a sweep, named by its contents; and the computing itself."""

from __future__ import annotations

import hashlib
import pickle
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from hiersim.errors import HiersimError
from hiersim.frontends.variants.variant import variant
from hiersim.model.design import Design
from hiersim.model.trace import Trace
from hiersim.results import Result
from hiersim.run import DEFAULT_ENGINE, simulate
from hiersim.sweeps.axes import DESIGN, FUSION, LAUNCH, TRACE, WORDS, WORKLOAD, variant_arguments
from hiersim.sweeps.columns import Columns, columns_of
from hiersim.sweeps.grid import Grid
from hiersim.sweeps.rows import POINT, Row, failed, flat

KEPT_VARIANTS: Final = 4
"""Variants of traces that a process keeps ready; points of one variant lie side by side."""
KEPT_JOBS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Job:
    """A sweep as a worker sees it."""

    traces: tuple[Trace, ...]
    designs: tuple[Design, ...]
    grid: Grid
    changes: Mapping[str, str] = field(default_factory=dict)
    """Values that are set at every point; they are in the designs and only recorded."""
    launch: str = "stream"
    engine: str = DEFAULT_ENGINE


class Parcel(NamedTuple):
    """A job in bytes, and their SHA-256: the name by which workers know it."""

    name: str
    data: bytes


def packed(job: Job) -> Parcel:
    """`job` as it is sent to workers."""
    data = pickle.dumps(job, protocol=pickle.HIGHEST_PROTOCOL)
    return Parcel(hashlib.sha256(data).hexdigest(), data)


def paths_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """What of a point's values is set in its design."""
    return {name: value for name, value in given.items() if name not in (TRACE, DESIGN, *WORDS)}


class Done(NamedTuple):
    """What comes back for some points."""

    columns: Columns
    seconds: float
    """How long a process worked on them."""
    cpu_seconds: float
    """Processor time of that."""


class Sent(NamedTuple):
    """`Done`, its columns as one piece of bytes: what carries hundreds of arrays one by one is slow."""

    data: bytes
    seconds: float
    cpu_seconds: float

    @property
    def columns(self) -> Columns:
        """The columns."""
        found: Columns = pickle.loads(self.data)
        return found


class Bench:
    """One process's place of work on one job: keeps the variants of traces that it made last."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._lock = threading.Lock()
        self._variants: OrderedDict[tuple[Any, ...], Trace] = OrderedDict()

    def done(self, points: Sequence[int]) -> Done:
        """These points, run one after the other; one thread at a time, since they would share one interpreter."""
        with self._lock:
            began, busy = time.perf_counter(), time.thread_time()
            columns = columns_of([self.row(point) for point in points])
            return Done(columns, time.perf_counter() - began, time.thread_time() - busy)

    def row(self, point: int) -> Row:
        """One row; a point that cannot be run says why."""
        try:
            found = flat(self.result(point).to_dict())
        except HiersimError as error:
            found = failed(error)
        return {POINT: point, **found}

    def result(self, point: int) -> Result:
        """One point, run; raises what keeps it from running."""
        job, at = self.job, self.job.grid.at(point)
        given = job.grid.values_at(at)
        return simulate(
            self._trace_of(at, given),
            self._design_of(at, given),
            given[FUSION],
            engine_name=job.engine,
            changes={**job.changes, **{path: str(value) for path, value in paths_of(given).items()}},
            launch=given.get(LAUNCH, job.launch),
        )

    def design(self, point: int) -> Design:
        """The design of one point."""
        return self._design_of(self.job.grid.at(point), self.job.grid.given(point))

    def _design_of(self, at: Mapping[str, int], given: Mapping[str, Any]) -> Design:
        design, changes = self.job.designs[at[DESIGN]], paths_of(given)
        return design.replace(changes) if changes else design

    def trace(self, point: int) -> Trace:
        """The trace of one point, or its variant."""
        return self._trace_of(self.job.grid.at(point), self.job.grid.given(point))

    def _trace_of(self, at: Mapping[str, int], given: Mapping[str, Any]) -> Trace:
        workload = {name: value for name, value in given.items() if name in WORKLOAD}
        return self._variant(at[TRACE], workload) if workload else self.job.traces[at[TRACE]]

    def _variant(self, index: int, workload: Mapping[str, Any]) -> Trace:
        """A trace, or its variant; weights in the dtype that it has are those it has."""
        trace = self.job.traces[index]
        asked: dict[str, Any] = {}
        for name, value in workload.items():
            if not (name == "weights" and str(value).lower() == trace.header.dtype.lower()):
                asked |= variant_arguments(name, value)
        if not asked:
            return trace
        key = (index, *sorted(asked.items()))
        if key not in self._variants:
            while len(self._variants) >= KEPT_VARIANTS:
                self._variants.popitem(last=False)
            self._variants[key] = variant(trace, **asked)
        self._variants.move_to_end(key)
        return self._variants[key]


class MissingJobError(Exception):
    """A worker does not hold the job that it is asked to work on: send the parcel along."""


_BENCHES: OrderedDict[str, Bench] = OrderedDict()
"""Jobs that this process holds, by name."""


def hold(parcel: Parcel) -> None:
    """Keep a job in this process. Raises ValueError when the parcel is not what its name says."""
    if parcel.name in _BENCHES:
        return
    if hashlib.sha256(parcel.data).hexdigest() != parcel.name:
        raise ValueError("a job arrived damaged")
    while len(_BENCHES) >= KEPT_JOBS:
        _BENCHES.popitem(last=False)
    _BENCHES[parcel.name] = Bench(pickle.loads(parcel.data))


def work(name: str, points: Sequence[int], parcel: Parcel | None = None) -> Sent:
    """Compute points of the job of that name, in a worker.

    Raises
    ------
    MissingJobError
        When this process does not hold the job and no parcel came along.
    """
    if parcel is not None:
        hold(parcel)
    if name not in _BENCHES:
        raise MissingJobError(name)
    done = _BENCHES[name].done(points)
    return Sent(pickle.dumps(done.columns, protocol=pickle.HIGHEST_PROTOCOL), done.seconds, done.cpu_seconds)
