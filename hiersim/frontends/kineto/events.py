"""The events of a profile that matter: operators on the host, launches, and what ran on the device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

from hiersim.errors import TraceError
from hiersim.frontends.json_stream import elements
from hiersim.model.profile import Activity

WANTED: Final = "the Chrome JSON that the PyTorch profiler exports"
MAX_KEPT: Final = 1_500_000
MAX_MICROSECONDS: Final = 10**17
TICKS_PER_MICROSECOND: Final = 10**6
_OPERATOR: Final = ("cpu_op", "operator", "user_annotation")
_LAUNCH: Final = (
    "cuda_runtime",
    "cuda_driver",
    "runtime",
    "driver",
    "hip_runtime",
    "xpu_runtime",
    "privateuse1_runtime",
)
_DEVICE: Final[Mapping[str, Activity]] = {
    "kernel": Activity.KERNEL, "gpu_memcpy": Activity.MEMCPY, "memcpy": Activity.MEMCPY,
    "gpu_memset": Activity.MEMSET, "memset": Activity.MEMSET,
}  # fmt: skip


@dataclass(slots=True)
class HostOp:
    """An operator (or annotation) on a host thread."""

    name: str
    start: int
    end: int
    dims: tuple[Any, ...] = ()
    """`Input Dims`: sides of each argument, lists of sides for lists of tensors."""
    types: tuple[Any, ...] = ()
    """`Input type`: names of element types, `TensorList` for lists."""
    values: tuple[Any, ...] = ()
    """`Concrete Inputs`: texts of the arguments that are no tensors."""
    parent: HostOp | None = None
    module: bool = False


@dataclass(frozen=True, slots=True)
class DeviceEvent:
    """A kernel, copy or fill on the device; times in ticks from an arbitrary start."""

    name: str
    activity: Activity
    start: int
    duration: int
    device: int
    stream: int
    correlation: int
    external: int
    size: int
    """Bytes that a copy or fill moves; 0 for kernels."""


@dataclass(slots=True)
class Profile:
    """All of one file."""

    head: dict[str, Any] = field(default_factory=dict)
    threads: dict[str, list[HostOp]] = field(default_factory=dict)
    launches: dict[int, tuple[str, int]] = field(default_factory=dict)
    """Correlation id -> thread and time of the call that launched it."""
    launches_by_external: dict[int, tuple[str, int]] = field(default_factory=dict)
    """External id -> the same, of calls that have no correlation id (profiles of ROCm, cut down ones)."""
    device: list[DeviceEvent] = field(default_factory=list)
    by_external: dict[int, HostOp] = field(default_factory=dict)
    on_host: list[HostOp] = field(default_factory=list)
    """The operator behind each event of `device`, where the profile is one of a processor alone."""
    total: int = 0
    shapes: bool = False
    launched: bool = False
    """Whether the host called a device's runtime."""


def read_profile(path: Path, file: str) -> Profile:
    """Everything that matters in a profile.

    Raises
    ------
    TraceError
        Not a profile, cut off, or times that are no times.
    """
    profile, kept = Profile(), 0
    for event in elements(path, file, profile.head, ("traceEvents",), WANTED):
        profile.total += 1
        category = event.get("cat")
        if event.get("ph") != "X" or not isinstance(category, str):
            continue
        category, args = category.lower(), event.get("args")
        try:
            kept += _take(profile, category, event, args if isinstance(args, dict) else {})
        except (TypeError, ValueError, ArithmeticError, InvalidOperation) as error:
            raise TraceError(
                f"is no event of a profiler: {error}", file=file, key=f"traceEvents[{profile.total - 1}]",
                expected="ts and dur in microseconds, whole ids",
            ) from None  # fmt: skip
        if kept > MAX_KEPT:
            raise TraceError("has too many events", file=file, expected=f"at most {MAX_KEPT} operators and kernels")
    return profile


def _take(profile: Profile, category: str, event: Mapping[str, Any], args: Mapping[str, Any]) -> int:
    """Keep one event; 1 where it was kept."""
    if category in _DEVICE:
        profile.device.append(_device_event(category, event, args))
    elif category.endswith(("runtime", "driver")):
        profile.launched = True
        if category not in _LAUNCH:
            return 0
        correlation, external = _whole(args.get("correlation")), _external(args)
        call = (str(event.get("tid")), _ticks(event.get("ts")))
        if correlation >= 0:
            profile.launches[correlation] = call
        elif external >= 0:
            profile.launches_by_external.setdefault(external, call)
        else:
            return 0
    elif category in _OPERATOR or (category == "python_function" and _is_module(event)):
        _host_op(profile, category, event, args)
    else:
        return 0
    return 1


def _is_module(event: Mapping[str, Any]) -> bool:
    name = event.get("name")
    return isinstance(name, str) and name.startswith("nn.Module: ")


