"""Whoever computes a sweep, and whatever happens on the way, its bytes are the same."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import hiersim as hs
from hiersim.errors import HiersimError
from hiersim.processes import LostWorkerError
from hiersim.sweeps import drive, folder, job
from hiersim.sweeps.drive import Pool, Todo, together
from hiersim.sweeps.folder import Span
from hiersim.sweeps.job import packed
from hiersim.sweeps.plan import planned
from hiersim.sweeps.run import How, carried_out
from hiersim.sweeps.spec import Spec

pytest.importorskip("pyarrow")

ROOT = Path(__file__).parents[2]
RELU = str(ROOT / "docs" / "examples" / "relu.jsonl")
SPEC = Spec(
    traces=(RELU,), designs=("tiny",), fusion=("eager", "pointwise"),
    vary=({"memory.l2.capacity": [f"{size} MiB" for size in range(1, 31)]},),
)  # fmt: skip
POINTS = 60


@pytest.fixture(scope="module")
def expected() -> bytes:
    return carried_out(planned(SPEC), None, How(workers=1)).parquet()


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of a few points, so that there are many."""
    monkeypatch.setattr(drive, "RUN_SECONDS", 0.005)


def results(path: Path) -> bytes:
    return (path / folder.RESULTS).read_bytes()


def test_processes(expected: bytes, tmp_path: Path) -> None:
    carried_out(planned(SPEC), tmp_path / "out", How(workers=2, patience=0))
    assert results(tmp_path / "out") == expected


def test_any_executor(expected: bytes, short: None) -> None:
    with ThreadPoolExecutor(3) as threads:
        assert carried_out(planned(SPEC), None, How(executor=threads)).parquet() == expected


def test_a_dask_cluster_that_loses_a_worker(expected: bytes, tmp_path: Path, short: None) -> None:
    distributed = pytest.importorskip("distributed")
    lost: list[int] = []
    cluster = distributed.LocalCluster(n_workers=3, threads_per_worker=1, dashboard_address=None, silence_logs=50)
    with cluster, distributed.Client(cluster) as client:

        def progress(done: int, of: int) -> None:
            if done > 3 and not lost:
                lost.append(next(iter(client.run(os.getpid).values())))
                os.kill(lost[0], 9)

        carried_out(planned(SPEC), tmp_path / "out", How(dask=client, progress=progress))
        assert lost
    assert results(tmp_path / "out") == expected


def test_kills_of_all_kinds() -> None:
    """Two of them; `python -m benchmarks.kills` does more."""
    command = [sys.executable, "-m", "benchmarks.kills", "--kills", "2", "--seed", "4"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert "2 kills" in done.stdout


class Counted(Executor):
    """Runs at once, and notes what it was given; loses the runs that it is told to lose."""

    def __init__(self, lose: Callable[[int], bool] = lambda number: False) -> None:
        self.runs: list[tuple[range, bool]] = []
        self.lose = lose

    def submit(self, function: Any, /, *arguments: Any, **_: Any) -> Future[Any]:
        self.runs.append((arguments[1], len(arguments) > 2))
        future: Future[Any] = Future()
        try:
            if self.lose(len(self.runs)):
                raise LostWorkerError("killed")
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future


class Losing(Pool):
    """A pool with another executor."""

    def __init__(self, executor: Executor) -> None:
        super().__init__(2)
        self.executor = executor

    def open(self, parcel: job.Parcel) -> Executor:
        job.hold(parcel)
        return self.executor


def test_inputs_are_sent_when_a_worker_asks_and_not_again(
    expected: bytes, short: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "_BENCHES", type(job._BENCHES)())
    executor = Counted()
    assert carried_out(planned(SPEC), None, How(executor=executor)).parquet() == expected
    first = [points for points, sent in executor.runs if sent]
    hands = os.cpu_count() or 1
    assert 1 <= len(first) <= 2 * hands  # those that were under way when the first one asked
    assert len(executor.runs) > 4 * hands


def test_lost_runs_are_handed_out_again(short: None) -> None:
    plan, kept = planned(SPEC), list[int]()
    crew = Losing(Counted(lambda number: number in (2, 5)))
    together(crew, packed(plan.job), Todo([Span(0, POINTS)]), lambda columns: kept.extend(columns["point"].tolist()))
    assert sorted(kept) == list(range(POINTS))


def test_workers_that_are_lost_again_and_again_are_an_error(short: None) -> None:
    plan = planned(SPEC)
    crew = Losing(Counted(lambda number: True))
    with pytest.raises(HiersimError, match=r"workers were lost 3 times with runs that begin with point \d \("):
        together(crew, packed(plan.job), Todo([Span(0, POINTS)]), lambda columns: None)


def test_a_broken_executor_of_the_caller_is_told(short: None) -> None:
    with pytest.raises(LostWorkerError):
        carried_out(planned(SPEC), None, How(executor=Counted(lambda number: number > 2)))


def stopped(path: Path, after: int) -> None:
    """A sweep that ends when so many points are done."""

    def progress(done: int, of: int) -> None:
        if done >= after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carried_out(planned(SPEC), path, How(workers=1, progress=progress))


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda data: data[:-1],
    "flipped": lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:],
    "empty": lambda data: b"",
}


