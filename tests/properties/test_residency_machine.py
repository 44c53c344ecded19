"""Residency and eviction as a state machine: allocate, read, write and free on a small cache, step by step.

After every step the played cache accounts for every byte; at the end the closed form of `profile_reuse` must agree
with it: exactly for no cache and an infinite one, within the played cache's step in between.
"""

from __future__ import annotations

import numpy as np
from chunk_cache import LARGEST, STEPS, Player, played
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hiersim.frontends.tables import Storage
from hiersim.lowering.residency import ReuseProfile, profile_reuse
from hiersim.model.operators import IntArray, Role
from hiersim.testing.graph_strategies import GRAIN, Touch, streaming_graph

SIZES = st.sampled_from((1, 2, 5, 5, 5, 30)).map(lambda count: count * GRAIN)


class Residency(RuleBasedStateMachine):
    """What a program does to memory, played on one small cache."""

    @initialize(capacity=st.integers(1, 4000), sizes=st.lists(SIZES, min_size=1, max_size=3))
    def begin(self, capacity: int, sizes: list[int]) -> None:
        """Weights are there from the start."""
        self.capacity = capacity
        self.player = Player(capacity)
        self.storages = [Storage(size=size, role=Role.OPTIMIZER_STATE) for size in sizes]
        self.live = list(range(len(sizes)))
        self.touches: list[Touch] = []
        self.freed: set[int] = set()

    def play(self, reads: frozenset[int], writes: frozenset[int]) -> None:
        """One kernel; what was freed after the one before can be given out again."""
        self.player.free(self.storages, self.freed)
        self.freed = set()
        self.touches.append(Touch(reads=reads, writes=writes))
        self.player.run(self.storages, self.touches[-1])

    def some(self, data: st.DataObject, most: int) -> frozenset[int]:
        return data.draw(st.frozensets(st.sampled_from(self.live), max_size=most))

    @rule(data=st.data(), size=SIZES, output=st.sampled_from((False, False, True)))
    def allocate(self, data: st.DataObject, size: int, output: bool) -> None:
        """A kernel makes a tensor of up to three others."""
        reads = self.some(data, 3)
        self.storages.append(Storage(size=size, role=Role.ACTIVATION, output=output))
        self.live.append(len(self.storages) - 1)
        self.play(reads, frozenset(self.live[-1:]))

    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        self.play(self.some(data, 3), frozenset())

    @rule(data=st.data())
    def write(self, data: st.DataObject) -> None:
        """In place or not."""
        self.play(self.some(data, 2), self.some(data, 2))

    @precondition(lambda self: self.touches and any(self.may_go(storage) for storage in self.live))
    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        storage = data.draw(st.sampled_from([storage for storage in self.live if self.may_go(storage)]))
        self.live.remove(storage)
        self.storages[storage].free = len(self.touches) - 1
        self.freed.add(storage)

    def may_go(self, storage: int) -> bool:
        item = self.storages[storage]
        return item.role is Role.ACTIVATION and not item.output

    @invariant()
    def capacity_is_never_exceeded(self) -> None:
        assert self.player.cache.used <= self.capacity

    @invariant()
    def bytes_in_are_bytes_out_and_resident_and_dropped(self) -> None:
        """A byte that came in was overwritten, written back, dropped clean, or is still there."""
        cache = self.player.cache
        came = cache.flows["fetched"] + cache.flows["stored"]
        went = cache.flows["overwritten"] + cache.flows["written_back"] + cache.flows["dropped"]
        assert came == went + cache.used

    @invariant()
    def dirty_bytes_leave_once_unless_overwritten(self) -> None:
        """Every byte that kernels wrote was written back once, overwritten while held, or is held and dirty."""
        cache = self.player.cache
        made = sum(self.storages[storage].size for touch in self.touches for storage in touch.writes)
        dirty = sum(size for size, writer in cache.held.values() if writer >= 0)
        assert made == cache.flows["written_back"] + cache.flows["overwritten"] + dirty
        assert cache.flows["written_back"] == cache.written.total()

    def teardown(self) -> None:
        """The closed form agrees with what was played."""
        if getattr(self, "touches", None):
            self.player.end(self.storages)
            check_closed_form(self.storages, self.touches, self.player)


def check_closed_form(storages: list[Storage], touches: list[Touch], player: Player) -> None:
    """Read misses and write-backs of `profile_reuse` against the played cache and its capacity."""
    graph = streaming_graph(storages, touches)
    profile = profile_reuse(graph)
    for capacity in (0, LARGEST):
        cache = played(storages, touches, capacity)
        assert int(profile.read_misses(graph.reads.size, capacity).sum()) == cache.missed
        written = [cache.written[kernel] for kernel in range(len(graph))]
        assert profile.write_backs(len(graph), capacity).tolist() == written
    capacity = player.cache.capacity
    grain = 2 * max(item.size for item in storages) // STEPS  # a chunk at each end of what hits may fall either way
    blur = 2 * sum(item.size for item in storages) // STEPS
    step = len(graph.reads.size) * grain
    misses = [int(profile.read_misses(graph.reads.size, size).sum()) for size in (capacity + blur, capacity - blur)]
    assert misses[0] - step <= player.cache.missed <= misses[1] + step
    step = (len(profile.chunk_intervals) + 1) * grain
    least, most = write_back_range(profile, capacity + blur)[0], write_back_range(profile, capacity - blur)[1]
    assert least - step <= player.cache.written.total() <= most + step
    least, most = write_back_range(profile, capacity)
    assert least - len(graph) <= int(profile.write_backs(len(graph), capacity).sum()) <= most


def write_back_range(profile: ReuseProfile, capacity: int) -> tuple[float, float]:
    """Least and most bytes written back when shares of a chunk survive its intervals, wherever these shares lie.

    The closed form multiplies the shares. What survives all intervals is at most the smallest share, and at least one
    less all that is lost.
    """
    share = profile.hit_shares(capacity)
    least = most = 0.0
    for chunk, size in enumerate(profile.chunk_bytes.tolist()):
        own: IntArray = profile.chunk_intervals[profile.chunk_ptr[chunk] : profile.chunk_ptr[chunk + 1]]
        lost = 1.0 - share[own]
        flushed = bool(profile.chunk_flush[chunk])
        least += size if flushed else size * float(np.max(lost, initial=0.0))
        most += size if flushed else size * min(1.0, float(lost.sum()))
    return least, most + 1e-6


TestResidency = Residency.TestCase
TestResidency.settings = settings(max_examples=max(50, settings.default.max_examples // 2), stateful_step_count=25)
