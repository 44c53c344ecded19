"""An LRU cache that is played chunk by chunk, with every byte accounted for. It shares nothing with `hiersim.lowering`.

Every kernel streams all blocks that it touches from start to end at proportional speed, in `STEPS` steps. Freed memory
is given out again by size, most recently freed first, when the new storage is touched for the first time.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from hiersim.frontends.tables import Storage
from hiersim.model.operators import PRODUCED
from hiersim.testing.graph_strategies import GRAIN, Touch

STEPS = GRAIN
LARGEST = 2**40


class Allocator:
    """Storages onto blocks of memory."""

    def __init__(self) -> None:
        self.block: dict[int, int] = {}
        self.idle: dict[int, list[int]] = {}
        self.blocks = 0

    def place(self, storage: int, item: Storage) -> int:
        """The block of a storage, given out at its first touch."""
        if storage not in self.block:
            idle = self.idle.get(item.size, [])
            reused = bool(idle) and item.role in PRODUCED
            self.block[storage] = idle.pop() if reused else self.blocks
            self.blocks += not reused
        return self.block[storage]

    def free(self, storage: int, item: Storage) -> None:
        """Memory of a storage that was touched may be given out again."""
        if storage in self.block:
            self.idle.setdefault(item.size, []).append(self.block[storage])


@dataclass
class ChunkCache:
    """LRU over (block, chunk), by bytes. Counters are bytes."""

    capacity: int
    held: OrderedDict[tuple[int, int], tuple[int, int]] = field(default_factory=OrderedDict)
    """(block, chunk) → (bytes, kernel whose write is still only here; -1 when clean)."""
    flows: Counter[str] = field(default_factory=Counter)
    """fetched, stored (came in); overwritten, written_back, dropped (went out)."""
    missed: int = 0
    """Bytes of reads that were not held."""
    written: Counter[int] = field(default_factory=Counter)
    """Bytes of every kernel's writes that left, by kernel."""

    @property
    def used(self) -> int:
        return sum(size for size, _ in self.held.values())

    def touch(self, key: tuple[int, int], size: int, kernel: int, *, read: bool, write: bool) -> None:
        """The chunk becomes the most recent one; the oldest ones leave while there are too many bytes."""
        before = self.held.pop(key, None)
        dirty = before[1] if before else -1
        if read and before is None:
            self.missed += size
            self.flows["fetched"] += size
        elif before is None:
            self.flows["stored"] += size
        if write:
            if before and dirty >= 0:
                self.flows["overwritten"] += size
            if before or read:  # the write replaces what was held or has just come
                self.flows["stored"] += size
                self.flows["dropped"] += size * (dirty < 0)
            dirty = kernel
        self.held[key] = (size, dirty)
        self.room -= size * (before is None)
        while self.room < 0:
            self.evict()

    def __post_init__(self) -> None:
        self.room = self.capacity

    def evict(self) -> None:
        """The oldest chunk leaves: written back when it is dirty."""
        _, (size, dirty) = self.held.popitem(last=False)
        self.room += size
        self.leave(size, dirty)

    def leave(self, size: int, dirty: int) -> None:
        self.flows["dropped" if dirty < 0 else "written_back"] += size
        if dirty >= 0:
            self.written[dirty] += size

    def flush(self, blocks: set[int]) -> None:
        """Write back what is dirty in some blocks."""
        for key, (size, dirty) in self.held.items():
            if key[0] in blocks and dirty >= 0:
                self.flows["stored"] += size  # it stays, clean
                self.leave(size, dirty)
                self.held[key] = (size, -1)


class Player:
    """A cache behind an allocator, kernel by kernel."""

    def __init__(self, capacity: int) -> None:
        self.cache = ChunkCache(capacity)
        self.memory = Allocator()
        self.kernel = 0

    def run(self, storages: Sequence[Storage], touch: Touch) -> None:
        """One kernel, and then the frees of that kernel."""
        order = [*sorted(touch.reads), *sorted(touch.writes)]
        blocks = {storage: self.memory.place(storage, storages[storage]) for storage in order}
        for step in range(STEPS):
            for storage in sorted(blocks):
                self.cache.touch(
                    (blocks[storage], step), storages[storage].size // STEPS, self.kernel,
                    read=storage in touch.reads, write=storage in touch.writes,
                )  # fmt: skip
        self.kernel += 1

    def free(self, storages: Sequence[Storage], chosen: set[int]) -> None:
        """Frees after a kernel, in the order of storages."""
        for storage in sorted(chosen):
            self.memory.free(storage, storages[storage])

    def end(self, storages: Sequence[Storage]) -> None:
        """Outputs are written back."""
        blocks = self.memory.block
        self.cache.flush({blocks[s] for s, item in enumerate(storages) if item.output and s in blocks})


def played(storages: Sequence[Storage], touches: Sequence[Touch], capacity: int) -> ChunkCache:
    """The cache at the end of a whole run."""
    player = Player(capacity)
    for kernel, touch in enumerate(touches):
        player.run(storages, touch)
        player.free(storages, {storage for storage, item in enumerate(storages) if item.free == kernel})
    player.end(storages)
    return player.cache