def test_a_damaged_part_is_told_and_computed_again(expected: bytes, short: None, tmp_path: Path) -> None:
    for name, damage in DAMAGES.items():
        path = tmp_path / name
        stopped(path, 30)
        parts = sorted((path / folder.PARTS).iterdir())
        assert len(parts) > 2
        whole = [int(part.name[10:19]) + 1 - int(part.name[:9]) for part in parts]
        parts[1].write_bytes(damage(parts[1].read_bytes()))
        (path / folder.PARTS / ".half").write_bytes(b"of a file")
        told: list[str] = []
        counts: list[int] = []
        how = How(workers=1, report=told.append, progress=lambda done, of, counts=counts: counts.append(done))  # type: ignore[misc]
        carried_out(planned(SPEC), path, how)
        assert results(path) == expected
        assert len([text for text in told if "damaged" in text and parts[1].name in text]) == 1
        assert counts[0] == sum(whole) - whole[1]  # the other parts were not computed again
        assert sorted(item.name for item in path.iterdir()) == [folder.MANIFEST, folder.RESULTS, folder.SPEC]


def test_damaged_results_are_told_and_made_again(expected: bytes, tmp_path: Path) -> None:
    path = tmp_path / "out"
    carried_out(planned(SPEC), path, How(workers=1))
    data = bytearray(expected)
    data[1000] ^= 1
    (path / folder.RESULTS).write_bytes(data)
    with pytest.raises(HiersimError, match="cannot be read"):
        hs.load_sweep(path)
    told: list[str] = []
    carried_out(planned(SPEC), path, How(workers=1, report=told.append))
    assert results(path) == expected
    assert "made again" in told[0]


def test_a_full_disk_is_one_line_and_loses_nothing(
    expected: bytes, short: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third file finds no room, half written; when there is room again, the sweep goes on."""
    real, syncs = os.fsync, list[int]()

    def full(handle: int) -> None:
        syncs.append(handle)
        if len(syncs) > 12:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    path = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(HiersimError, match="cannot be written: No space left on device") as caught:
            carried_out(planned(SPEC), path, How(workers=1))
    assert caught.value.exit_code == 2
    left = [item.name for item in (path / folder.PARTS).iterdir()]
    assert left
    assert not [name for name in left if name.startswith(".")]
    counts: list[int] = []
    carried_out(planned(SPEC), path, How(workers=1, progress=lambda done, of: counts.append(done)))
    assert counts[0] > 0
    assert results(path) == expected


def test_one_process_at_a_time(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    plan, path = planned(SPEC), tmp_path / "out"
    with folder.Folder(path, plan.manifest, ""), pytest.raises(HiersimError, match="in use by another process"):
        carried_out(plan, path, How(workers=1))
    carried_out(plan, path, How(workers=1))


def test_an_unfinished_sweep_is_not_read(short: None, tmp_path: Path) -> None:
    stopped(tmp_path / "out", 10)
    with pytest.raises(HiersimError, match=r"is not finished .*--resume"):
        hs.load_sweep(tmp_path / "out")
