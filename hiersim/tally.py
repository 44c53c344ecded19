"""What a program asks of its ports and units, and the longest chain through it: one pass each, compiled if possible."""

from __future__ import annotations

from dataclasses import dataclass

import cython
from numpy import asarray, ascontiguousarray, bincount, int64, zeros

from hiersim.model.operators import IntArray
from hiersim.model.program import Access, Program
from hiersim.model.timeline import Timeline

READ = cython.declare(cython.longlong, int(Access.READ))
WRITE = cython.declare(cython.longlong, int(Access.WRITE))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tally:
    """Sums over all tiles of a program; T tiers, N loop nests."""

    read: IntArray
    """(T,) bytes read at each tier's ports."""
    write: IntArray
    """(T,) bytes written."""
    least: IntArray
    """(N,) least ticks of a nest: its busiest resource, or the chain of its first tile, up to its completion."""


def tally(program: Program) -> Tally:
    """The sums of `program`."""
    nests, tiers = len(program.depth), len(program.tiers)
    moved = _filled(2 * tiers)
    least = _filled(nests)
    busy = _filled(len(program.resources))
    counts = bincount(program.nest, minlength=nests)
    tier = [resource.tier for resource in program.resources]
    _count(
        _column(counts), _column(program.loop_ptr), _column(program.loop_repeat), _column(program.body_ptr),
        _column(program.body_count), _column(program.body_tile), _column(program.stage_ptr),
        _column(program.complete_stage), _column(program.stage_resource), _column(program.stage_access),
        _column(program.stage_ticks), _column(program.stage_latency), _column(program.stage_bytes), _column(tier),
        tiers, moved, least, busy,
    )  # fmt: skip
    total = program.free_bytes + asarray(moved, int64).reshape(2, tiers)
    return Tally(read=total[0], write=total[1], least=asarray(least, int64))


def longest_chain(program: Program, least: IntArray) -> int:
    """Ticks of the longest chain through host launches and kernel dependences; `least` (N,) as in `Tally`."""
    return int(
        _longest(
            _column(program.needs_ptr), _column(program.needs), _column(program.nest), _column(least),
            _column(program.host_ticks), _column(program.launch_latency), _column(program.start_ticks),
            _filled(len(program)), len(program),
        )
    )  # fmt: skip


def first_faults(
    program: Program, ready: IntArray, launched: IntArray, start: IntArray, end: IntArray
) -> tuple[int, int]:
    """The first kernel that was ready before one that it needs had ended, and the first with a wrong start or end.

    A kernel starts `start_ticks` after it is ready and launched, or later, and does not end before; -1 where none is
    wrong.
    """
    found = _filled(2)
    _find_faults(
        _column(program.needs_ptr), _column(program.needs), _column(program.start_ticks), _column(ready),
        _column(launched), _column(start), _column(end), found,
    )  # fmt: skip
    return int(found[0]), int(found[1])


def ledger_sums(timeline: Timeline) -> list[int]:
    """Ticks of all kernels' ledgers by engine; -1 for an engine with an entry below zero, or with none for a kernel."""
    distinct, engines, columns = timeline.ledger_rows.shape
    sums = _filled(engines)
    _add_ledgers(
        _column(timeline.ledger_rows.reshape(-1)), _column(timeline.ledger_row), distinct, columns, _filled(distinct),
        sums,
    )  # fmt: skip
    return [int(ticks) for ticks in sums]


@cython.cfunc
def _column(values: object) -> object:
    """A column to read: contiguous, or a list where the interpreter reads it."""
    column = ascontiguousarray(values, int64)
    return column if cython.compiled else column.tolist()


@cython.cfunc
def _filled(length: cython.longlong) -> object:
    """A column of zeros to write."""
    return zeros(length, int64) if cython.compiled else [0] * length


