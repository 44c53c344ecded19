"""Who replays the operators of a validation: this process, or several; the rows and their order are the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from hiersim.errors import HiersimError
from hiersim.processes import LostWorkerError, Processes, cores
from hiersim.validation.operators import Batch, replay_batch
from hiersim.validation.rows import OperatorRow, Progress, Skips

PART: Final = 250
"""Operators that a process is given at once: some tenths of a second of work."""
WORTH: Final = 4000
"""Operators from which on other processes, which start in a second, are worth their while."""


def replay_all(
    batches: Sequence[Batch], workers: int | None, skips: Skips, progress: Progress
) -> Iterator[OperatorRow]:
    """Rows of all batches in their order; what cannot be replayed is counted in `skips`.

    Parameters
    ----------
    workers : int, optional
        Processes; 1: this one. None: as many as there are cores, and this one where the work is short.

    Raises
    ------
    HiersimError
        A process was killed.
    """
    count = sum(len(batch.times) for batch in batches)
    if workers is None:
        workers = cores() if count >= WORTH else 1
    if workers < 2:
        for batch in batches:
            yield from replay_batch(batch, skips, progress)
        return
    parts = [part for batch in batches for part in batch.parts(PART)]
    pool = Processes(min(workers, len(parts) or 1))
    try:
        done = 0
        for part, (rows, counts) in zip(parts, pool.map(_replayed, parts), strict=True):
            for (name, _, _), _ in part.times:
                progress(name, done, count)
                done += 1
            for reason, number in counts.items():
                skips.add(reason, number)
            yield from rows
    except LostWorkerError:
        raise HiersimError(
            "a process that replays was lost",
            expected="enough memory for each worker; in a script, calls under: if __name__ == '__main__'",
        ) from None
    finally:
        pool.kill()


def _replayed(part: Batch) -> tuple[list[OperatorRow], dict[str, int]]:
    """In a process of its own."""
    skips = Skips()
    return list(replay_batch(part, skips, lambda *told: None)), skips.counts
