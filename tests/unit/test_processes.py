"""Workers that are killed at the worst moment cost their call, and nothing waits for them."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing import active_children
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from hiersim.processes import LostWorkerError, Processes

PATIENCE = 60.0
"""Seconds until a test says that something hangs."""
HELD: list[str] = []


def begin(text: str) -> None:
    HELD.append(text)


def held() -> list[str]:
    return HELD


def pid() -> int:
    return os.getpid()


def cut_short() -> None:
    """The answer's length and a part of it are sent, then the process is gone."""

    def part(self: Connection, data: bytes) -> None:
        os.write(self.fileno(), struct.pack("!i", len(data)) + bytes(data)[:3])
        os.kill(os.getpid(), signal.SIGKILL)

    Connection._send_bytes = part  # type: ignore[attr-defined]


def fails() -> None:
    raise KeyError("a name")


def unwilling() -> object:
    return threading.Lock()  # which cannot be sent


@pytest.fixture(scope="module")
def two() -> Iterator[Processes]:
    executor = Processes(2, begin, "first")
    yield executor
    executor.kill()


def test_each_worker_begins_before_its_first_call(two: Processes) -> None:
    assert two.submit(held).result(PATIENCE) == ["first"]


def test_errors_come_back_and_say_where(two: Processes) -> None:
    error = two.submit(fails).exception(PATIENCE)
    assert isinstance(error, KeyError)
    assert "in fails" in error.__notes__[0]
    assert isinstance(two.submit(unwilling).exception(PATIENCE), TypeError)


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_worker_that_is_killed_amid_its_answer_is_lost_and_replaced(two: Processes) -> None:
    """A pool with one pipe for all would wait for the rest of that answer."""
    assert isinstance(two.submit(cut_short).exception(PATIENCE), LostWorkerError)
    assert {two.submit(pid).result(PATIENCE) for _ in range(4)} & {process.pid for process in active_children()}


def test_what_waits_is_cancelled_and_what_runs_is_lost() -> None:
    executor = Processes(1, begin, "")
    running = executor.submit(time.sleep, 2 * PATIENCE)
    while not running.running():
        time.sleep(0.01)
    waiting = executor.submit(pid)
    executor.kill()
    assert waiting.cancelled()
    assert isinstance(running.exception(PATIENCE), LostWorkerError)
    with pytest.raises(RuntimeError, match="after the end"):
        executor.submit(pid)


def test_what_is_asked_before_the_end_is_done() -> None:
    with Processes(1, begin, "") as executor:
        futures = [executor.submit(pid) for _ in range(3)]
    assert len({future.result() for future in futures}) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_workers_end_with_a_parent_that_is_killed(two: Processes) -> None:
    script = (
        "import os, sys, time; from tests.unit.test_processes import *\n"
        "if __name__ == '__main__':\n"
        "    pool = Processes(1, begin, ''); print(pool.submit(pid).result(), flush=True)\n"
        "    pool.submit(time.sleep, 600); time.sleep(0.2); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE, check=False)
    worker, until = int(done.stdout), time.monotonic() + PATIENCE
    while alive(worker):
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_script_without_a_guard_ends_and_says_why(tmp_path: Path) -> None:
    """Its workers import it, and so would start workers of their own: multiprocessing refuses, and nobody waits."""
    script = tmp_path / "script.py"
    script.write_text(
        "from hiersim.processes import Processes\npool = Processes(1)\nprint(pool.submit(abs, -1).result())\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1
    assert "LostWorkerError" in done.stderr and "__name__ == '__main__'" in done.stderr


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
