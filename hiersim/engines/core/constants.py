"""Numbers with a name that modules of the event core share; compiled code takes the equal ones of `constants.pxd`."""

from __future__ import annotations

from hiersim.model.program import Access
from hiersim.model.timeline import ENGINES, Entry, LedgerPhase

NONE = -1
INFINITY = 2**63 - 1
N_ENGINES = len(ENGINES)
CORES = ENGINES.index("cores")
PHASES = len(LedgerPhase)
FILL, STEADY, DRAIN = int(LedgerPhase.FILL), int(LedgerPhase.STEADY), int(LedgerPhase.DRAIN)
USEFUL, PADDING, TAIL = int(Entry.USEFUL), int(Entry.PADDING), int(Entry.TAIL)
DISPATCH, DEPENDENCY, CAPACITY = int(Entry.DISPATCH), int(Entry.DEPENDENCY), int(Entry.CAPACITY)
BANDWIDTH, LATENCY, CONTENTION = int(Entry.BANDWIDTH), int(Entry.LATENCY), int(Entry.CONTENTION)
COMPUTE = int(Access.COMPUTE)
LOG_WIDTH = 7
LOOK = 1048575
"""Steps between two looks at the keyboard, less one."""
LAST, COMPLETES, RELEASES, COMPUTES, LEAVES = 1, 2, 4, 8, 16
"""Marks of a stage: the last of its chain, completes the tile, frees its buffer, runs on a unit, is where tiles of a
nest wait in line."""
SET_UP, COMPUTED = 1, 2
"""How far an engine has `begun` with a kernel; 0 is not at all."""
OFF, TRACED, BROKEN = 0, 1, 2
"""`tracing`: events are not noted, are, or something happened that the order of times does not decide (`drift.py`)."""
STEP, ISSUED, GRANTED, SERVED, LANDED = 0, 1, 2, 3, 4
KINDS = 5
"""Events that `drift.py` compares: time goes on, and what a tile goes through; how many kinds there are."""
