"""Fast-forward of tile loops: states are written down, compared a period later, and the rest is skipped."""

from __future__ import annotations

from typing import Any

import cython

from hiersim.engines.core.words import Words

if cython.compiled:
    from cython.cimports.hiersim.columns import column
    from cython.cimports.hiersim.engines.core.constants import INFINITY, N_ENGINES, NONE
else:
    from hiersim.columns import column
    from hiersim.engines.core.constants import INFINITY, N_ENGINES, NONE

FIRST_SAVE = cython.declare(cython.longlong, 32)
LONGEST_GLANCE = cython.declare(cython.longlong, 8)
LEAST_HISTORY = cython.declare(cython.longlong, 2)
GLANCES = cython.declare(cython.longlong, 16)
LEAST_DRIFT = cython.declare(cython.longlong, 16)
"""Periods that are left when a state that drifts is followed."""
LEAST_RUN = cython.declare(cython.longlong, 24)
LEAST_LOOP = cython.declare(cython.longlong, 4)
RUN = cython.declare(cython.longlong, 0)
LOOP = cython.declare(cython.longlong, 1)


@cython.final
@cython.cclass
class Saved:
    """A state of a tile loop, and all counters at that moment."""

    def __init__(self, resources: int, row_size: int) -> None:
        self.valid = self.glance = self.step = self.due = self.now = self.number = self.size = self.period = 0
        self.worked = self.computed = self.worked_computed = self.stages = self.first = 0
        self.missed = False
        self.glances = column(16, NONE)
        self.words = column(256)
        self.covered, self.worked_cover = column(N_ENGINES), column(N_ENGINES)
        self.busy, self.book = column(resources), column(row_size)


