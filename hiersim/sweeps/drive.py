"""Points handed out in runs to one process, many, or a cluster; lost runs are handed out again."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import suppress
from typing import Any, Final, Protocol

from hiersim.errors import HiersimError, MissingExtraError
from hiersim.processes import LostWorkerError, Processes
from hiersim.sweeps.columns import Columns
from hiersim.sweeps.folder import Span
from hiersim.sweeps.job import Bench, MissingJobError, Parcel, Sent, hold, work

RUN_SECONDS: Final = 2.0
"""A run of points is as long as this takes, so that little is lost with a process, and handing out costs nothing."""
LARGEST_RUN: Final = 1024
GROWTH: Final = 8
"""A run has at most this many times the points of the largest one before it, whose time is known."""
PATIENCE_SECONDS: Final = 2.0
"""What would take less is finished in this process: others need as long to start."""
LOSSES: Final = 3
"""When so many workers are lost with runs that begin at the same point, something is wrong with that point."""
Keep = Callable[[Columns], None]


class Todo:
    """Points that are left, handed out in runs of neighbours whose length follows from how long others took."""

    def __init__(self, spans: Iterable[Span]) -> None:
        self._spans = sorted(spans, reverse=True)
        self._pace: float | None = None
        self._largest = 0

    def __len__(self) -> int:
        return sum(span.end - span.first for span in self._spans)

    def take(self, hands: int = 1) -> range | None:
        """The next run, for one of `hands` workers; None when all are handed out."""
        if not self._spans:
            return None
        length = self._length(hands)
        span = self._spans.pop()
        end = min(span.end, span.first + length)
        if end < span.end:
            self._spans.append(Span(end, span.end))
        return range(span.first, end)

    def _length(self, hands: int) -> int:
        if self._pace is None:
            return 1
        fair = -(-len(self) // (2 * hands)) if hands > 1 else LARGEST_RUN
        return max(1, min(int(RUN_SECONDS / max(self._pace, 1e-9)), GROWTH * self._largest, LARGEST_RUN, fair))

    def give_back(self, points: range) -> None:
        """A run that was lost; runs begin anew with single points, so that a fatal one is found."""
        self._spans = sorted([*self._spans, Span(points.start, points.stop)], reverse=True)
        self._pace = None

    def learn(self, points: int, seconds: float) -> None:
        """How long a run took."""
        self._pace = seconds / points
        self._largest = max(self._largest, points)

    @property
    def seconds(self) -> float:
        """What is left, in seconds of one worker, as the last run went."""
        return len(self) * (self._pace or 0.0)


class Crew(Protocol):
    """Who computes: an executor, and what is peculiar to its kind."""

    @property
    def hands(self) -> int:
        """Runs that are computed at once."""

    def open(self, parcel: Parcel) -> Executor:
        """An executor whose workers hold the job, or ask for it, and that replaces those that are lost."""

    def is_loss(self, error: BaseException) -> bool:
        """True for an error that says that workers died."""

    def close(self) -> None:
        """Let the workers go, whatever they do."""


def alone(bench: Bench, todo: Todo, keep: Keep, patience: float | None = None) -> None:
    """Compute here; with `patience`, leave off when the rest would take longer than so many seconds."""
    warm = False  # the first run prepares the trace as well, and says little of the others
    while (points := todo.take()) is not None:
        done = bench.done(points)
        keep(done.columns)
        todo.learn(len(points), done.seconds)
        if patience is not None and (warm or done.seconds > RUN_SECONDS) and todo.seconds > patience:
            return
        warm = True


def together(crew: Crew, parcel: Parcel, todo: Todo, keep: Keep) -> None:
    """Compute with a crew; what a lost worker had is handed out again.

    Raises
    ------
    HiersimError
        When workers are lost again and again with the same point.
    """
    losses: Counter[int] = Counter()
    pending: dict[Future[Sent], range] = {}
    try:
        executor = crew.open(parcel)
        while True:
            while len(pending) < 2 * crew.hands and (points := todo.take(crew.hands)) is not None:
                pending[executor.submit(work, parcel.name, points)] = points  # two each, so that none waits for more
            if not pending:
                return
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                points = pending.pop(future)
                try:
                    done = future.result()
                except MissingJobError:
                    pending[executor.submit(work, parcel.name, points, parcel)] = points
                except Exception as error:
                    if not crew.is_loss(error):
                        raise
                    losses[points.start] += 1
                    _check_losses(losses[points.start], points)
                    todo.give_back(points)
                else:
                    keep(done.columns)
                    todo.learn(len(points), done.seconds)
    finally:
        crew.close()


def _check_losses(losses: int, points: range) -> None:
    if losses < LOSSES:
        return
    raise HiersimError(
        f"workers were lost {losses} times with runs that begin with point {points.start}",
        expected="enough memory for each worker; in a script, calls under: if __name__ == '__main__'",
    )


class Pool:
    """Processes of this machine. They end with this process, even when it is killed."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._executor: Processes | None = None

    @property
    def hands(self) -> int:
        """Processes."""
        return self._workers

    def open(self, parcel: Parcel) -> Executor:
        """New processes, each of which takes the job first."""
        self._executor = Processes(self._workers, hold, parcel)
        return self._executor

    def is_loss(self, error: BaseException) -> bool:
        """A process was killed."""
        return isinstance(error, LostWorkerError)

    def close(self) -> None:
        """End all processes at once."""
        if self._executor is not None:
            self._executor.kill()
            self._executor = None


