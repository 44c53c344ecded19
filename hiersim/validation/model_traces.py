"""Which trace stands for a measured model: the bundled one, or one that the user captured from the same target."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from hiersim import bundled, zoo
from hiersim.frontends.load import load_trace
from hiersim.frontends.measured import Case
from hiersim.model.trace import Trace

CAPTURE: Final = ["hiersim", "capture", "torch"]
_OWN: Final = ("--mode", "--shapes", "-o")
"""Options of a capture that say how it is recorded, not what."""


class ModelTraces:
    """Traces by the target that was measured.

    Parameters
    ----------
    given : traces or paths
        Captured by the user. Where several have one target, the one with a captured schedule counts, else the first.

    Raises
    ------
    TraceError
        A file is no trace.
    """

    def __init__(self, given: Iterable[Trace | str | os.PathLike[str]] = ()) -> None:
        traces = [item if isinstance(item, Trace) else load_trace(os.fspath(item)) for item in given]
        self._by_target: dict[str, Trace] = {}
        for trace in sorted(traces, key=lambda trace: not trace.schedules):
            for name in _names(trace):
                self._by_target.setdefault(name, trace)

    def of(self, case: Case) -> tuple[Trace | None, str]:
        """The trace of a measured model, or None and why not."""
        found = self._by_target.get(target_key(case.name))
        builder = None if found else zoo.BUILDERS.get(case.name)
        if builder is not None and case.name in bundled.traces():
            if (case.dtype, case.train) != (builder.dtype, builder.train):
                return None, f"{_how(case)}, which the bundled trace is not"
            return load_trace(case.name), ""
        if found is None:
            return None, "its trace is neither bundled nor given with --trace"
        captured = captured_target(found)
        if captured is not None and (captured.train != case.train or found.header.dtype not in ("", case.dtype)):
            return None, f"{_how(case)}, which the given trace is not"
        return found, ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturedTarget:
    """What a capture recorded."""

    name: str
    """The target, and the options that choose its workload, as a measured model is called."""
    train: bool


def captured_target(trace: Trace) -> CapturedTarget | None:
    """What the command in a trace's header captured; None for a trace of other origin."""
    try:
        words = shlex.split(trace.header.command)
    except ValueError:
        return None
    if words[:3] != CAPTURE or len(words) < 4:
        return None
    kept: list[str] = []
    rest = iter(words[3:])
    for word in rest:
        if word in _OWN:
            next(rest, None)
        elif word != "--train":
            kept.append(word)
    return CapturedTarget(name=shlex.join(kept), train="--train" in words)


def target_key(name: str) -> str:
    """A target as the name of its trace has it: `package.module:function` becomes `package.module.function`."""
    return name.replace(":", ".")


def _names(trace: Trace) -> list[str]:
    captured = captured_target(trace)
    names = (captured.name if captured else "", trace.name, trace.header.model)
    return [target_key(name) for name in names if name]


def _how(case: Case) -> str:
    return f"measured in {case.dtype}{', training' if case.train else ''}"
