"""Why mutants survive: rules by function and change, so that they outlast edits elsewhere in the file."""

from __future__ import annotations

import re
from typing import Final

EQUAL: Final = "equal"
"""No program can tell the mutant from the original."""
SPEED: Final = "speed"
"""Results stay the same; only time or memory changes, by less than a gate on counted work notices."""
RULES: Final[tuple[tuple[str, str, str, str], ...]] = (
    ("module", "ALL_BITS", EQUAL, "the hash of a key only spreads; keys are compared in full"),
    ("module", "FNV_PRIME", EQUAL, "the hash of a key only spreads; keys are compared in full"),
    ("module", "INFINITY", EQUAL, "a mark that no time reaches (interpreted numbers do not overflow)"),
    ("module", "NONE = ", EQUAL, "any negative number is none; a state that was too large is asked for once more"),
    ("module", "MOST_|FIRST_SAVE|LONGEST_GLANCE|LEAST_", SPEED, "a threshold of fast-forward"),
    ("advance", "0xFFFFF|1048576", EQUAL, "how often the keyboard is looked at"),
    ("more_|longer|widen|grow", "", SPEED, "how much room is added: memory only"),
    ("", r"longer\(|more_actives\(|more_slots\(", SPEED, "how much room is added: memory only"),
    ("forget", r"2 \* ", SPEED, "how much room is added: memory only"),
    ("", r"free_slot < 0", SPEED, "room is added one slot early"),
    ("restore", r"free_slot", SPEED, "slots that are not given back: memory only"),
    ("__init__", r"LOG_WIDTH", EQUAL, "the length of a log that is not kept"),
    ("transitions|Stream.__init__|empty_transitions", "t_count", SPEED, "the first record stays empty: memory only"),
    ("empty_|__init__", "producer|drains|worked|slots", EQUAL, "set before it is read for the first time"),
    ("load", "unit_engine", EQUAL, "the entry of a port, which is never read"),
    (
        "load",
        "stage_ptr",
        EQUAL,
        "where interpreted, index -1 is the last entry: the longest chain is only estimated higher",
    ),
    (
        "completions",
        "serving",
        EQUAL,
        "the end of a service that is over lies in the past; at tick 0 nothing has been served",
    ),
    ("served", "self.actives", EQUAL, "the place behind the last active kernel gets a buffer that nobody takes"),
    ("retire", "tile_number", EQUAL, "two tiles of one kernel never have the same number"),
    ("retire", "slot >= ", EQUAL, "slot -1 is none; where interpreted it writes to an unused last entry"),
    ("work", "<= self.work_end", EQUAL, "adjoining intervals of work stay two; sums are the same"),
    ("work", "work_count > ", EQUAL, "adjoining intervals of work stay two; sums are the same"),
    (
        "work",
        "engine >",
        EQUAL,
        "a unit that is no engine of its own accounts for `cores` twice: the second time covers nothing",
    ),
    ("gap|dependency", r"(begin|low) <=? |> begin", EQUAL, "at equality the interval is empty"),
    ("paced", "return 0", EQUAL, "an empty interval makes no pieces"),
    ("paced", r"index >=? ", EQUAL, "the entry before a port's first is another's unused last one"),
    ("remember", "past_count", EQUAL, "adjoining services stay two; sums are the same"),
    ("count_tiles", "stage_ptr", EQUAL, "where interpreted, index -1 is the last entry: only room is estimated higher"),
    ("Index.place", "mixed", EQUAL, "the hash of a key only spreads; keys are compared in full"),
    ("counted", "", SPEED, "a count that is only shown"),
    ("_Book.dependency", "last_row", EQUAL, "a producer without tiles ends where it starts: nothing is left to name"),
    ("describe_loop", r"put\(INFINITY", EQUAL, "a mark between two lists whose lengths follow from the other words"),
    ("dispatch", "launched = ", EQUAL, "a launch lets nothing happen at its tick but starts, which are looked at next"),
    ("Stream.run|Stream.play", "here >", EQUAL, "a state is a number, or -2 when it was too large, and never -1 here"),
    ("_index_work", "last_work", EQUAL, "times are not negative"),
    (
        "horizon",
        r"time = self.tile_buffer\[self.last_slot\]` → `pass",
        "open",
        "would show where the run ends with a gap that queued long ago; none of our programs has one",
    ),
    ("^Stream.state$", "kernel > ", SPEED, "the state after the first kernel is found again one kernel later"),
    ("restore_resource", r"past_count\[place\] = 0", EQUAL, "an entry of long ago, which no gap reaches any more"),
    (
        "horizon",
        "",
        SPEED,
        "a tile in flight or in service is as old as those that queue: what is asked for is kept anyway",
    ),
    (
        "few_tiles",
        "",
        SPEED,
        "a limit of what is written down; states with others' tiles differ in their numbers anyway",
    ),
    (
        "look|save_if_due|glance|checkpoint",
        "",
        SPEED,
        "when states are compared; that they are equal is always checked",
    ),
    (
        "describe_loop",
        r"active_kernel\[active \+ 1\]",
        SPEED,
        "numbers of kernels are relative to another one, in both states alike",
    ),
    (
        "describe_loop",
        "work_start",
        EQUAL,
        "the start of the last work follows from its end and the grant, which are words too",
    ),
    ("describe_loop", "begun", EQUAL, "a first computation also moves what is covered, which is compared"),
    ("jump", "jumps", SPEED, "a count that is only shown"),
    ("jump", "computed", EQUAL, "the tiles that are left compute once more and set it"),
    ("trailing", r"max\(makespan - max", EQUAL, "the last arrival is the makespan, or the rest is positive"),
    (
        "open_books",
        "drain_worked",
        EQUAL,
        "in a stream no unit works between the end of a kernel and its successor's first work",
    ),
    ("state|write_down", r"kernel > |write_down\(kernel", EQUAL, "words shift by a constant, in all states alike"),
    ("Stream.run|row_id", r"(known|key) >", SPEED, "the first of all is played or made twice"),
    ("add", "count", SPEED, "when the table grows: time only"),
    ("_account|work", r"end [-+] offset", EQUAL, "a service is booked to its end, where the parts add up to its ticks"),
    ("split_by_work", "", EQUAL, "the search begins one interval early, or at the end, where nothing is found"),
    ("port_use", "bisect", EQUAL, "the search begins one service early: its overlap is nothing"),
    ("paced", "port_tier", EQUAL, "the nearest tier has no port"),
    ("_index_", "finish|< 0", EQUAL, "of rows that complete at one tick the first is kept"),
)
"""Function, change (regular expressions, searched), kind, reason; the first that matches counts."""


def reason(function: str, change: str) -> tuple[str, str]:
    """Kind and words; ("open", "") where nothing is known."""
    for place, pattern, kind, words in RULES:
        if re.search(place, function) and re.search(pattern, change):
            return kind, words
    return "open", ""