class Guest:
    """An executor of the caller's; its workers get the job when they ask for it. It is left open."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    @property
    def hands(self) -> int:
        """What the executor says of itself, where it does."""
        return int(getattr(self._executor, "_max_workers", None) or os.cpu_count() or 1)

    def open(self, parcel: Parcel) -> Executor:
        """Itself."""
        return self._executor

    def is_loss(self, error: BaseException) -> bool:
        """Nothing can be mended here."""
        return False

    def close(self) -> None:
        """The caller closes it."""


class Cluster:
    """Workers of a Dask cluster; those that join get the job as well, those that leave are replaced by others."""

    def __init__(self, target: Any) -> None:
        distributed = _distributed()
        self._mine = isinstance(target, str)
        try:
            self._client = distributed.Client(target, timeout="20s") if self._mine else target
        except (OSError, TimeoutError, ValueError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise HiersimError(
                f"cannot reach a scheduler: {reason}",
                file=str(target),
                key="--dask",
                expected="HOST:PORT of a Dask scheduler",
            ) from None
        self._executor: Executor | None = None
        self._plugin: str | None = None

    @property
    def hands(self) -> int:
        """Threads of all workers that are there now."""
        threads: dict[str, int] = self._client.nthreads()
        return max(1, sum(threads.values()))

    def open(self, parcel: Parcel) -> Executor:
        """The cluster as an executor; each worker is given the job once."""
        self._plugin = f"hiersim-{parcel.name}"
        self._client.register_plugin(_plugin(parcel), name=self._plugin)
        executor: Executor = self._client.get_executor(pure=False, retries=LOSSES)
        self._executor = executor
        return executor

    def is_loss(self, error: BaseException) -> bool:
        """Workers died with a run, or the results of one were lost with them."""
        return type(error).__name__ in (
            "KilledWorker",
            "FutureCancelledError",
            "FuturesCancelledError",
            "CancelledError",
        )

    def close(self) -> None:
        """Forget the job; leave the cluster as it was."""
        if self._executor is not None:
            self._executor.shutdown(wait=False)  # which cancels what is pending
        if self._plugin is not None:
            with suppress(Exception):  # a scheduler that is gone has forgotten it
                self._client.unregister_worker_plugin(self._plugin)
        if self._mine:
            self._client.close()


def _distributed() -> Any:
    try:
        import distributed
    except ImportError:
        raise MissingExtraError("a sweep on a Dask cluster", "distributed", "dask") from None
    return distributed


def _plugin(parcel: Parcel) -> Any:
    """What gives the job to every worker."""
    from hiersim.sweeps.dask_plugin import JobPlugin

    return JobPlugin(parcel)
