"""Contract suites: what every engine, fusion policy, importer and residency model promises, for plug-ins to inherit.

    from hiersim.testing.contracts import EngineContract

    class TestMyEngine(EngineContract):
        simulate = staticmethod(my_package.simulate)

pytest collects the inherited tests; each runs on random cases, half as many as the hypothesis profile says. Without
pytest, in a notebook for example, `keep(TestMyEngine)` runs them.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Final

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hiersim.audit import audit, moved_bytes
from hiersim.bounds import Bounds, critical_path, kernel_bounds
from hiersim.engines import reference
from hiersim.errors import FusionError, HiersimError, SimulationError
from hiersim.frontends.archive import load_archive, save_trace
from hiersim.frontends.integrity import Checker, check_kernel_graph, check_trace
from hiersim.fusion.build import partition_of
from hiersim.fusion.eager import eager
from hiersim.lowering.belady import BeladyProfile
from hiersim.lowering.lower import compulsory_bytes
from hiersim.lowering.residency import ReuseProfile, profile_reuse
from hiersim.model.design import Design
from hiersim.model.kernels import KernelGraph, Launch
from hiersim.model.operators import HOST_ONLY, PRODUCED, Flag, Role
from hiersim.model.program import Access, Program
from hiersim.model.timeline import ENGINES, Entry, StageLog, Timeline
from hiersim.model.trace import Trace
from hiersim.provenance import trace_sha256
from hiersim.testing.strategies import cut_traces, designs, programs, streaming_graphs, streams, traces

FLOPS: Final = ("matrix_flops", "masked_flops", "vector_flops", "special_ops")
CUTS: Final = 16
"""Pieces of a file; it is cut after each of them."""
INFINITE: Final = 2**60
"""Bytes of a cache that holds everything."""
inherited = settings(
    max_examples=max(20, settings.default.max_examples // 2),  # type: ignore[union-attr]
    deadline=None,
    suppress_health_check=[*settings.default.suppress_health_check, HealthCheck.differing_executors],  # type: ignore[union-attr]
)
"""Inherited tests run once per subclass (hypothesis would take that for an accident), with half of the examples."""


def differences(one: Timeline, other: Timeline) -> list[str]:
    """What differs between two timelines but the engine's name: values, dtypes, shapes; empty when they are equal."""
    found: list[str] = []
    for item in dataclasses.fields(Timeline):
        if item.name in ("engine", "log"):
            continue
        found += _differences(item.name, getattr(one, item.name), getattr(other, item.name))
    if (one.log is None) != (other.log is None):
        return [*found, "log: kept by one only"]
    if one.log is not None:
        for item in dataclasses.fields(StageLog):
            found += _differences(f"log.{item.name}", getattr(one.log, item.name), getattr(other.log, item.name))
    return found


def _differences(name: str, one: Any, other: Any) -> list[str]:
    if type(one) is not type(other):
        return [f"{name}: {type(one).__name__}, {type(other).__name__}"]
    if not isinstance(one, np.ndarray):
        return [] if one == other else [f"{name}: {one}, {other}"]
    if one.dtype != other.dtype or one.shape != other.shape:
        return [f"{name}: {one.dtype} {one.shape}, {other.dtype} {other.shape}"]
    unequal = np.argwhere(one != other)
    if not len(unequal):
        return []
    place = tuple(unequal[0].tolist())
    return [f"{name}{list(place)}: {one[place]}, {other[place]} ({len(unequal)} in all)"]


def program_bounds(program: Program) -> Bounds:
    """The bounds that follow from a program alone."""
    return Bounds(compute_ticks=0, link_ticks={}, critical_path_ticks=critical_path(program), compulsory_bytes=0)


def outcome(simulate: Callable[..., Timeline], program: Program, **options: Any) -> Timeline | str:
    """The timeline of a run, or the words of its deadlock."""
    try:
        return simulate(program, **options)
    except SimulationError as error:
        return str(error)


