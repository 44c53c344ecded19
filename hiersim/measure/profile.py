"""What a profile says: kernels in launch order, who launched each, and the calls of operators on a CPU.

Reads the Chrome trace that `torch.profiler` (Kineto) exports, whose form has long been stable: its events `kernel`,
`gpu_memset` and `gpu_memcpy` carry the `correlation` of the runtime call that launched them; that call lies in time
inside the operator (`cpu_op`) and the annotation (`user_annotation`) that made it, on the same thread.
"""

from __future__ import annotations

import gzip
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hiersim.errors import MeasurementError

DEVICE: Final = ("kernel", "gpu_memset", "gpu_memcpy")
CALLS: Final = ("cuda_runtime", "cuda_driver")


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """One thing that ran: a kernel, copy or fill on a device, or the own time of an operator on a CPU."""

    name: str
    seconds: float
    start_s: float
    """On the profile's clock."""
    operator: str = ""
    """Innermost operator that launched it, where the profile knows."""
    launcher: str = ""
    """The runtime's call that launched it: `cudaLaunchKernel`, `cudaGraphLaunch`."""
    mark: int = -1
    """Index of the annotation inside which it was launched, in order of time; -1: outside of all."""
    grid: tuple[int, ...] = ()
    block: tuple[int, ...] = ()


def export(session: Any) -> list[dict[str, Any]]:
    """Events of a finished `torch.profiler.profile`."""
    with tempfile.TemporaryDirectory(prefix="hiersim-") as folder:
        path = Path(folder) / "profile.json"
        session.export_chrome_trace(str(path))
        return read_events(path)


def read_events(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Complete events (`"ph": "X"`) of a Chrome trace, plain or gzip."""
    packed = str(path).endswith(".gz")
    with gzip.open(path, "rb") if packed else open(path, "rb") as stream:
        text = stream.read().decode("utf-8", "replace")
    try:
        events = json.loads(text, strict=False)["traceEvents"]
        return [event for event in events if event.get("ph") == "X" and "dur" in event]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise MeasurementError("is not a profile", file=str(path), expected='{"traceEvents": […]}') from None


def on_device(events: Sequence[Mapping[str, Any]], mark: str = "") -> list[Launched]:
    """Kernels, fills and copies of the device in launch order; `mark` is the name of annotations to look for."""
    calls = {event["args"]["correlation"]: event for event in events if event.get("cat") in CALLS and _linked(event)}
    nest = _Nest([event for event in events if event.get("cat") == "cpu_op"])
    marks = _Nest([event for event in events if event.get("cat") == "user_annotation" and event["name"] == mark])
    device = [event for event in events if event.get("cat") in DEVICE and _linked(event)]
    device.sort(key=lambda event: (event["args"]["correlation"], event["ts"]))  # one replay has one correlation
    found = []
    for event in device:
        call = calls.get(event["args"]["correlation"])
        inside = nest.innermost(call) if call else -1
        found.append(
            Launched(
                name=event["name"],
                seconds=event["dur"] * 1e-6,
                start_s=event["ts"] * 1e-6,
                operator=nest.events[inside]["name"] if inside >= 0 else "",
                launcher=call["name"] if call else "",
                mark=marks.any_thread(call) if call else -1,
                grid=tuple(event["args"].get("grid", ())),
                block=tuple(event["args"].get("block", ())),
            )
        )
    return found


def on_host(events: Sequence[Mapping[str, Any]], mark: str) -> list[Launched]:
    """Own time of every operator inside an annotation, in order of their starts: the whole less what it called."""
    nest = _Nest([event for event in events if event.get("cat") == "cpu_op"])
    marks = _Nest([event for event in events if event.get("cat") == "user_annotation" and event["name"] == mark])
    own = [float(event["dur"]) for event in nest.events]
    for index, parent in enumerate(nest.parents):
        if parent >= 0:
            own[parent] -= nest.events[index]["dur"]
    found = []
    for event, microseconds in zip(nest.events, own, strict=True):
        inside = marks.any_thread(event)
        if inside >= 0:
            found.append(
                Launched(
                    name=event["name"], seconds=max(microseconds, 0.0) * 1e-6, start_s=event["ts"] * 1e-6,
                    operator=event["name"], mark=inside,
                )
            )  # fmt: skip
    return sorted(found, key=lambda launched: launched.start_s)


def _linked(event: Mapping[str, Any]) -> bool:
    return "correlation" in event.get("args", {})


class _Nest:
    """Intervals of each thread, which nest as calls do."""

    def __init__(self, events: list[Mapping[str, Any]]) -> None:
        self.events = sorted(events, key=lambda event: (event["ts"], -event["dur"]))
        self.parents: list[int] = []
        self._threads: dict[Any, list[int]] = {}
        self._starts: dict[Any, list[float]] = {}
        stacks: dict[Any, list[int]] = {}
        for index, event in enumerate(self.events):
            thread = event.get("tid")
            stack = stacks.setdefault(thread, [])
            while stack and _end(self.events[stack[-1]]) <= event["ts"]:
                stack.pop()
            self.parents.append(stack[-1] if stack else -1)
            stack.append(index)
            self._threads.setdefault(thread, []).append(index)
            self._starts.setdefault(thread, []).append(event["ts"])

    def innermost(self, event: Mapping[str, Any]) -> int:
        """Index of the innermost interval of the event's thread that holds its start; -1: none."""
        return self._within(event.get("tid"), event["ts"])

    def any_thread(self, event: Mapping[str, Any]) -> int:
        """As `innermost`, on any thread: a backward pass runs on threads of its own."""
        return max((self._within(thread, event["ts"]) for thread in self._threads), default=-1)

    def _within(self, thread: Any, time: float) -> int:
        from bisect import bisect_right

        at = bisect_right(self._starts.get(thread, []), time) - 1
        index = self._threads[thread][at] if at >= 0 else -1
        while index >= 0 and _end(self.events[index]) < time:
            index = self.parents[index]
        return index


def _end(event: Mapping[str, Any]) -> float:
    end: float = event["ts"] + event["dur"]
    return end