def _host_op(profile: Profile, category: str, event: Mapping[str, Any], args: Mapping[str, Any]) -> None:
    start = _ticks(event.get("ts"))
    operator = HostOp(
        name=str(event.get("name", ""))[:400], start=start, end=start + _ticks(event.get("dur", 0)),
        dims=_tuple(args.get("Input Dims")), types=tuple(map(str, _tuple(args.get("Input type")))),
        values=_tuple(args.get("Concrete Inputs")), module=category == "python_function",
    )  # fmt: skip
    profile.shapes = profile.shapes or any(operator.dims)
    profile.threads.setdefault(str(event.get("tid")), []).append(operator)
    external = _external(args)
    if external >= 0 and category != "user_annotation":
        profile.by_external.setdefault(external, operator)


def _device_event(category: str, event: Mapping[str, Any], args: Mapping[str, Any]) -> DeviceEvent:
    device, size = _whole(args.get("device")), _whole(args.get("bytes"))
    stream = args.get("stream", args.get("sycl queue", event.get("tid")))
    return DeviceEvent(
        name=str(event.get("name", ""))[:400], activity=_DEVICE[category], start=_ticks(event.get("ts")),
        duration=_ticks(event.get("dur", 0)), device=device, stream=_whole(stream),
        correlation=_whole(args.get("correlation")), size=max(0, size),
        external=_external(args),
    )  # fmt: skip


def _ticks(value: Any) -> int:
    """Microseconds as ticks, exactly to the picosecond."""
    number = Decimal(value) if isinstance(value, str) else value
    if isinstance(number, bool) or not isinstance(number, int | Decimal):
        raise ValueError(f"a time is {str(value)[:40]}")
    if not 0 <= number < MAX_MICROSECONDS:
        raise ValueError(f"a time is {str(value)[:40]} microseconds")
    return int(number * TICKS_PER_MICROSECOND)


def _external(args: Mapping[str, Any]) -> int:
    return _whole(args.get("External id", args.get("external id")))


def _whole(value: Any) -> int:
    """An id; -1 where there is none (texts such as `stream 7` count by their last word)."""
    if isinstance(value, str):
        value = value.rpartition(" ")[2]
        value = int(value) if value.isascii() and value.isdigit() and len(value) < 19 else None
    if isinstance(value, Decimal):
        value = int(value) if value == value.to_integral_value() and abs(value) < 2**62 else None
    if isinstance(value, bool) or not isinstance(value, int) or not -1 <= value < 2**62:
        return -1
    return value


def _tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list) else ()


def innermost(profile: Profile, file: str) -> Iterator[tuple[DeviceEvent, HostOp | None, int]]:
    """Each device event with the innermost operator around its launch, and when the host issued it."""
    if profile.on_host:
        yield from ((event, run, run.start) for event, run in zip(profile.device, profile.on_host, strict=True))
        return
    wanted: dict[str, list[tuple[int, int]]] = {}
    for index, event in enumerate(profile.device):
        launch = _launch(profile, event)
        if launch is not None:
            wanted.setdefault(launch[0], []).append((launch[1], index))
    found: dict[int, tuple[HostOp | None, int]] = {}
    for thread, operators in profile.threads.items():
        for (time, index), operator in _around(operators, sorted(wanted.pop(thread, []))):
            found[index] = (operator, time)
    for index, event in enumerate(profile.device):
        operator, time = found.get(index, (None, -1))
        if operator is None:
            operator = profile.by_external.get(event.external)
        if time < 0:
            launch = _launch(profile, event)
            time = launch[1] if launch is not None else operator.start if operator else event.start
        yield event, operator, time


def _launch(profile: Profile, event: DeviceEvent) -> tuple[str, int] | None:
    """Thread and time of the call that launched an event."""
    if event.correlation >= 0:
        return profile.launches.get(event.correlation)
    return profile.launches_by_external.get(event.external) if event.external >= 0 else None


def nest(operators: list[HostOp]) -> None:
    """Put operators of one thread in order of start, and give each the one around it."""
    for _ in _around(operators, []):
        pass


def _around(operators: list[HostOp], times: list[tuple[int, int]]) -> Iterator[tuple[tuple[int, int], HostOp | None]]:
    """Operators of one thread nest: the innermost that is open at each time; parents are set on the way."""
    operators.sort(key=lambda operator: (operator.start, -operator.end))
    stack: list[HostOp] = []
    position = 0
    for operator in operators:
        while position < len(times) and times[position][0] < operator.start:
            yield times[position], _open(stack, times[position][0])
            position += 1
        _open(stack, operator.start, operator.end)
        operator.parent = stack[-1] if stack else None
        stack.append(operator)
    while position < len(times):
        yield times[position], _open(stack, times[position][0])
        position += 1


def _open(stack: list[HostOp], time: int, end: int | None = None) -> HostOp | None:
    """Close what ended before `time` (or cannot hold an operator that ends at `end`); the top that is left."""
    while stack and (stack[-1].end < time or (end is not None and stack[-1].end < end)):
        stack.pop()
    return stack[-1] if stack else None