def keep(suite: type) -> list[str]:
    """Run every test of a contract suite; what it promises, in the words of the tests' names.

    Raises
    ------
    AssertionError
        Where a promise is broken, with the smallest case that hypothesis found; or what the plug-in itself raised.
    """
    names = [name for name in dir(suite) if name.startswith("test_") and callable(getattr(suite, name))]
    for name in names:
        getattr(suite(), name)()
    return [name.removeprefix("test_").replace("_", " ") for name in names]


class EngineContract:
    """An engine plays a program as docs/semantics.md says: exactly like the reference engine."""

    simulate: ClassVar[staticmethod[..., Timeline]]
    """`simulate(program, *, keep_log=False)`; give it as a `staticmethod`."""

    @inherited
    @given(st.one_of(programs(), streams()))
    def test_the_audit_accepts_every_run(self, program: Program) -> None:
        """Ledger, causality, exclusive service, work conservation, buffers, bounds."""
        timeline = self.simulate(program, keep_log=True)
        audit(program, timeline, program_bounds(program))
        assert bool(np.all(timeline.end - timeline.start >= kernel_bounds(program)))

    @inherited
    @given(st.one_of(programs(), streams()))
    def test_every_field_equals_the_reference(self, program: Program) -> None:
        found = differences(self.simulate(program, keep_log=True), reference.simulate(program, keep_log=True))
        assert not found, found

    @inherited
    @given(st.one_of(programs(), streams()))
    def test_without_its_log_a_second_run_is_the_same(self, program: Program) -> None:
        """Determinism, and `keep_log` changes the log only."""
        kept, bare = self.simulate(program, keep_log=True), self.simulate(program)
        assert kept.log is not None
        assert bare.log is None
        found = differences(dataclasses.replace(kept, log=None), bare)
        assert not found, found

    @inherited
    @given(st.one_of(programs(), streams()))
    def test_the_ledger_adds_up_and_books_every_tick_of_a_unit_as_work(self, program: Program) -> None:
        """Units do not overlap themselves: their work entries are their busy ticks, entry by entry."""
        timeline = self.simulate(program)
        counts = program.stage_counts()
        assert int(timeline.ledger_rows.min()) >= 0
        assert timeline.ledger_totals.sum(axis=1).tolist() == [timeline.makespan] * len(ENGINES)
        for index, engine in enumerate(ENGINES[1:], start=1):
            units = [unit for unit in program.units if program.resources[unit].name == engine]
            chosen = np.isin(program.stage_resource, units)
            for column, name in enumerate(("stage_useful", "stage_padding", "stage_tail")):
                wanted = int((getattr(program, name) * counts)[chosen].sum())
                assert int(timeline.ledger_totals[index, column]) == wanted, (engine, name)
            work = program.stage_useful + program.stage_padding + program.stage_tail
            set_up = int(((program.stage_ticks - work) * counts)[chosen].sum())
            assert int(timeline.ledger_totals[index, Entry.DISPATCH]) >= set_up, engine

    @inherited
    @given(st.one_of(programs(), streams()))
    def test_the_stage_log_moves_the_bytes_of_the_program(self, program: Program) -> None:
        timeline = self.simulate(program, keep_log=True)
        assert timeline.log is not None
        read, write = program.traffic()
        assert moved_bytes(program, timeline.log, Access.READ) == read.tolist()
        assert moved_bytes(program, timeline.log, Access.WRITE) == write.tolist()
        busy = np.zeros(len(program.resources), np.int64)
        np.add.at(busy, program.stage_resource, program.stage_ticks * program.stage_counts())
        assert timeline.busy.tolist() == busy.tolist()

    @inherited
    @given(programs(any_needs=True))
    def test_a_deadlock_is_named_as_the_reference_names_it(self, program: Program) -> None:
        mine, wanted = outcome(self.simulate, program), outcome(reference.simulate, program)
        if isinstance(mine, Timeline) and isinstance(wanted, Timeline):
            assert not differences(mine, wanted)
        else:
            assert mine == wanted

    @inherited
    @given(st.one_of(programs(), streams()))
    def test_the_program_is_left_as_it_was(self, program: Program) -> None:
        """Programs are frozen: an engine must be able to run one whose arrays are read-only."""
        for item in dataclasses.fields(Program):
            value = getattr(program, item.name)
            if isinstance(value, np.ndarray):
                value.flags.writeable = False
        self.simulate(program, keep_log=True)