@cython.cfunc
def _count(
    kernels: cython.const_longlong[::1],
    loop_ptr: cython.const_longlong[::1],
    loop_repeat: cython.const_longlong[::1],
    body_ptr: cython.const_longlong[::1],
    body_count: cython.const_longlong[::1],
    body_tile: cython.const_longlong[::1],
    stage_ptr: cython.const_longlong[::1],
    complete: cython.const_longlong[::1],
    resource: cython.const_longlong[::1],
    access: cython.const_longlong[::1],
    ticks: cython.const_longlong[::1],
    latency: cython.const_longlong[::1],
    size: cython.const_longlong[::1],
    tier: cython.const_longlong[::1],
    tiers: cython.longlong,
    moved: cython.longlong[::1],
    least: cython.longlong[::1],
    busy: cython.longlong[::1],
) -> cython.void:
    """Fill `moved` (reads, then writes, by tier) and `least`; `busy` is scratch."""
    nest: cython.longlong
    loop: cython.longlong
    body: cython.longlong
    tile: cython.longlong
    stage: cython.longlong
    times: cython.longlong
    chain: cython.longlong
    longest: cython.longlong
    first: cython.bint
    for nest in range(len(kernels)):
        for stage in range(len(busy)):
            busy[stage] = 0
        longest, first = 0, True
        for loop in range(loop_ptr[nest], loop_ptr[nest + 1]):
            for body in range(body_ptr[loop], body_ptr[loop + 1]):
                tile, times, chain = body_tile[body], loop_repeat[loop] * body_count[body], 0
                for stage in range(stage_ptr[tile], stage_ptr[tile + 1]):
                    if stage - stage_ptr[tile] <= complete[tile]:
                        chain += ticks[stage] + latency[stage]
                        busy[resource[stage]] += times * ticks[stage]
                    if tier[resource[stage]] < 0:
                        continue
                    if access[stage] == READ:
                        moved[tier[resource[stage]]] += kernels[nest] * times * size[stage]
                    elif access[stage] == WRITE:
                        moved[tiers + tier[resource[stage]]] += kernels[nest] * times * size[stage]
                if first:
                    longest, first = chain, False
        for stage in range(len(busy)):
            longest = max(longest, busy[stage])
        least[nest] = longest


@cython.cfunc
def _longest(
    needs_ptr: cython.const_longlong[::1],
    needs: cython.const_longlong[::1],
    nest: cython.const_longlong[::1],
    least: cython.const_longlong[::1],
    host: cython.const_longlong[::1],
    launch: cython.const_longlong[::1],
    start: cython.const_longlong[::1],
    finish: cython.longlong[::1],
    kernels: cython.longlong,
) -> cython.longlong:
    kernel: cython.longlong
    index: cython.longlong
    ready: cython.longlong
    called: cython.longlong = 0
    longest: cython.longlong = 0
    for kernel in range(kernels):
        called += host[kernel]
        ready = called + launch[kernel]
        for index in range(needs_ptr[kernel], needs_ptr[kernel + 1]):
            ready = max(ready, finish[needs[index]])
        finish[kernel] = ready + start[kernel] + least[nest[kernel]]
        longest = max(longest, finish[kernel])
    return longest


@cython.cfunc
def _find_faults(
    needs_ptr: cython.const_longlong[::1],
    needs: cython.const_longlong[::1],
    delay: cython.const_longlong[::1],
    ready: cython.const_longlong[::1],
    launched: cython.const_longlong[::1],
    start: cython.const_longlong[::1],
    end: cython.const_longlong[::1],
    found: cython.longlong[::1],
) -> cython.void:
    """The two kernels of `first_faults`."""
    kernel: cython.longlong
    index: cython.longlong
    found[0] = found[1] = -1
    for kernel in range(len(start)):
        for index in range(needs_ptr[kernel], needs_ptr[kernel + 1]):
            if found[0] < 0 and end[needs[index]] > ready[kernel]:
                found[0] = kernel
        if found[1] < 0 and (
            start[kernel] < max(ready[kernel], launched[kernel]) + delay[kernel] or end[kernel] < start[kernel]
        ):
            found[1] = kernel


@cython.cfunc
def _add_ledgers(
    rows: cython.const_longlong[::1],
    row: cython.const_longlong[::1],
    distinct: cython.longlong,
    columns: cython.longlong,
    counts: cython.longlong[::1],
    sums: cython.longlong[::1],
) -> cython.void:
    """Fill `sums`; `counts` is scratch."""
    kernel: cython.longlong
    ledger: cython.longlong
    engine: cython.longlong
    place: cython.longlong
    first: cython.longlong
    ticks: cython.longlong
    signs: cython.longlong
    for kernel in range(len(row)):
        if row[kernel] < 0 or row[kernel] >= distinct:
            for engine in range(len(sums)):
                sums[engine] = -1
            return
        counts[row[kernel]] += 1
    for engine in range(len(sums)):
        for ledger in range(distinct):
            ticks = signs = 0
            first = (ledger * len(sums) + engine) * columns
            for place in range(first, first + columns):
                ticks += rows[place]
                signs |= rows[place]
            if signs < 0:  # as one of them is
                sums[engine] = -1
                break
            sums[engine] += counts[ledger] * ticks
