"""The road from front to back: trace and design in, result out. Pure: no files, no output, no globals.

What depends on the trace alone is made once and kept with it: its kernels, their reuse distances, its digest.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib import import_module
from inspect import signature
from typing import Final

from hiersim.audit import audit
from hiersim.bounds import bounds
from hiersim.errors import FusionError, HiersimError, nearest
from hiersim.fusion.marks import is_of_trace_alone
from hiersim.fusion.registry import BUILT_IN, Policy
from hiersim.fusion.registry import policy as find_policy
from hiersim.lowering.host import STREAM
from hiersim.lowering.lower import lower
from hiersim.lowering.placement import occupancy
from hiersim.lowering.residency import ReuseProfile
from hiersim.lowering.workload import prepare
from hiersim.model.design import Design
from hiersim.model.kernels import KernelGraph
from hiersim.model.timeline import Timeline
from hiersim.model.trace import Trace
from hiersim.results import Comparison, Result
from hiersim.tally import tally

Engine = Callable[..., Timeline]
Progress = Callable[[str, int], None]
DEFAULT_ENGINE: Final = "compiled"
GROUP: Final = "hiersim.engines"
_BUILT_IN: Final = {"compiled": "hiersim.engines.compiled", "reference": "hiersim.engines.reference"}
"""Name → module with a function `simulate`; imported when it is asked for."""


@cache
def engines() -> dict[str, Engine]:
    """Engines by name: the built-in ones and those of the entry points `hiersim.engines`. A broken one is skipped."""
    from importlib.metadata import entry_points  # slow to import, and not needed for what is built in

    found: dict[str, Engine] = {name: import_module(module).simulate for name, module in _BUILT_IN.items()}
    for point in entry_points(group=GROUP):
        if point.name in found:
            continue
        try:
            found[point.name] = point.load()
        except Exception as error:  # a plug-in may fail in any way; the tool goes on without it
            warnings.warn(f"engine '{point.name}' of {point.value} cannot be loaded: {error}", stacklevel=2)
    return dict(sorted(found.items()))


def engine(name: str) -> Engine:
    """The engine of that name.

    Raises
    ------
    HiersimError
        With the nearest valid name.
    """
    if name in _BUILT_IN:
        return _built_in(_BUILT_IN[name])
    found = engines()
    if name not in found:
        raise HiersimError(f"'{name}' is not an engine", expected=nearest(name, found))
    return found[name]


@cache
def _built_in(module: str) -> Engine:
    play: Engine = import_module(module).simulate
    return play


def kernels_of(trace: Trace, design: Design, fusion: str | Policy, keep_peak: bool = False) -> KernelGraph:
    """The kernels that the policy `fusion` makes of `trace`; once per trace when the policy does not see the design.

    With `keep_peak` they are taken apart as far as they would hold more memory than eager mode.

    Raises
    ------
    FusionError
        Unknown policy, a trace without the captured schedule, or a policy that makes something else than kernels.
    """
    if keep_peak and fusion != "eager":
        from hiersim.fusion import peak

        plain = kernels_of(trace, design, "eager")
        return peak.keep_peak(trace, kernels_of(trace, design, fusion), plain, occupancy)
    if not isinstance(fusion, str):
        return _made_by(fusion, trace, design)
    if fusion in trace.groupings:
        from hiersim.fusion.grouped import grouped

        return trace.derived(grouped(fusion))
    if fusion in trace.schedules and fusion not in BUILT_IN:
        return trace.schedules[fusion]
    chosen = find_policy(fusion)
    return trace.derived(chosen, design) if is_of_trace_alone(chosen) else chosen(trace, design)


def _made_by(policy: Policy, trace: Trace, design: Design) -> KernelGraph:
    """The kernels of a policy that was given as a function."""
    if not callable(policy):
        raise FusionError(f"{policy!r:.60} is not a fusion policy", expected="a name, or a function(trace, design)")
    made = policy(trace, design)
    if not isinstance(made, KernelGraph):
        name = getattr(policy, "__name__", "the policy")
        raise FusionError(f"{name} returned {type(made).__name__}", expected="kernels, as hs.group makes them")
    return made


def simulate(
    trace: Trace,
    design: Design,
    fusion: str | Policy = "eager",
    *,
    engine_name: str = DEFAULT_ENGINE,
    changes: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    keep_log: bool = False,
    fast_forward: bool = True,
    launch: str = STREAM,
    keep_peak: bool = False,
) -> Result:
    """Replay `trace` on `design`.

    Parameters
    ----------
    trace : Trace
        The model run. Its columns become read-only, since what is derived from them is kept for the next call.
    design : Design
        The machine; `changes` are already in it and only recorded.
    fusion : str or function
        Name of a fusion policy (`eager`, `inductor`, …), or of a grouping or schedule that the trace carries; or a
        policy itself, a function of trace and design (`hiersim.group` makes its kernels).
    engine_name : str
        Name of an engine.
    progress : callable, optional
        Told before the engine runs: what, and how many stages it will play.
    keep_log : bool
        Keep what every stage did (`result.timeline.log`) and audit it stage by stage; costs time and memory.
    fast_forward : bool
        Let the engine skip what repeats; the result is the same either way.
    launch : str
        How the host launches: `stream` (kernel by kernel, at the eager or compiled cost) or `graph` (a captured graph
        is replayed, once for all kernels that need no value on the host).
    keep_peak : bool
        Take fused kernels apart where they would need more memory than eager mode (`hiersim.fusion.peak`).

    Raises
    ------
    CapacityError
        When the model does not fit.
    DesignError
        When no unit can do a dtype, or no time is known for a graph replay or for entering a compiled region.
    FusionError
        Unknown policy, or a trace without the captured schedule.
    SimulationError
        When a law of the simulator is broken.
    """
    return replay(
        trace, kernels_of(trace, design, fusion, keep_peak), design, engine_name=engine_name, changes=changes,
        progress=progress, keep_log=keep_log, fast_forward=fast_forward, launch=launch,
    )  # fmt: skip


def fuse(
    trace: Trace, policy: str, design: Design | None = None, *, name: str = "fused", readable: bool = False,
    keep_peak: bool = False,
) -> Trace:  # fmt: skip
    """`trace` with the kernels that a policy makes of it, under a name that `fusion=` replays.

    Parameters
    ----------
    trace : Trace
        The model run.
    policy : str
        Name of a fusion policy, or of what the trace carries.
    design : Design, optional
        For policies that look at one.
    name : str
        An identifier that no policy has.
    readable : bool
        Keep only what the readable form holds: the schedules of compilers are left out, and eager kernels become a
        grouping (of which lifetimes follow from the last uses).
    keep_peak : bool
        Take fused kernels apart where they would need more memory than eager mode.

    Returns
    -------
    Trace
        With a grouping of its own operators; or, where the kernels hold other ones (captured schedules, recognised
        attention), with a schedule.

    Raises
    ------
    FusionError
        Unknown policy, a name that cannot be taken, or a policy that needs a design and got none.
    """
    if design is None and not (policy in trace.groupings or policy in trace.schedules or _needs_none(policy)):
        raise FusionError(f"policy '{policy}' looks at the design", expected="--design D")
    from hiersim.fusion.grouped import written_back

    kernels = kernels_of(trace, design, policy, keep_peak)  # type: ignore[arg-type]
    made = written_back(trace, kernels, name, not readable)
    if not readable:
        return made
    return replace(
        made,
        schedules={key: held for key, held in made.schedules.items() if key == name},
        estimates={key: held for key, held in made.estimates.items() if key == name},
    )


def _needs_none(name: str) -> bool:
    return is_of_trace_alone(find_policy(name))


def replay(
    trace: Trace,
    graph: KernelGraph,
    design: Design,
    *,
    engine_name: str = DEFAULT_ENGINE,
    changes: Mapping[str, str] | None = None,
    profile: ReuseProfile | None = None,
    progress: Progress | None = None,
    keep_log: bool = False,
    fast_forward: bool = True,
    launch: str = STREAM,
) -> Result:
    """Run a kernel graph that a policy made of `trace`; what depends on the graph alone is kept with it."""
    program = lower(graph, design, prepare(graph, profile) if profile else graph.derived(prepare), launch)
    if progress:
        progress(f"{trace.name} on {design.name}, {graph.policy}", int(program.stage_counts().sum()))
    play = engine(engine_name)
    timeline = play(program, keep_log=keep_log, **({} if fast_forward else _without_fast_forward(play)))
    sums = tally(program)
    limits = bounds(program, design, sums)
    audit(program, timeline, limits, sums)
    return Result(
        trace=trace,
        design=design,
        graph=graph,
        program=program,
        timeline=timeline,
        tally=sums,
        bounds=limits,
        engine_name=engine_name,
        changes=dict(changes or {}),
        launch=launch,
    )


def _without_fast_forward(play: Engine) -> dict[str, bool]:
    """The switch, for an engine that has one; the others play every stage anyway."""
    return {"fast_forward": False} if "fast_forward" in signature(play).parameters else {}


def compare(
    trace: Trace,
    designs: Sequence[Design],
    fusion: Sequence[str | Policy] = ("eager", "inductor"),
    *,
    engine_name: str = DEFAULT_ENGINE,
    changes: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    keep_log: bool = False,
    fast_forward: bool = True,
    launch: str = STREAM,
    keep_peak: bool = False,
) -> Comparison:
    """Every design with every policy; the first is the baseline. The options are those of `simulate`."""
    return Comparison(
        simulate(
            trace, design, name, engine_name=engine_name, changes=changes, progress=progress, keep_log=keep_log,
            fast_forward=fast_forward, launch=launch, keep_peak=keep_peak,
        )
        for design in designs
        for name in fusion
    )  # fmt: skip