class PolicyContract:
    """A fusion policy partitions a trace into kernels and keeps what the model computes, reads and writes."""

    policy: ClassVar[staticmethod[[Trace, Design], KernelGraph]]
    """Give it as a `staticmethod`."""

    @staticmethod
    def cases() -> Iterable[tuple[Trace, Design]]:
        """Further cases, real traces for example; each must be allowed by the policy."""
        return ()

    @inherited
    @given(traces(), designs())
    def test_random_traces_keep_the_laws_or_are_refused(self, trace: Trace, design: Design) -> None:
        self._lawful(trace, design)

    @inherited
    @given(cut_traces(), designs())
    def test_no_kernel_spans_a_graph_break(self, trace: Trace, design: Design) -> None:
        graph = self._lawful(trace, design)
        if graph is not None:
            check_regions(trace, graph)

    def _lawful(self, trace: Trace, design: Design) -> KernelGraph | None:
        """The policy's kernels, which keep the laws; None where it refuses the trace, by name."""
        try:
            graph = self.policy(trace, design)
        except FusionError as error:
            assert trace.name in str(error)
            return None
        check_policy(trace, graph)
        return graph

    def test_given_traces_keep_the_laws(self) -> None:
        for trace, design in self.cases():
            check_policy(trace, self.policy(trace, design))


def check_policy(trace: Trace, graph: KernelGraph) -> None:
    """The laws of fusion (law 10) for one graph; `AssertionError` or `TraceError` where one is broken."""
    check_kernel_graph(graph, Checker(trace.name, graph.policy))
    plain = eager(trace)
    first = graph.recomputed == 0
    once = (trace.graph.operators.flags & Flag.RECOMPUTED) == 0
    wanted = int(trace.graph.operators.matrix_flops[once].sum())
    thin = wanted - int(graph.operators.matrix_flops[first].sum())
    assert 0 <= thin <= 1e-4 * wanted, "matrix FLOPs are kept; thin products may become element-wise work"
    assert asked_bytes(graph) <= asked_bytes(plain), "fused kernels ask for no more bytes"
    assert weight_bytes(graph) == weight_bytes(plain), "weights are those of the model"
    least, most = sorted((compulsory_bytes(graph), compulsory_bytes(plain)))
    assert most <= 1.01 * least + rewritten_bytes(plain), "external inputs and outputs are kept"


def check_regions(trace: Trace, graph: KernelGraph) -> None:
    """What compiled regions promise: kernels stay within one, and each that has compiled kernels is entered once."""
    partition, regions = graph.derived(partition_of), trace.graph.regions
    assert regions is not None
    if partition is None:
        return
    calls = regions.of_operators(len(trace.graph.operators))[partition.operators]
    first, last = (each.reduceat(calls, partition.ptr[:-1]) for each in (np.minimum, np.maximum))
    compiled = graph.launch != Launch.EAGER
    assert bool(np.all(first == last)), "a kernel spans a graph break"
    assert bool(np.all(first[compiled] >= 0)), "a compiled kernel is outside of all regions"
    assert bool(np.all(np.diff(partition.ptr)[first < 0] == 1)), "operators outside of regions are alone"
    entered = np.unique(first[compiled])
    counts = {"calls": len(entered), "guards": int(regions.guards[entered].sum())}
    for name, count in counts.items():
        found = 0 if graph.entries is None else int(getattr(graph.entries, name).sum())
        assert found == count, f"{name}: {found} instead of {count}"


