"""A sweep before it is run: inputs read, every value checked, and the record that says what it is."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from hiersim import bundled
from hiersim.config.load import load_design
from hiersim.errors import HiersimError
from hiersim.frontends.load import load_trace
from hiersim.frontends.variants.variant import variant as variant_of
from hiersim.fusion.marks import is_of_trace_alone
from hiersim.fusion.registry import policy
from hiersim.lowering.host import STREAM, check_launch
from hiersim.model.design import Design
from hiersim.model.trace import Trace
from hiersim.provenance import design_sha256, trace_sha256
from hiersim.run import engine, kernels_of
from hiersim.sweeps.axes import FUSION, LAUNCH, WORKLOAD, grid_of_sweep
from hiersim.sweeps.folder import difference, read_manifest
from hiersim.sweeps.grid import plain_grid
from hiersim.sweeps.job import Bench, Job
from hiersim.sweeps.spec import EAGER, Spec, spec_of
from hiersim.version import __version__

FORMAT: Final = 1
"""Version of folders and files of sweeps."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """A checked sweep."""

    spec: Spec
    job: Job
    about: Mapping[str, Any]
    """What is run, in plain values: two sweeps of which it is equal have equal results."""
    sources: Mapping[str, Mapping[str, str | None]]
    """Where traces and designs were read, by name; None where they came from Python."""

    @property
    def manifest(self) -> dict[str, Any]:
        """What a folder keeps."""
        return {"sweep": self.about, "sources": self.sources}


class _Input(NamedTuple):
    """A trace or a design, and where it was read."""

    value: Any
    source: str | None


def planned(spec: Spec, traces: Sequence[Any] | None = None, designs: Sequence[Any] | None = None) -> Plan:
    """The checked sweep of a spec.

    Parameters
    ----------
    spec : Spec
        What to run.
    traces, designs : sequence, optional
        Those of `spec`, some of them as values instead of names.

    Raises
    ------
    HiersimError
        Everything that can be found wrong before something is run.
    """
    check_launch(spec.launch)
    engine(spec.engine)
    _check_once(spec)
    machines = [_design(item, spec.changes) for item in _once(designs or spec.designs, "design")]
    loaded = [_trace(item, spec.variant) for item in _once(traces or spec.traces, "trace")]
    job = Job(
        traces=tuple(item.value for item in loaded),
        designs=tuple(item.value for item in machines),
        grid=grid_of_sweep([i.value for i in loaded], [i.value for i in machines], spec.fusion, spec.vary),
        changes=spec.changes,
        launch=spec.launch,
        engine=spec.engine,
    )
    _check_ends(job)
    sources = {
        "traces": {item.value.name: _source(item, bundled.traces()) for item in loaded},
        "designs": {item.value.name: _source(item, bundled.designs()) for item in machines},
    }
    return Plan(spec=spec, job=job, about=_about(spec, job), sources=sources)


def _about(spec: Spec, job: Job) -> dict[str, Any]:
    about = {
        "format": FORMAT,
        "version": __version__,
        "traces": {trace.name: trace_sha256(trace) for trace in job.traces},
        "designs": {design.name: _about_design(design) for design in job.designs},
        "set": dict(spec.changes),
        "variant": dict(spec.variant),
        "launch": spec.launch,
        "engine": spec.engine,
        "grid": plain_grid(job.grid),
    }
    plain: dict[str, Any] = json.loads(json.dumps(about))
    return plain


def _about_design(design: Design) -> dict[str, Any]:
    """Its hash, its last tier, and its tiers and links, nearest first."""
    places = [place.name for place in design.places]
    return {"sha256": design_sha256(design), "home": design.home.name, "places": places}


def _once(items: Sequence[Any], what: str) -> Sequence[Any]:
    names = [str(item) for item in items if isinstance(item, str | Path)]
    for name in names:
        if names.count(name) > 1:
            raise HiersimError(f"'{name}' is there twice", key=what, expected=f"each {what} once")
    return items


def _design(item: Any, changes: Mapping[str, str]) -> _Input:
    named = isinstance(item, str | Path)
    design: Design = load_design(item) if named else item
    try:
        return _Input(design.replace(changes) if changes else design, str(item) if named else None)
    except HiersimError as error:
        raise HiersimError(
            error.problem, file=f"set on {design.name}", key=error.key, expected=error.expected
        ) from None


def _trace(item: Any, variant: Mapping[str, Any]) -> _Input:
    named = isinstance(item, str | Path)
    trace: Trace = load_trace(item) if named else item
    return _Input(variant_of(trace, **variant) if variant else trace, str(item) if named else None)


def _source(item: _Input, known: Iterable[str]) -> str | None:
    """A bundled name, or an absolute path. A value that has a bundled name may be that one: its hash tells."""
    if item.source is None:
        name = str(item.value.name).partition("[")[0]
        return name if name in known else None
    return item.source if item.source in known or not os.path.exists(item.source) else os.path.abspath(item.source)


def _check_once(spec: Spec) -> None:
    """What is varied is not fixed as well."""
    fixed = {*spec.changes, *spec.variant}
    fixed |= {FUSION} if spec.fusion != EAGER else set()
    fixed |= {LAUNCH} if spec.launch != STREAM else set()
    for dimension in spec.vary:
        for name in dimension:
            if name in fixed:
                raise HiersimError("is set and varied", key=name, expected="one of the two")


def _check_ends(job: Job) -> None:
    """The ends of every axis make designs and variants that make sense; policies know the traces."""
    bench = Bench(job)
    axes = {axis.name: axis for axis in job.grid.axes}
    for point in job.grid.ends():
        bench.design(point)
        if not axes.keys().isdisjoint(WORKLOAD):
            bench.trace(point)
    for trace in job.traces:
        for name in axes[FUSION].given:
            carried = name in trace.groupings or name in trace.schedules
            if not carried and is_of_trace_alone(policy(name)):
                kernels_of(trace, job.designs[0], name)


def resumed(path: Path) -> Plan:
    """The sweep that was begun in a folder.

    Raises
    ------
    HiersimError
        No sweep there, or its inputs, or hiersim, are others than when it was begun.
    """
    manifest = read_manifest(path)
    plan = planned(spec_of(manifest, path))
    if plan.about != manifest["sweep"]:
        what = difference(manifest["sweep"], plan.about)
        raise HiersimError(
            f"was begun otherwise: {what}", file=str(path), expected="the same inputs, or another folder"
        )
    return replace(plan, sources=manifest.get("sources", plan.sources))