@cython.cclass
class Repeats(Words):
    """States as words, relative to now: what was there before is skipped as often as it comes again."""

    def __init__(self, program: Any, wide: bool, keep_log: bool, fast: bool) -> None:
        Words.__init__(self, program, wide, keep_log, fast)
        self.saved_run = Saved(self.resources, self.row_size)
        self.saved_loop = Saved(self.resources, self.row_size)

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def checkpoint(self, active: cython.longlong) -> cython.longlong:
        """Just before a tile is issued: has the machine been in this state before, some tiles ago?"""
        loop: cython.longlong = self.active_loop[active]
        body: cython.longlong = self.active_body[active]
        count: cython.longlong = self.body_count[body]
        if self.active_count[active] == count:
            self.saved_run.valid = 0
            self.forget_drift()
            if body == self.body_ptr[loop] and self.loop_repeat[loop] >= LEAST_LOOP:
                self.look(active, LOOP, self.saved_loop, self.loop_repeat[loop] - self.active_repeat[active])
        if count >= LEAST_RUN:
            self.look(active, RUN, self.saved_run, count - self.active_count[active])
        return 0

    @cython.final
    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def is_looked_at(self, active: cython.longlong) -> cython.bint:
        """Whether `checkpoint` may do anything before the next tile is issued."""
        loop: cython.longlong = self.active_loop[active]
        body: cython.longlong = self.active_body[active]
        count: cython.longlong = self.body_count[body]
        if not self.fast or self.active_left[active] == 0:
            return False
        if self.active_count[active] == count and self.wide == 1:
            return True  # another kernel may have been looked at
        if self.active_count[active] < count:
            return count >= LEAST_RUN and self.saved_run.valid != 2 and self.active_count[active] > 1
        if body == self.body_ptr[loop] and self.loop_repeat[loop] >= LEAST_LOOP and self.active_repeat[active] > 1:
            return count >= LEAST_RUN or self.saved_loop.valid != 2
        return count >= LEAST_RUN

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def look(
        self, active: cython.longlong, level: cython.longlong, saved: Saved, step: cython.longlong
    ) -> cython.longlong:
        """Save the state when it seems to repeat, compare one period later, and skip what is left of the loop.

        What seems to repeat is told by `glance`; states are saved at steps 32, 64, 128, … in any case, and compared
        whenever a glance agrees (Brent, BIT 20, 1980), so that long periods are found as well.
        """
        left: cython.longlong
        glance: cython.longlong
        if saved.valid == 2 or (self.wide == 1 and (self.actives > 1 or self.next_start < INFINITY)):
            return 0
        left = (self.active_count[active] if level == RUN else self.active_repeat[active]) - 1
        if left < 1:
            return 0
        saved.glances[step & 15] = glance = self.glance(active)
        if step == 0:
            saved.due, saved.first, saved.missed = FIRST_SAVE, 0, False
        due: cython.bint = saved.period == 0 or step == saved.step + saved.period
        if saved.valid == 1 and due and glance == saved.glance:
            self.put_back()
            if self.same(active, saved):
                if left >= step - saved.step:
                    self.jump(active, level, saved, left // (step - saved.step), step - saved.step)
                saved.valid = 2
                self.forget_drift()
                return 0
            saved.missed = True
        if saved.valid == 1 and saved.period > 0 and step >= saved.step + saved.period:
            saved.valid = 0
        if saved.valid == 0 or step == saved.due:
            self.save_if_due(active, saved, step, glance)
        return self.follow(active, saved, step, left) if level == RUN and self.active_line[active] == NONE else 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def follow(
        self, active: cython.longlong, saved: Saved, step: cython.longlong, left: cython.longlong
    ) -> cython.longlong:
        """Follow a state that drifts (`drift.py`); after a leap what was saved before it is of no use."""
        period: cython.longlong
        skipped: cython.longlong
        if self.drift_phase > 0:
            if step < self.drift_step + self.drift_period:
                return 0
            skipped = self.next_boundary(active, step, left // self.drift_period)
            if skipped > 0:
                saved.valid = saved.period = 0
                saved.first = step + skipped * self.drift_period + 1
                saved.due = saved.first + FIRST_SAVE
        elif step >= self.drift_wait and len(self.found) == 0:
            period = self.drifting(saved, step)
            if period > 0 and left // period >= LEAST_DRIFT:
                self.put_back()
                self.begin_drift(active, step, period)
        return 0

    @cython.final
    @cython.cfunc
    @cython.inline
    @cython.exceptval(check=False)
    def history(self) -> cython.longlong:
        """How many glances must agree: every tile that is there remembers when it was granted what, before them."""
        return max(LEAST_HISTORY, min(self.live - 1, LONGEST_GLANCE))

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def drifting(self, saved: Saved, step: cython.longlong) -> cython.longlong:
        """The period after which glances change as they did before, for as long as `history`; 0 where there is none."""
        period: cython.longlong
        place: cython.longlong
        agree: cython.longlong
        for period in range(1, LONGEST_GLANCE):
            agree = min(self.history(), GLANCES - 2 * period)
            if step + 1 - agree - 2 * period < saved.first:
                return 0
            for place in range(step + 1 - agree, step + 1):
                if (
                    saved.glances[place & 15] - saved.glances[(place - period) & 15]
                    != saved.glances[(place - period) & 15] - saved.glances[(place - 2 * period) & 15]
                ):
                    break
            else:
                if saved.missed or saved.glances[step & 15] != saved.glances[(step - period) & 15]:
                    return period
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def save_if_due(
        self, active: cython.longlong, saved: Saved, step: cython.longlong, glance: cython.longlong
    ) -> cython.longlong:
        """Save the state when its glances have repeated for as long as `history`, or when it is time to."""
        period: cython.longlong
        agree: cython.longlong = LEAST_HISTORY if saved is self.saved_loop else self.history()
        place: cython.longlong
        saved.period = 0
        if step == saved.due:
            saved.due = 2 * step
        else:
            for period in range(1, min(LONGEST_GLANCE, step + 1 - agree - saved.first) + 1):
                for place in range(step + 1 - agree, step + 1):
                    if saved.glances[place & 15] != saved.glances[(place - period) & 15]:
                        break
                else:
                    saved.period = period
                    break
            if saved.period == 0:
                return 0
        if self.few_tiles():
            self.put_back()
            self.describe_loop(active)
            self.save(active, saved)
            saved.step, saved.glance = step, glance
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def glance(self, active: cython.longlong) -> cython.longlong:
        """One number that equal states share; most unequal ones do not. Tiles that are ahead are not seen."""
        place: cython.longlong
        slot: cython.longlong
        total: cython.longlong = self.active_free[active] + 8 * self.live
        for place in range(self.resources):
            total += total
            if self.service_end[place] > self.now:
                total += self.service_end[place] - self.now
            slot = self.queue_tail[place]
            while slot != NONE and self.tile_time[slot] > self.now:
                slot = self.before[slot]
            if slot != NONE:
                total += self.now - self.tile_time[slot] + 1
        return total

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def describe_loop(self, active: cython.longlong) -> cython.longlong:
        """The state of a kernel's loop as words: the resources, the last work, buffers and phases."""
        kernel: cython.longlong = self.active_kernel[active]
        limit: cython.longlong = self.horizon()
        index: cython.longlong
        self.write_down(kernel, self.active_number[active], limit)
        for index in range(self.work_count):
            if self.work_end[index] > limit:
                self.put(max(self.work_start[index], limit) - self.now)
                self.put(self.work_end[index] - self.now)
        self.put(INFINITY)
        self.put(self.active_free[active])
        self.put(self.active_open[active])
        for index in range(N_ENGINES):
            self.put(self.begun[kernel * self.wide * N_ENGINES + index])
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def same(self, active: cython.longlong, saved: Saved) -> cython.longlong:
        """1 when the words equal the saved ones, and what each engine has covered moved along or stood still.

        Where it moved, the other units must also have worked as long since then: that is what the gap will be called.
        """
        index: cython.longlong
        moved: cython.longlong = self.now - saved.now
        worked: cython.longlong = self.worked - saved.worked
        place: cython.longlong = self.active_kernel[active] * self.wide
        if not self.few_tiles():
            return 0
        self.describe_loop(active)
        if self.word_count != saved.size:
            return 0
        for index in range(self.word_count):
            if self.words[index] != saved.words[index]:
                return 0
        if self.active_line[active] != NONE and not self.in_one_piece(self.active_line[active], saved.now):
            return 0
        for index in range(N_ENGINES):
            if self.covered[index] == saved.covered[index]:
                continue
            if self.covered[index] - saved.covered[index] != moved:
                return 0
            if self.worked_cover[index] - saved.worked_cover[index] != worked:
                return 0
        if self.computed[place] == saved.computed:
            return 1
        if self.computed[place] - saved.computed != moved:
            return 0
        return 1 if self.wide == 0 or self.worked_computed[place] - saved.worked_computed == worked else 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def in_one_piece(self, place: cython.longlong, time: cython.longlong) -> cython.bint:
        """Whether a port has served one kernel since before `time`."""
        return self.past_count[place] > 0 and self.past_start[place * self.past + self.past_count[place] - 1] <= time

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def save(self, active: cython.longlong, saved: Saved) -> cython.longlong:
        """Keep the words and every counter."""
        index: cython.longlong
        row: cython.longlong = self.row(self.active_kernel[active])
        if len(saved.words) < self.word_count:
            saved.words = column(len(self.words))
        for index in range(self.word_count):
            saved.words[index] = self.words[index]
        saved.valid, saved.size, saved.now = 1, self.word_count, self.now
        saved.number, saved.worked = self.active_number[active], self.worked
        saved.stages = self.stages + self.skipped
        saved.computed = self.computed[self.active_kernel[active] * self.wide]
        saved.worked_computed = self.worked_computed[self.active_kernel[active] * self.wide]
        for index in range(N_ENGINES):
            saved.covered[index], saved.worked_cover[index] = self.covered[index], self.worked_cover[index]
        for index in range(self.resources):
            saved.busy[index] = self.busy[index]
        for index in range(self.row_size):
            saved.book[index] = self.book[row + index]
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def jump(
        self, active: cython.longlong, level: cython.longlong, saved: Saved, times: cython.longlong,
        period: cython.longlong,
    ) -> cython.longlong:  # fmt: skip
        """Skip `times` periods: counters grow by what they grew in the last one, and all that is there moves along."""
        place: cython.longlong = self.active_kernel[active] * self.wide
        row: cython.longlong = self.row(self.active_kernel[active])
        moved: cython.longlong = self.now - saved.now
        worked: cython.longlong = (self.worked - saved.worked) * times
        tiles: cython.longlong = (self.active_number[active] - saved.number) * times
        index: cython.longlong
        for index in range(self.row_size):
            self.book[row + index] += (self.book[row + index] - saved.book[index]) * times
        for index in range(self.resources):
            self.busy[index] += (self.busy[index] - saved.busy[index]) * times
        for index in range(N_ENGINES):
            if self.covered[index] != saved.covered[index]:
                self.covered[index] += moved * times
                self.worked_cover[index] += worked
        if self.computed[place] != saved.computed:
            self.computed[place] += moved * times
            self.worked_computed[place] += worked
        self.worked += worked
        self.skipped += (self.stages + self.skipped - saved.stages) * times
        self.jumps += 1
        if level == RUN:
            self.active_count[active] -= times * period
        else:
            self.active_repeat[active] -= times * period
        self.active_number[active] += tiles
        self.active_left[active] -= tiles
        self.shift(moved * times, tiles)
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def shift(self, moved: cython.longlong, tiles: cython.longlong) -> cython.longlong:
        """Everything that is there, later by `moved` ticks and by `tiles` tile numbers."""
        place: cython.longlong
        slot: cython.longlong
        index: cython.longlong
        self.now += moved
        if self.next_due != INFINITY:
            self.next_due += moved
        if self.last_slot != NONE:
            self.last_time += moved
            self.shift_tile(self.last_slot, moved, tiles)
        for index in range(self.work_count):
            self.work_start[index] += moved
            self.work_end[index] += moved
        for place in range(self.resources):
            slot = self.serving[place]
            self.service_end[place] += moved
            if self.due[place] != INFINITY:
                self.due[place] += moved
            if slot != NONE:
                self.shift_tile(slot, moved, tiles)
            slot = self.queue_head[place]
            while slot != NONE:
                self.shift_tile(slot, moved, tiles)
                slot = self.after[slot]
            slot = self.flight_head[place]
            while slot != NONE:
                self.shift_tile(slot, moved, tiles)
                slot = self.after[slot]
            for index in range(place * self.past, place * self.past + self.past_count[place]):
                if place != self.active_line[0]:
                    self.past_start[index] += moved
                    self.past_end[index] += moved
            if place == self.active_line[0]:  # asked about since the start of the kernel; its last service goes on
                self.past_end[place * self.past + self.past_count[place] - 1] += moved
        return 0

    @cython.final
    @cython.cfunc
    @cython.exceptval(check=False)
    def shift_tile(self, slot: cython.longlong, moved: cython.longlong, tiles: cython.longlong) -> cython.longlong:
        """One tile, later."""
        index: cython.longlong
        self.tile_number[slot] += tiles
        if not self.in_line(slot):
            self.tile_buffer[slot] += moved
            self.tile_time[slot] += moved
        elif self.tile_time[slot] != self.tile_buffer[slot]:
            self.tile_time[slot] += moved
        for index in range(slot * self.longest, (slot + 1) * self.longest):
            self.granted[index] += moved
        return 0