def check_eager(trace: Trace, graph: KernelGraph) -> None:
    """What one kernel per operator promises beyond `check_policy`: everything exactly once."""
    launching = ~np.isin(trace.graph.operators.kind, [int(kind) for kind in HOST_ONLY])
    assert len(graph) == int(launching.sum())
    for column in FLOPS:
        wanted = getattr(trace.graph.operators, column)[launching].sum()
        assert getattr(graph.operators, column).sum() == wanted, column
    rows = np.repeat(launching, np.diff(trace.graph.reads.ptr)), np.repeat(launching, np.diff(trace.graph.writes.ptr))
    assert int(graph.reads.size.sum()) == int(trace.graph.reads.size[rows[0]].sum())
    assert int(graph.writes.size.sum()) == int(trace.graph.writes.size[rows[1]].sum())


def asked_bytes(graph: KernelGraph) -> int:
    """Bytes that kernels read and write, wherever they are held."""
    return int(graph.reads.size.sum() + graph.writes.size.sum())


def weight_bytes(graph: KernelGraph) -> int:
    """Bytes of the weights that are read at all."""
    read = np.unique(graph.tensors.tensor_storage[graph.reads.tensor])
    weights = read[graph.tensors.storage_role[read] == Role.WEIGHT]
    return int(graph.tensors.storage_bytes[weights].sum())


def rewritten_bytes(graph: KernelGraph) -> int:
    """Bytes written into storages that were there before the run.

    Where a later read lies is not known: one that shares a kernel with such a write asks for all of the storage again.
    """
    storage = graph.tensors.tensor_storage[graph.writes.tensor]
    before = ~np.isin(graph.tensors.storage_role[storage], [int(role) for role in PRODUCED])
    return int(graph.writes.size[before].sum())


