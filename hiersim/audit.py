"""The conservation laws of a (Program, Timeline): checked after every run, a violation is an error.

Each law raises `SimulationError` with the place and the two numbers that disagree.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hiersim.bounds import Bounds
from hiersim.errors import SimulationError
from hiersim.model.operators import IntArray
from hiersim.model.program import Access, Program
from hiersim.model.timeline import ENGINES, StageLog, Timeline
from hiersim.tally import Tally, first_faults, ledger_sums, tally


def audit(program: Program, timeline: Timeline, bounds: Bounds, sums: Tally | None = None) -> None:
    """Raise `SimulationError` when any law is broken; `sums` is the program's tally, when that is at hand.

    Laws: the ledger is complete and never negative; kernels start after what they need; bounds hold; and, when
    the stage log was kept, every stage ran once, in order, on a resource that served nobody else, with a buffer.
    """
    check_ledger(timeline)
    check_kernels(program, timeline)
    check_bounds(timeline, bounds)
    check_traffic(program, bounds, sums)
    if timeline.log is not None:
        check_log(program, timeline, timeline.log)


def _broken(law: str, detail: str) -> SimulationError:
    return SimulationError(f"law of {law} broken: {detail}; please report this")


def check_ledger(timeline: Timeline) -> None:
    """Entries are not negative and add up to the makespan, for every engine."""
    for engine, total in zip(ENGINES, ledger_sums(timeline), strict=True):
        if total < 0:
            raise _broken("the ledger", f"{engine} has an entry that is negative, or none for a kernel")
        if total != timeline.makespan:
            raise _broken("the ledger", f"{engine} adds up to {total}, the makespan is {timeline.makespan}")


def check_kernels(program: Program, timeline: Timeline) -> None:
    """Causality between kernels."""
    early, wrong = first_faults(program, timeline.ready, timeline.launched, timeline.start, timeline.end)
    if early >= 0:
        raise _broken("causality", f"kernel {early} was ready before the kernels it needs had ended")
    if wrong >= 0:
        raise _broken("causality", f"kernel {wrong} started before it was launched, or ended before it started")


def check_bounds(timeline: Timeline, bounds: Bounds) -> None:
    """No run is faster than its closed-form bounds."""
    for name, least in (
        ("compute", bounds.compute_ticks),
        ("critical path", bounds.critical_path_ticks),
        *((f"link {tier}", ticks) for tier, ticks in bounds.link_ticks.items()),
    ):
        if timeline.makespan < least:
            raise _broken("bounds", f"the makespan {timeline.makespan} is below the {name} bound {least}")


def check_traffic(program: Program, bounds: Bounds, sums: Tally | None = None) -> None:
    """What must cross the home tier's port does."""
    sums = sums or tally(program)
    home = program.home_tier
    crossed = sum(int(sums.read[index] + sums.write[index]) for index in (home, *program.pool_tiers))
    if crossed < bounds.compulsory_bytes:
        raise _broken(
            "bounds", f"'{program.tiers[home]}' moved {crossed} bytes of {bounds.compulsory_bytes} compulsory ones"
        )


def check_log(program: Program, timeline: Timeline, log: StageLog) -> None:
    """Laws of single stages."""
    if len(log.stage) != int(program.stage_counts().sum()):
        raise _broken("conservation", f"{len(log.stage)} stages ran of {int(program.stage_counts().sum())}")
    _check_services(program, log)
    _check_chains(program, timeline, log)
    _check_buffers(program, log)


def _check_services(program: Program, log: StageLog) -> None:
    if bool(np.any(log.end - log.grant != program.stage_ticks[log.stage])) or bool(np.any(log.grant < log.request)):
        raise _broken("causality", "a service has the wrong length or began before its request")
    resource = program.stage_resource[log.stage]
    for index, item in enumerate(program.resources):
        rows = np.flatnonzero(resource == index)
        rows = rows[np.argsort(log.grant[rows], kind="stable")]
        if bool(np.any(log.grant[rows][1:] < log.end[rows][:-1])):
            raise _broken("exclusive service", f"'{item.name}' served two stages at once")
        _check_work_conservation(item.name, log.request[rows], log.grant[rows], log.end[rows])


def _check_work_conservation(name: str, request: IntArray, grant: IntArray, end: IntArray) -> None:
    """A resource is never idle while a request waits: a service starts at its request or when the one before ends."""
    before = np.concatenate([[0], end[:-1]]) if len(end) else end
    if bool(np.any(grant != np.maximum(request, before))):
        raise _broken("work conservation", f"'{name}' stood idle while a request waited")


def _check_chains(program: Program, timeline: Timeline, log: StageLog) -> None:
    """Within a tile each stage begins when the one before has arrived; the first with its buffer."""
    arrive = log.end + program.stage_latency[log.stage]
    same = (log.kernel[1:] == log.kernel[:-1]) & (log.tile[1:] == log.tile[:-1])
    if bool(np.any(log.request[1:][same] != arrive[:-1][same])):
        raise _broken("causality", "a stage began before the one before it had arrived")
    if len(arrive) and int(arrive.max()) > timeline.makespan:
        raise _broken("causality", "the makespan ends before the last arrival")
    if bool(np.any(log.buffer < timeline.start[log.kernel])) or bool(np.any(log.request < log.buffer)):
        raise _broken("causality", "a tile moved data before it had a buffer")


def _check_buffers(program: Program, log: StageLog) -> None:
    """Never more tiles hold a buffer than the kernel has."""
    tile_of_stage = np.repeat(np.arange(len(program.stage_ptr) - 1), np.diff(program.stage_ptr))
    position = log.stage - program.stage_ptr[tile_of_stage[log.stage]]
    releasing = position == program.release_stage[tile_of_stage[log.stage]]
    for kernel, depth in enumerate(program.depth[program.nest].tolist()):
        rows = releasing & (log.kernel == kernel)
        if int(rows.sum()) <= depth:
            continue
        granted, released = np.sort(log.buffer[rows]), np.sort(log.end[rows])
        if bool(np.any(granted[depth:] < released[:-depth])):
            raise _broken("capacity", f"kernel {kernel} held more than {depth} buffers at once")


def moved_bytes(program: Program, log: StageLog, access: Access) -> Sequence[int]:
    """Bytes per tier that the logged stages moved: must equal `Program.traffic`."""
    tier = np.array([resource.tier for resource in program.resources])[program.stage_resource[log.stage]]
    chosen = (program.stage_access[log.stage] == access) & (tier >= 0)
    total = np.zeros(len(program.tiers), np.int64)
    np.add.at(total, tier[chosen], program.stage_bytes[log.stage][chosen])
    return [int(value) for value in total]
