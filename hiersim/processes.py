"""Processes of this machine as an executor that goes on when any of them is killed, whatever it was doing.

`concurrent.futures.ProcessPoolExecutor` gives all its workers one pipe for results, and holds that pipe's sending end
itself: when a worker is killed amid a result, the executor waits for the rest of it for ever. Here each worker has a
pipe of its own, whose far end this process has closed: a worker that is gone is the end of its pipe.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from typing import Any, Final, NamedTuple

SPAWN: Final = multiprocessing.get_context("spawn")
"""Started afresh: the same on every system, and no thread's lock is inherited."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class LostWorkerError(BrokenExecutor):
    """The process that worked on this call was killed, or could not be started."""


class _Call(NamedTuple):
    future: Future[Any]
    message: bytes


class _Worker(NamedTuple):
    process: BaseProcess
    connection: Connection

    def dismiss(self) -> None:
        """End it, whatever it does."""
        self.connection.close()
        self.process.kill()
        self.process.join()


class Processes(Executor):
    """Workers that each run one call at a time; one that is lost fails its call alone, and another takes its place.

    They start with the first call that they get, and end with this process, even when it is killed.

    Parameters
    ----------
    workers : int
        Processes.
    begin, *arguments : optional
        Called first in each of them.
    """

    def __init__(self, workers: int, begin: Callable[..., None] | None = None, *arguments: Any) -> None:
        self._begin = (begin, arguments)
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._staff = threading.Lock()
        """Held while a worker is started or dismissed."""
        self._processes: set[BaseProcess] = set()
        self._closed = self._killed = False
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """Have a worker call a function that it can import; the future has LostWorkerError when the worker is lost."""
        if self._closed:
            raise RuntimeError("no calls are taken after the end")
        call = _Call(Future(), pickle.dumps((function, arguments, named), protocol=pickle.HIGHEST_PROTOCOL))
        self._calls.put(call)
        return call.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; those that are waiting are run, or cancelled."""
        self._closed = True
        while cancel_futures and not self._calls.empty():
            call = self._calls.get()
            if call is not None:
                call.future.cancel()
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads if wait else ():
            thread.join()

    def kill(self) -> None:
        """End all workers now; what they were at is lost."""
        self.shutdown(wait=False, cancel_futures=True)
        with self._staff:
            self._killed = True
            for process in self._processes:
                process.kill()
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        """Pass calls on to one worker after the other, as long as each lives."""
        worker: _Worker | None = None
        while (call := self._calls.get()) is not None:
            if not call.future.set_running_or_notify_cancel():
                continue
            try:
                worker = worker or self._hired()
                worker.connection.send_bytes(call.message)
                answer = worker.connection.recv_bytes()
            except (EOFError, OSError):
                self._dismiss(worker)
                worker = None
                call.future.set_exception(LostWorkerError("a worker was lost"))
            except RuntimeError as error:  # of multiprocessing: the main module of a worker starts workers itself
                call.future.set_exception(error)
            else:
                _settle(call.future, answer)
        self._dismiss(worker)

    def _hired(self) -> _Worker:
        with self._staff:
            if self._killed:
                raise EOFError
            ours, its = SPAWN.Pipe()
            process = SPAWN.Process(target=_work, args=(its, *self._begin), daemon=True)
            try:
                process.start()
            except (OSError, RuntimeError):
                ours.close()
                raise
            finally:
                its.close()
            self._processes.add(process)
        return _Worker(process, ours)

    def _dismiss(self, worker: _Worker | None) -> None:
        if worker is not None:
            with self._staff:
                worker.dismiss()
                self._processes.discard(worker.process)


def _settle(future: Future[Any], answer: bytes) -> None:
    """Say what a worker answered."""
    try:
        went_well, value = pickle.loads(answer)
    except Exception as error:  # of whatever class the result is
        future.set_exception(error)
        return
    if went_well:
        future.set_result(value)
    else:
        future.set_exception(value)


def _work(connection: Connection, begin: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    """What a worker does: one call after the other, until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it, and says when to end
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if begin is not None:
        begin(*arguments)
    with suppress(EOFError):
        while True:
            connection.send_bytes(_answer(connection.recv_bytes()))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(0)


def _answer(message: bytes) -> bytes:
    """Whether the call went well, and its result or its error."""
    try:
        function, arguments, named = pickle.loads(message)
        return pickle.dumps((True, function(*arguments, **named)), protocol=pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        error.add_note(f"in a worker:\n{traceback.format_exc()}")
        return pickle.dumps((False, error), protocol=pickle.HIGHEST_PROTOCOL)
