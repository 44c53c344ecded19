"""Why mutants survive: rules by function and change, so that they outlast edits elsewhere in the file."""

from __future__ import annotations

import re
from typing import Final

EQUAL: Final = "equal"
"""No program can tell the mutant from the original."""
SPEED: Final = "speed"
"""Results stay the same; only time or memory changes, by less than a gate on counted work notices."""
RULES: Final[tuple[tuple[str, str, str, str], ...]] = (
    ("module", "LOOK = ", SPEED, "how often the keyboard is looked at"),
    ("module", "(ROOM|SHORT) = ", SPEED, "how much room there is, or where"),
    ("make_room", r"live \+ 3|5 \+ 4|3 \* kept|>= len", SPEED, "more room than is needed"),
    ("module", "MOST_|FIRST_SAVE|LONGEST_GLANCE|LEAST_", SPEED, "a threshold of fast-forward"),
    ("glance", "", SPEED, "when states are compared; that they are equal is always checked"),
    ("take_tile", "tile_active", EQUAL, "in a stream one kernel is active at a time, at the first place"),
    ("stage_log", "lexsort", EQUAL, "the stages of a tile are requested in their order"),
    ("dispatch", "self.ended <", EQUAL, "a kernel that has not been launched has not ended: the search ends there"),
    ("module", "(RUN|LOOP) = ", EQUAL, "a mark of one of two levels"),
    ("add", "tier: int", EQUAL, "entries that blame no tier do not look at it"),
    ("add", "ticks >= 0", EQUAL, "nothing is added"),
    ("^Stream.run$", r"self.state\(", EQUAL, "where nothing has happened there is no kernel to relate to"),
    ("^Saved.__init__$", "due", SPEED, "set before it is read, but for when a state is first saved"),
    ("empty_|__init__", "producer|drains|worked|valid|computed", EQUAL, "set before it is read for the first time"),
    ("retire|enqueue", "tile_number", EQUAL, "two tiles of one kernel never have the same number"),
    ("work", "work_count > ", EQUAL, "adjoining intervals of work stay two; sums are the same"),
    ("gap", r"begin <=? ", EQUAL, "at equality the interval is empty"),
    ("paced", r"index >=? ", EQUAL, "the entry before a port's first is another's unused last one"),
    ("remember", "past_count", EQUAL, "the entry before a port's first is another's unused last one"),
    ("worked_until", r">= time", EQUAL, "at equality the interval adds nothing"),
    ("_index_work", "last_work", EQUAL, "times are not negative"),
    ("describe_loop", "begun", EQUAL, "a first computation also moves what is covered, which is compared"),
    ("trailing", r"max\(makespan - max", EQUAL, "the last arrival is the makespan, or the rest is positive"),
    (
        "open_books",
        "drain_worked_begin",
        EQUAL,
        "only their difference counts, from 0 on: in a stream no unit works between a kernel and its successor",
    ),
    ("state|write_down", r"kernel > |write_down\(kernel", EQUAL, "words shift by a constant, in all states alike"),
    ("follow", "due", SPEED, "when states are saved; that they are equal is always checked"),
    ("^Boundaries.shape$", "shape_count", SPEED, "words lie further apart, at all boundaries alike"),
    ("periods|not_above", "return 0` → `return -?1", EQUAL, "no leap is as short as that"),
    (
        "in_one_piece",
        "past_count",
        EQUAL,
        "where two states with a line are equal, its port has served no other kernel between them and has not rested",
    ),
    ("start_next|schedule", "pending_kernel", EQUAL, "kernels that start at one tick may do so in any order"),
    ("take_tile", "more_slots", EQUAL, "what was written down was in slots, of which there are never fewer"),
    ("describe", "return 0|break", EQUAL, "what begins at its end or later has no pieces"),
    ("^State.load$", r"sizes\[", EQUAL, "columns of stages are of one length"),
    ("run_dry", "else -1", EQUAL, "a range without numbers as well"),
    ("open_books", r"\[ ?-1\]", EQUAL, "of one number the first is the last"),
    ("entries", r"index \+ 8", SPEED, "the last eight are looked at one by one"),
    ("same", "word_count", SPEED, "no state is the beginning of another: the words tell them apart as well"),
    (
        "same",
        r"return 0",
        "open",
        "none of our programs tells them apart: a last computation moves as what is covered does, which is compared "
        "too, or a service is under way that sets it anew",
    ),
    ("row_id", r"(known|key) >", SPEED, "the first of all is made twice"),
    ("add", "count", SPEED, "when the table grows: time only"),
    ("_account|work", r"end [-+] offset", EQUAL, "a service is booked to its end, where the parts add up to its ticks"),
    ("_index_", "finish|< 0", EQUAL, "of rows that complete at one tick the first is kept"),
    ("kernel", r"buffers.request\(", EQUAL, "no two requests for a buffer differ in their stage alone"),
    ("^Arbiter.request$", "ticks: int", EQUAL, "only fair ports look at ticks, and they are told them"),
    ("module", "cython.compiled", "open", "decided when the module is loaded, which is not done again for a mutant"),
    ("walk$|describe_loop", r"active_(free|open)", EQUAL, "follows from the tiles in flight, which are compared"),
    ("^Graph.ledger$", "reshape", EQUAL, "NumPy takes any negative number for the side that is not known"),
    ("find_due", "<= self.next_due", EQUAL, "completions of one tick take effect in any order"),
    ("empty_resources", "next_place", EQUAL, "set before it is read for the first time"),
    ("empty_past", "pieces", EQUAL, "set before it is read for the first time"),
    ("^Landmarks.state$", "> MOST_STATES", SPEED, "one state more is kept"),
    ("restore_resource", "widen", EQUAL, "what was written down was in columns, which are never narrower"),
    ("until_done", "actives >= 0", EQUAL, "where no kernel is active none has tiles left"),
    ("forget_past", "most: ", SPEED, "room may grow a little earlier"),
    ("^Transitions.__init__$", "cell_count", EQUAL, "entries begin one number later"),
    ("write_cells", ">= len", SPEED, "room grows a little earlier"),
    ("split_by_work", "index <= len", EQUAL, "a unit works behind every gap that is cut"),
    ("module", "MAX_STAGES", SPEED, "a limit for the patience of users"),
    ("walk_tile", r"slot \+ 1", "open", "in our programs tiles in neighbouring slots have stages that take as long"),
    ("since", r"slot \+ 1", "open", "in our programs tiles in neighbouring slots are of one kernel"),
    ("note_boundary", "waits", "open", "nothing else is written there in our programs"),
    ("make_room_for_times", "resources", "open", "none of our programs fills the room"),
    (
        "same_shape",
        "",
        "open",
        "where shapes differ in our programs, events between them do, which are compared too",
    ),
    ("^Drift.leap$", "", "open", "in our programs a service follows that sets it anew"),
    ("start_next", r"below \+ 2", "open", "none of our programs has so many kernels pending out of order"),
    ("^Repeats.shift$", "past_start", "open", "none of our programs asks for a start that is before its own waiting"),
    ("write_cells", "3", "open", "none of our programs fills a row to three quarters"),
)
"""Function, change (regular expressions, searched), kind, reason; the first that matches counts."""


def reason(function: str, change: str) -> tuple[str, str]:
    """Kind and words; ("open", "") where nothing is known."""
    for place, pattern, kind, words in RULES:
        if re.search(place, function) and re.search(pattern, change):
            return kind, words
    return "open", ""
