"""The compiled engine: the semantics of the reference engine over the same arrays, compiled, with fast-forward.

Where no compiler was at hand when hiersim was installed, the same source runs interpreted: `compiled()` tells.
"""

from __future__ import annotations

from typing import Final

from hiersim.engines.core import graph, stream
from hiersim.engines.deadlock import deadlock
from hiersim.model.program import Program
from hiersim.model.timeline import StageLog, Timeline

NAME: Final = "compiled"
_COUNTS: dict[str, int] = {}


def compiled() -> bool:
    """False where the engine runs interpreted."""
    return not str(stream.__file__).endswith(".py")


def last_counts() -> dict[str, int]:
    """Counted work of the last run in this process: stages played and skipped, snapshots, kernels remembered, …"""
    return dict(_COUNTS)


def simulate(program: Program, *, keep_log: bool = False, fast_forward: bool = True) -> Timeline:
    """Run `program` and account for every tick.

    Parameters
    ----------
    program : Program
        Kernels in launch order.
    keep_log : bool
        Keep every stage that ran; plays every tile.
    fast_forward : bool
        Skip what repeats: iterations of tile loops, kernels that find the machine as it was before. The result is
        the same either way.

    Raises
    ------
    SimulationError
        When kernels wait for each other for ever.
    """
    machine = (stream.Stream if stream.suits(program) else graph.Graph)(program, keep_log, fast_forward)
    machine.run()
    times = machine.times()
    if len(program) and int(times["end"].min()) < 0:
        raise deadlock(program, (times["start"] >= 0).tolist(), (times["end"] >= 0).tolist())
    log = None
    if keep_log:
        names = ("kernel", "tile", "stage", "request", "grant", "end", "buffer")
        log = StageLog(**dict(zip(names, machine.stage_log(), strict=True)))
    _COUNTS.clear()
    _COUNTS.update(machine.counted())
    return Timeline(engine=NAME, log=log, **times, **machine.ledger())
