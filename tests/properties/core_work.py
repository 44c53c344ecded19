"""What the event core does inside, where it runs interpreted: calls and room, counted, and what must hold."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from itertools import combinations_with_replacement, pairwise, product
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from hiersim.model.program import Program

WORK: Final = Path(__file__).with_name("test_core_work.json")
"""By program: counted work, calls of each function, room of columns. `pytest --regenerate` writes it anew."""
INFINITY: Final = 2**63 - 1
ROOM: Final = ("tile_kernel", "active_kernel", "past_kernel", "piece_begin", "drain_begin", "work_start", "words",
               "t_next", "row_of_key")  # fmt: skip
COLUMNS: Final = {
    "tile_kernel": ("tile_number", "tile_type", "tile_stage", "tile_buffer", "tile_time", "tile_active", "after",
                    "before"),
    "active_kernel": ("active_loop", "active_repeat", "active_body", "active_count", "active_free", "active_number",
                      "active_left", "active_open", "active_time", "active_slot", "active_line", "active_front"),
    "past_kernel": ("past_start", "past_end"),
    "piece_begin": ("piece_end", "piece_column"),
    "drain_begin": ("drain_end", "drain_column", "drain_worked_begin", "drain_worked_end"),
    "work_start": ("work_end",),
    "t_next": ("t_length", "t_of_key", "t_computed", "t_used", "t_stages"),
}  # fmt: skip
"""Columns that grow together."""


def machine_of(engine: Any, program: Program, keep_log: bool = False) -> Any:
    """The machine that the (interpreted) engine plays a program with."""
    return (engine.stream.Stream if engine.stream.suits(program) else engine.graph.Graph)(program, keep_log, True)


def work(engine: Any, program: Program) -> dict[str, dict[str, int]]:
    """Counted work, calls by function and room of one run, with what must hold checked on the way."""
    calls: Counter[str] = Counter()
    machine = machine_of(engine, program)
    checked = (pieces_checked, jumps_checked, restores_checked, many_looks)
    with ExitStack() as stack:
        for context in checked:
            stack.enter_context(context(machine))
        stack.enter_context(counted_calls(calls))
        machine.run()
    check_end(machine, program)
    assert len(machine.log) == 0
    assert len(machine_of(engine, program, keep_log=True).log) == 7 * program.stage_counts().sum()
    room = {name: len(getattr(machine, name)) for name in ROOM if hasattr(machine, name)}
    room |= {name: getattr(machine, name).mask for name in ("transitions", "row_keys") if hasattr(machine, name)}
    return {"counted": machine.counted(), "calls": dict(sorted(calls.items())), "room": room}


@contextmanager
def counted_calls(calls: Counter[str]) -> Iterator[None]:
    """Calls of functions of the core while in this block."""

    def note(frame: Any, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_name[0] != "<" and is_core(code.co_filename):
            calls[code.co_name] += 1

    kept = sys.getprofile()
    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(kept)


@cache
def is_core(file: str) -> bool:
    """True for sources of the event core, its columns included, and for what `tests/mutation` puts into them."""
    return file == "mutant" or Path(file).parent.name == "core" or Path(file).parts[-2:] == ("hiersim", "columns.py")


@contextmanager
def many_looks(machine: Any) -> Iterator[None]:
    """While in this block, the machine looks at the keyboard every 16 steps."""
    names = type(machine).advance.__globals__
    kept = names["LOOK"]
    names["LOOK"] = 15
    try:
        yield
    finally:
        names["LOOK"] = kept


@contextmanager
def pieces_checked(machine: Any) -> Iterator[None]:
    """While in this block, what a tile was doing must be pieces that adjoin, from the begin of a gap to its end."""
    book = next(kind for kind in type(machine).__mro__ if kind.__name__ == "Book")
    kept = book.describe

    def describe(machine: Any, slot: int, last: int, begin: int, end: int, phase: int) -> int:
        result: int = kept(machine, slot, last, begin, end, phase)
        edges = [(machine.piece_begin[index], machine.piece_end[index]) for index in range(machine.pieces)]
        assert all(low < high for low, high in edges)
        assert all(one[1] == two[0] for one, two in pairwise(edges))
        assert not edges or (edges[0][0] == begin and edges[-1][1] <= end)
        return result

    book.describe = describe
    try:
        yield
    finally:
        book.describe = kept


@contextmanager
def jumps_checked(machine: Any) -> Iterator[None]:
    """While in this block, the state after a jump must be the one before, relative to now."""
    repeats = next(kind for kind in type(machine).__mro__ if kind.__name__ == "Repeats")
    kept = repeats.jump

    def state(machine: Any, active: int) -> list[int]:
        machine.describe_loop(active)
        machine.snapshots -= 1
        spans = zip(machine.work_start, machine.work_end, strict=True)
        worked = [time - machine.now for span in list(spans)[: machine.work_count] for time in span]
        return [*machine.words[: machine.word_count], *worked]

    def done(machine: Any, active: int) -> list[int]:
        return [*machine.covered, machine.computed[machine.active_kernel[active] * machine.wide]]

    def jump(machine: Any, active: int, *rest: Any) -> int:
        before, done_before, now = state(machine, active), done(machine, active), machine.now
        result: int = kept(machine, active, *rest)
        assert state(machine, active) == before
        for one, two in zip(done_before, done(machine, active), strict=True):
            assert two - one in (0, machine.now - now)
        return result

    repeats.jump = jump
    try:
        yield
    finally:
        repeats.jump = kept


def check_gaps(engine: Any) -> None:
    """How long times keep their order, by counting: gaps of a few ticks, and changes of as many in a period."""
    drift = next(kind for kind in engine.stream.Stream.__mro__ if kind.__name__ == "Drift")
    machine: Any = drift.__new__(drift)
    for gap in range(7):
        for rate in range(-8, 9):
            machine.shifts, third = [-3, rate - 3], SimpleNamespace(times=[-20, gap - 20])
            stays = _periods(gap, rate, lambda now: now > 0) if gap else _periods(gap, rate, lambda now: now == 0)
            assert machine.lasting(gap, rate) in ((stays,) if gap or not rate else (0, -1)), (gap, rate)
            before = (gap - rate > 0 and gap - 2 * rate > 0) if gap else rate == 0
            assert max(machine.apart(third, 0, 1), 0) == (stays if before else 0), (gap, rate)
            before = gap - 2 * rate >= 0
            above = _periods(gap, rate, lambda now: now >= 0)
            assert max(machine.not_above(third, 0, 1), 0) == (above if before else 0), (gap, rate)


def check_events(engine: Any) -> None:
    """For how many periods three events keep their order, by counting: all times of a few ticks in two periods."""
    drift = next(kind for kind in engine.stream.Stream.__mro__ if kind.__name__ == "Drift")
    machine: Any = drift.__new__(drift)
    machine.half, machine.event = 3, [7, 0, 9] * 2
    for one, two in product(combinations_with_replacement(range(5), 3), repeat=2):
        machine.event_time = [*one, *two]
        edges = list(zip(pairwise((0, *one)), pairwise((0, *two)), strict=True))
        gaps = [(high - low, high - low - (late - early)) for (early, late), (low, high) in edges]
        stays = [_periods(gap, rate, lambda now, gap=gap: (now > 0) == (gap > 0) and now >= 0) for gap, rate in gaps]
        wanted = 0 if any(gap == 0 and rate for gap, rate in gaps) else min(15, *stays)
        assert max(machine.same_events(15), 0) == wanted, (one, two)
    machine.event[4] = 1
    assert machine.same_events(15) == 0


def _periods(gap: int, rate: int, holds: Callable[[int], bool]) -> int:
    """For how many periods a gap that changes by `rate` in each keeps a property; INFINITY where always."""
    return next((period - 1 for period in range(1, 20) if not holds(gap + period * rate)), INFINITY)


@contextmanager
def restores_checked(machine: Any) -> Iterator[None]:
    """While in this block, a state that is restored must be the same state when it is written down again."""
    landmarks = next(kind for kind in type(machine).__mro__ if kind.__name__ == "Landmarks" or kind is object)
    kept = getattr(landmarks, "restore", None)

    def restore(machine: Any, kernel: int, known: int) -> None:
        kept(machine, kernel, known)
        begun = list(machine.begun)
        machine.begun[0] = 0  # the work of another kernel, which the state does not know
        assert machine.state(kernel) == known
        machine.begun[:] = begun
        machine.snapshots -= 1

    if kept:
        landmarks.restore = restore
    try:
        yield
    finally:
        if kept:
            landmarks.restore = kept


def check_end(machine: Any, program: Program) -> None:
    """Nothing is left anywhere, columns fit each other, and nothing is written down twice."""
    check_columns(machine, program)
    check_slots(machine)
    for place in range(machine.resources):
        low = place * machine.past
        check_past([
            (machine.past_start[index], machine.past_end[index], machine.past_kernel[index])
            for index in range(low, low + machine.past_count[place])
        ])  # fmt: skip
    spans = [(machine.work_start[index], machine.work_end[index]) for index in range(machine.work_count)]
    assert all(low < high for low, high in spans) and all(one[1] < two[0] for one, two in pairwise(spans))
    if machine.wide:
        check_drains(machine)
    else:
        assert machine.drain_from[0] == 0 and machine.drain_to[0] == machine.drains


def check_columns(machine: Any, program: Program) -> None:
    """Columns that grow together have one length; the others have that which they need."""
    for first, others in COLUMNS.items():
        if hasattr(machine, first):
            assert {len(getattr(machine, name)) for name in others} == {len(getattr(machine, first))}, first
    kernels = len(program)
    lengths = [int(program.stage_ptr[kind + 1] - program.stage_ptr[kind]) for kind in range(len(program.stage_ptr) - 1)]
    assert machine.longest == max(lengths)
    assert machine.slots == len(machine.tile_kernel)
    assert len(machine.granted) == machine.slots * machine.longest
    assert len(machine.past_kernel) == machine.past * machine.resources
    assert len(machine.book) == machine.row_size * (kernels if machine.wide else 2)
    assert len(machine.ready) == len(machine.start) == len(machine.end) == kernels
    if machine.wide:
        assert len(machine.consumers_ptr) == len(machine.needs_ptr) == kernels + 1
    assert [machine.nest[kernel] for kernel in range(kernels)] == program.nest.tolist()


def check_slots(machine: Any) -> None:
    """No tile is anywhere but the last to arrive, and all other slots are free."""
    free = []
    slot = machine.free_slot
    while slot != -1:
        free.append(slot)
        slot = machine.after[slot]
    last = [] if machine.last_slot == -1 else [machine.last_slot]
    assert sorted(free + last) == list(range(machine.slots))
    assert machine.live == len(last) and machine.actives == 0
    assert {machine.tile_stage[slot] for slot in free} == {-1}
    for name in ("serving", "queue_head", "queue_tail", "flight_head", "flight_tail"):
        assert set(getattr(machine, name)) <= {-1}, name
    assert set(machine.due) <= {INFINITY} and machine.next_start == INFINITY


def check_past(services: list[tuple[int, int, int]]) -> None:
    """Services of a port: none is empty, none begins before the last has ended, adjoining ones are of two kernels."""
    assert all(begin < end for begin, end, _ in services)
    for one, two in pairwise(services):
        assert one[1] < two[0] or (one[1] == two[0] and one[2] != two[2])


def check_drains(machine: Any) -> None:
    """The drain of a kernel is cut into intervals from its last computation to its end."""
    taken = 0
    order = sorted(range(len(machine.end)), key=lambda kernel: (machine.drain_from[kernel], machine.drain_to[kernel]))
    for kernel in order:
        low, high = machine.drain_from[kernel], machine.drain_to[kernel]
        edges = [(machine.drain_begin[index], machine.drain_end[index]) for index in range(low, high)]
        assert low == taken and all(begin < end for begin, end in edges)
        assert all(one[1] == two[0] for one, two in pairwise(edges))
        if edges:
            assert (edges[0][0], edges[-1][1]) == (machine.drain_computed[kernel], machine.end[kernel])
        taken = high
    assert taken == machine.drains
