"""Points handed out in runs to one process, many, or a cluster; lost runs are handed out again."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from contextlib import suppress
from typing import Any, Final, Protocol

from hiersim.errors import HiersimError, MissingExtraError
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
"""After so many losses of workers without a finished run between them, something is wrong with the points."""
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
        """An executor whose workers hold the job, or ask for it; called again after a loss."""

    def is_loss(self, error: BaseException) -> bool:
        """True for an error that says that workers died."""

    def reopens(self) -> bool:
        """True where an executor is of no more use after a loss."""

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
        When workers are lost again and again.
    """
    losses = 0
    executor = crew.open(parcel)
    pending: dict[Future[Sent], range] = {}
    try:
        while True:
            lost = _refill(crew, executor, parcel, todo, pending)
            if not pending and not lost:
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
                    lost.append(points)
                else:
                    keep(done.columns)
                    todo.learn(len(points), done.seconds)
                    losses = 0
            if lost:
                losses += 1
                _check_losses(losses, lost)
                executor = _recovered(crew, executor, parcel, todo, pending, lost)
    finally:
        crew.close()


def _refill(
    crew: Crew, executor: Executor, parcel: Parcel, todo: Todo, pending: dict[Future[Sent], range]
) -> list[range]:
    """Two runs for each worker, so that none waits for the next; returns the run that could not be handed out."""
    hands = crew.hands
    while len(pending) < 2 * hands and (points := todo.take(hands)) is not None:
        try:
            pending[executor.submit(work, parcel.name, points)] = points
        except BrokenExecutor as error:
            if not crew.is_loss(error):
                raise
            return [points]
    return []


def _recovered(
    crew: Crew, executor: Executor, parcel: Parcel, todo: Todo, pending: dict[Future[Sent], range], lost: list[range]
) -> Executor:
    """What was lost is to be done again, by new workers where the old ones are of no more use."""
    if crew.reopens():
        lost = [*lost, *pending.values()]
        pending.clear()
        crew.close()
        executor = crew.open(parcel)
    for points in lost:
        todo.give_back(points)
    return executor


def _check_losses(losses: int, lost: list[range]) -> None:
    if losses < LOSSES:
        return
    first, last = min(points.start for points in lost), max(points.stop for points in lost) - 1
    which = f"point {first}" if first == last else f"points {first} to {last}"
    raise HiersimError(
        f"workers were lost {losses} times in a row, the last time with {which}",
        expected="enough memory for each worker; in a script, calls under: if __name__ == '__main__'",
    )


class Pool:
    """Processes of this machine. They end with this process, even when it is killed."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._executor: ProcessPoolExecutor | None = None
        self._ends: tuple[Any, Any] | None = None

    @property
    def hands(self) -> int:
        """Processes."""
        return self._workers

    def open(self, parcel: Parcel) -> Executor:
        """New processes, started afresh: the same on every system, and no thread's lock is inherited."""
        context = multiprocessing.get_context("spawn")
        self._ends = context.Pipe(duplex=False)
        self._executor = ProcessPoolExecutor(
            self._workers, mp_context=context, initializer=_begin, initargs=(parcel, self._ends[0])
        )
        return self._executor

    def is_loss(self, error: BaseException) -> bool:
        """A process was killed."""
        return isinstance(error, BrokenExecutor)

    def reopens(self) -> bool:
        """One lost process breaks the pool."""
        return True

    def close(self) -> None:
        """End all processes at once."""
        if self._ends is not None:
            for end in reversed(self._ends):
                end.close()
            self._ends = None
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._executor = None


def _begin(parcel: Parcel, alive: Any) -> None:
    """First thing in a process of a pool: take the job, and end when the pipe's other end is gone."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it, and says when to end
    threading.Thread(target=_end_with, args=(alive,), daemon=True).start()
    hold(parcel)


def _end_with(alive: Any) -> None:
    with suppress(EOFError, OSError):
        alive.recv()
    os._exit(0)


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

    def reopens(self) -> bool:
        """Never."""
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

    def reopens(self) -> bool:
        """The scheduler goes on."""
        return False

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