class ImporterContract:
    """An importer makes a lawful trace of each of its files, the same one every time, and refuses what is broken."""

    load: ClassVar[staticmethod[..., Trace]]
    """`load(path)`; give it as a `staticmethod`."""

    @staticmethod
    def files() -> Iterable[str | os.PathLike[str]]:
        """Files of the format, at least one; small ones, for each is cut in many places."""
        raise NotImplementedError("files() names what the importer is tried on")

    def test_files_become_lawful_traces_that_run(self) -> None:
        """Of at least one operator; `TraceError` where a law of traces is broken."""
        for path in self._some():
            trace = check_trace(self.load(path), path)
            assert len(eager(trace)) > 0, f"{path}: nothing is launched"

    def test_the_same_file_gives_the_same_trace(self) -> None:
        """No clock, no set order, no random names: digests are those of the content."""
        for path in self._some():
            assert trace_sha256(self.load(path)) == trace_sha256(self.load(path)), path

    def test_traces_survive_being_saved(self) -> None:
        with TemporaryDirectory() as folder:
            for path in self._some():
                trace, saved = self.load(path), os.path.join(folder, "saved.npz")
                save_trace(trace, saved)
                assert trace_sha256(load_archive(saved)) == trace_sha256(trace), path

    def test_a_cut_file_is_refused_or_a_lawful_trace(self) -> None:
        """Errors are `HiersimError`; nothing else comes out of a download that stopped."""
        with TemporaryDirectory() as folder:
            for path in self._some():
                whole = Path(path).read_bytes()
                for place in range(1, CUTS):
                    cut = Path(folder, Path(path).name)
                    cut.write_bytes(whole[: len(whole) * place // CUTS])
                    with suppress(HiersimError):
                        check_trace(self.load(str(cut)), str(cut))

    def _some(self) -> list[str]:
        found = [str(path) for path in self.files()]
        assert found, "files() names at least one"
        return found


class ResidencyContract:
    """A model of what caches keep between kernels: it holds more in a larger cache and never loses or invents bytes."""

    profile_reuse: ClassVar[staticmethod[[KernelGraph], ReuseProfile | BeladyProfile]]
    """Give it as a `staticmethod`."""
    every_access: ClassVar[bool] = True
    """Whether a larger cache helps every access, or all of them together: the best of several rules may change."""
    is_bound: ClassVar[bool] = False
    """Whether it promises to move no more bytes than LRU, whatever the capacity."""

    @inherited
    @given(traces(max_operators=10), st.lists(st.integers(0, 20_000), min_size=2, max_size=6))
    def test_a_larger_cache_never_misses_or_writes_back_more(self, trace: Trace, capacities: list[int]) -> None:
        """The inclusion property of stack algorithms, access by access and kernel by kernel or in all."""
        graph = eager(trace)
        profile = self.profile_reuse(graph)
        ordered = sorted(capacities)
        misses = [profile.read_misses(graph.reads.size, capacity) for capacity in ordered]
        written = [profile.write_backs(len(graph), capacity) for capacity in ordered]
        if not self.every_access:
            misses = [np.array([missed.sum() + back.sum()]) for missed, back in zip(misses, written, strict=True)]
            written = []
        for series in (misses, written):
            assert all(bool(np.all(after <= before)) for before, after in pairwise(series))

    @inherited
    @given(st.one_of(traces(max_operators=10).map(eager), streaming_graphs()), st.integers(0, 20_000))
    def test_a_bound_never_moves_more_than_lru(self, graph: KernelGraph, capacity: int) -> None:
        if self.is_bound:
            profile, lru = self.profile_reuse(graph), profile_reuse(graph)
            assert moved_by(profile, graph, capacity) <= moved_by(lru, graph, capacity)

    @inherited
    @given(traces(max_operators=10), st.integers(0, 20_000))
    def test_no_access_misses_more_than_it_asks_for(self, trace: Trace, capacity: int) -> None:
        graph = eager(trace)
        profile = self.profile_reuse(graph)
        misses = profile.read_misses(graph.reads.size, capacity)
        assert bool(np.all((misses >= 0) & (misses <= graph.reads.size)))
        written = profile.write_backs(len(graph), capacity)
        assert bool(np.all((written >= 0) & (written <= written_bytes(graph))))

    @inherited
    @given(traces(max_operators=10))
    def test_no_cache_keeps_nothing(self, trace: Trace) -> None:
        graph = eager(trace)
        profile = self.profile_reuse(graph)
        assert profile.read_misses(graph.reads.size, 0).tolist() == graph.reads.size.tolist()
        assert int(profile.write_backs(len(graph), 0).sum()) == int(profile.chunk_bytes.sum())

    @inherited
    @given(traces(max_operators=10))
    def test_a_cache_of_all_storages_is_as_good_as_an_infinite_one(self, trace: Trace) -> None:
        graph = eager(trace)
        profile = self.profile_reuse(graph)
        everything = int(graph.tensors.storage_bytes.sum())
        for capacity in (everything, INFINITE):
            misses = profile.read_misses(graph.reads.size, capacity)
            assert misses.tolist() == profile.read_misses(graph.reads.size, 2 * INFINITE).tolist()

    @inherited
    @given(streaming_graphs())
    def test_an_infinite_cache_leaves_compulsory_traffic_only(self, graph: KernelGraph) -> None:
        """Nothing is read twice and only outputs are written, once each."""
        profile = self.profile_reuse(graph)
        missed = int(profile.read_misses(graph.reads.size, INFINITE).sum())
        written = int(profile.write_backs(len(graph), INFINITE).sum())
        assert missed + written == compulsory_bytes(graph)


def moved_by(profile: ReuseProfile | BeladyProfile, graph: KernelGraph, capacity: int) -> int:
    """Bytes that all reads miss and all kernels write back."""
    missed, written = profile.moved(graph.reads.size, len(graph), capacity)
    return int(missed.sum()) + int(written.sum())


def written_bytes(graph: KernelGraph) -> np.ndarray[Any, np.dtype[np.int64]]:
    """(K,) bytes that each kernel writes."""
    total = np.concatenate([[0], np.cumsum(graph.writes.size)]).astype(np.int64)
    return np.asarray(np.diff(total[graph.writes.ptr]), np.int64)
