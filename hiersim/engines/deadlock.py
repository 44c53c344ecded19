"""Why a program stands still: the cycle of kernels and launches that wait for each other.

Three kinds of events wait, and only for one another:

- kernel k needs the end of its kernels, and its own launch;
- the launch of k waits for the launches before it, for the start of kernel k - queue (its place on the device) and,
  with `host_sync`, for the end of all earlier kernels;
- a kernel that has started always ends: its buffers and ports are given back by tiles that wait for nothing else.

So a run in which nothing moves any more has a cycle, and following any open wait leads into it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hiersim.errors import SimulationError
from hiersim.model.program import Program

SHOWN: Final = 6
"""Links of a cycle that a message shows at most."""


@dataclass(frozen=True, slots=True)
class Waiter:
    """A kernel that has not ended, or its launch that the host has not begun."""

    kernel: int
    launch: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """One link of a cycle: `waiter` waits for `cause`."""

    waiter: Waiter
    cause: Waiter
    started: bool
    """True when the start of the cause is enough."""


def deadlock(program: Program, started: Sequence[bool], ended: Sequence[bool]) -> SimulationError:
    """The error of a run in which nothing can happen any more: one line that names the cycle.

    Parameters
    ----------
    program : Program
        What was run.
    started, ended : sequences of bool, (K,)
        Which kernels have started and which have ended; not all have ended.
    """
    cycle = find_cycle(program, started, ended)
    repeated = Counter(program.kernel_names)
    names = [
        f"'{name}'" + (f" (kernel {index})" if repeated[name] > 1 else "")
        for index, name in enumerate(program.kernel_names)
    ]
    links = [_words(wait, names) for wait in cycle]
    if len(links) > SHOWN:
        links[SHOWN - 1 : -1] = [f"… {len(links) - SHOWN} more …"]
    return SimulationError(f"deadlock: {', '.join(links)}")


def find_cycle(program: Program, started: Sequence[bool], ended: Sequence[bool]) -> list[Wait]:
    """The waits of one cycle in order; each one's cause is the next one's waiter, and the last one's the first."""
    first = next(kernel for kernel, done in enumerate(ended) if not done)
    blocked = _blocked_launch(program, started, ended)
    waits: list[Wait] = []
    seen: dict[Waiter, int] = {}
    waiter = Waiter(first)
    while waiter not in seen:
        seen[waiter] = len(waits)
        waits.append(_wait(program, started, ended, waiter, blocked))
        waiter = waits[-1].cause
    return waits[seen[waiter] :]


def _blocked_launch(program: Program, started: Sequence[bool], ended: Sequence[bool]) -> int:
    """The kernel whose launch the host cannot begin; the number of kernels when all are launched."""
    all_ended = True
    for kernel in range(len(program)):
        if kernel >= program.queue and not started[kernel - program.queue]:
            return kernel
        if program.host_sync[kernel] and not all_ended:
            return kernel
        all_ended = all_ended and bool(ended[kernel])
    return len(program)


def _wait(program: Program, started: Sequence[bool], ended: Sequence[bool], waiter: Waiter, blocked: int) -> Wait:
    """What a waiter waits for; launches first, because they lead to short cycles."""
    kernel = waiter.kernel
    if not waiter.launch and kernel >= blocked:
        return Wait(waiter=waiter, cause=Waiter(kernel, launch=True), started=False)
    if not waiter.launch:
        needs = program.needs[program.needs_ptr[kernel] : program.needs_ptr[kernel + 1]].tolist()
        cause = next(need for need in needs if not ended[need])
        return Wait(waiter=waiter, cause=Waiter(cause), started=False)
    if kernel > blocked:
        return Wait(waiter=waiter, cause=Waiter(blocked, launch=True), started=False)
    before = kernel - program.queue
    if before >= 0 and not started[before]:
        return Wait(waiter=waiter, cause=Waiter(before), started=True)
    cause = next(earlier for earlier in range(kernel) if not ended[earlier])
    return Wait(waiter=waiter, cause=Waiter(cause), started=False)


def _words(wait: Wait, names: Sequence[str]) -> str:
    """One link as a person would say it."""
    own, other = names[wait.waiter.kernel], names[wait.cause.kernel]
    if not wait.waiter.launch:
        return f"{own} waits for its launch" if wait.cause.launch else f"{own} needs {other}"
    if wait.cause.launch:
        return f"the launch of {own} waits for that of {other}"
    return f"the launch of {own} waits for {other} to {'start' if wait.started else 'end'}"
