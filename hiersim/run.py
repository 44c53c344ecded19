"""The road from front to back: trace and design in, result out. Pure: no files, no output, no globals."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from importlib.metadata import PackageNotFoundError, entry_points, version
from typing import Any, Final

import numpy as np

from hiersim.audit import audit
from hiersim.bounds import bounds
from hiersim.errors import HiersimError, nearest
from hiersim.fusion.registry import policy
from hiersim.lowering.lower import lower
from hiersim.lowering.residency import ReuseProfile, profile_reuse
from hiersim.model.design import Design
from hiersim.model.kernels import KernelGraph
from hiersim.model.timeline import Timeline
from hiersim.model.trace import Trace
from hiersim.results import Result

Engine = Callable[..., Timeline]
Progress = Callable[[str, int], None]
DEFAULT_ENGINE: Final = "reference"


@cache
def engines() -> dict[str, Engine]:
    """Engines by name, from the entry points `hiersim.engines` and the built-in one."""
    from hiersim.engines import reference

    found: dict[str, Engine] = {reference.NAME: reference.simulate}
    for point in entry_points(group="hiersim.engines"):
        if point.name not in found:
            found[point.name] = point.load()
    return found


def engine(name: str) -> Engine:
    """The engine of that name."""
    found = engines()
    if name not in found:
        raise HiersimError(f"'{name}' is not an engine", expected=nearest(name, found))
    return found[name]


@cache
def package_version() -> str:
    """Version of the installed package."""
    try:
        return version("hiersim")
    except PackageNotFoundError:
        return "0+unknown"


def simulate(
    trace: Trace,
    design: Design,
    fusion: str = "eager",
    *,
    engine_name: str = DEFAULT_ENGINE,
    changes: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Result:
    """Replay `trace` on `design`.

    Parameters
    ----------
    trace : Trace
        The model run.
    design : Design
        The machine; `changes` are already in it and only recorded.
    fusion : str
        Name of a fusion policy: `eager`, `inductor`, …
    engine_name : str
        Name of an engine.
    progress : callable, optional
        Told before the engine runs: what, and how many stages it will play.

    Raises
    ------
    CapacityError
        When the model does not fit.
    FusionError
        Unknown policy, or a trace without the captured schedule.
    SimulationError
        When a law of the simulator is broken.
    """
    graph = policy(fusion)(trace, design)
    return replay(trace, graph, design, engine_name=engine_name, changes=changes, progress=progress)


def replay(
    trace: Trace,
    graph: KernelGraph,
    design: Design,
    *,
    engine_name: str = DEFAULT_ENGINE,
    changes: Mapping[str, str] | None = None,
    profile: ReuseProfile | None = None,
    progress: Progress | None = None,
) -> Result:
    """Run a kernel graph that a policy made of `trace`; `profile` may be reused between designs."""
    program = lower(graph, design, profile or profile_reuse(graph))
    if progress:
        progress(f"{trace.name} on {design.name}, {graph.policy}", int(program.stage_counts().sum()))
    timeline = engine(engine_name)(program, keep_log=True)
    limits = bounds(program, design)
    audit(program, timeline, limits)
    return Result(
        trace=trace,
        design=design,
        graph=graph,
        program=program,
        timeline=timeline,
        bounds=limits,
        version=package_version(),
        inputs_sha256=fingerprint(trace, design, graph.policy),
        changes=dict(changes or {}),
    )


def compare(
    trace: Trace,
    designs: Sequence[Design],
    fusion: Sequence[str] = ("eager", "inductor"),
    *,
    engine_name: str = DEFAULT_ENGINE,
    changes: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> list[Result]:
    """Every design with every policy; the first is the baseline."""
    return [
        simulate(trace, design, name, engine_name=engine_name, changes=changes, progress=progress)
        for design in designs
        for name in fusion
    ]


def fingerprint(trace: Trace, design: Design, fusion: str) -> str:
    """SHA-256 of everything that decides a result."""
    digest = hashlib.sha256()
    _feed(digest, trace)
    digest.update(json.dumps(plain(design), sort_keys=True).encode())
    digest.update(fusion.encode())
    digest.update(package_version().encode())
    return digest.hexdigest()


def _feed(digest: Any, value: Any) -> None:
    """Hash nested dataclasses, tables and columns, field by field."""
    if isinstance(value, np.ndarray):
        digest.update(np.ascontiguousarray(value, dtype="<i8").tobytes())
    elif is_dataclass(value):
        for item in fields(value):
            digest.update(item.name.encode() + b"\0")
            _feed(digest, getattr(value, item.name))
    elif isinstance(value, Mapping):
        for key in sorted(value):
            digest.update(str(key).encode() + b"\0")
            _feed(digest, value[key])
    else:
        digest.update(repr(value).encode() + b"\0")


def plain(value: Any) -> Any:
    """A design as nested tables of plain values (base units), in the order of its fields."""
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Enum):
        return value.name.lower()
    if isinstance(value, Mapping):
        return {plain(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [plain(entry) for entry in value]
    return value
