"""What a process and all that it started are doing, from Linux's /proc."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

TICKS: Final = os.sysconf("SC_CLK_TCK")
"""Of the kernel's clock, each second."""
PARENT: Final = 1
TIMES: Final = slice(11, 15)
"""User and system time of a process, and of its children that ended and were waited for."""


def stats() -> dict[int, list[str]]:
    """The fields of `stat` behind the name, of every process."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            found[int(path.parent.name)] = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
    return found


def children(parent: int) -> list[int]:
    """Processes that `parent` started."""
    return [pid for pid, fields in stats().items() if int(fields[PARENT]) == parent]


def tree(root: int) -> Iterator[tuple[int, list[str]]]:
    """A process and all that it started, with their `stats`."""
    known = stats()
    parents: dict[int, list[int]] = {}
    for pid, fields in known.items():
        parents.setdefault(int(fields[PARENT]), []).append(pid)
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        if pid in known:
            yield pid, known[pid]
        waiting += parents.get(pid, [])


def cpu_seconds(root: int) -> float:
    """Processor time of a process, of all that it started, and of those of them that ended and were waited for."""
    return sum(sum(map(int, fields[TIMES])) for _, fields in tree(root)) / TICKS


def note_peaks(root: int, seen: dict[int, int]) -> None:
    """Write to `seen` the most memory in MB that each process of the tree has had."""
    for pid, _ in tree(root):
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            if line.startswith("VmHWM:"):
                seen[pid] = int(line.split()[1]) // 1000
