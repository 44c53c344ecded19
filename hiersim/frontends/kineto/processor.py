"""A profile of a processor alone: its operators are what ran, each for as long as the host was in it.

The outermost operator that a cost rule speaks about is one kernel, with all that it calls; so is the outermost of
those that no rule knows. A thread is a stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from hiersim.errors import TraceError
from hiersim.frontends import aten
from hiersim.frontends.kineto.calls import known, ruled
from hiersim.frontends.kineto.events import DeviceEvent, HostOp, Profile, nest
from hiersim.model.profile import Activity

DEVICE: Final = "CPU"
_NO_WORK: Final = ("autograd::", "torch::autograd::", "profiler::")
"""Names of what surrounds operators."""


def take_processor(profile: Profile, file: str) -> None:
    """Let the host's operators be what ran on the device, in place.

    Raises
    ------
    TraceError
        There are none, or they launched work on a device of which the profile tells nothing.
    """
    if not profile.launched:
        for stream, (_, operators) in enumerate(sorted(profile.threads.items())):
            nest(operators)
            for operator in _outermost(operators, profile.shapes):
                profile.on_host.append(operator)
                profile.device.append(_event(operator, stream))
    if not profile.device:
        raise TraceError(
            "holds no kernels of a device", file=file,
            expected="a profile with ProfilerActivity.CUDA (or the device's), or of a CPU, exported as Chrome JSON",
        )  # fmt: skip


def _event(operator: HostOp, stream: int) -> DeviceEvent:
    return DeviceEvent(
        name=operator.name, activity=Activity.KERNEL, start=operator.start, duration=operator.end - operator.start,
        device=0, stream=stream, correlation=-1, external=-1, size=0,
    )  # fmt: skip


def _outermost(operators: list[HostOp], shapes: bool) -> Iterator[HostOp]:
    """What does work on one thread, in order of start; nothing twice.

    Where the profile has shapes, an operator without them is passed over for those inside it.
    """
    covered: set[int] = set()
    around: set[int] = set()
    """Operators that work is inside of."""
    working: list[HostOp] = []
    for operator in operators:
        if operator.parent is not None and id(operator.parent) in covered:
            covered.add(id(operator))
        elif (known(operator) if shapes else ruled(operator.name)) and not _moves_nothing(operator.name):
            covered.add(id(operator))
            working.append(operator)
            outer = operator.parent
            while outer is not None and id(outer) not in around:
                around.add(id(outer))
                outer = outer.parent
    for operator in operators:
        if id(operator) in covered or id(operator) in around:
            continue
        if operator.parent is not None and id(operator.parent) in covered:
            covered.add(id(operator))
        elif _unknown(operator):
            covered.add(id(operator))
            working.append(operator)
    yield from sorted(working, key=lambda operator: (operator.start, -operator.end))


def _moves_nothing(name: str) -> bool:
    packet = aten.functional(name)
    return packet in aten.VIEWS or packet in aten.NOT_OPERATORS


def _unknown(operator: HostOp) -> bool:
    """An operator without a rule, and no annotation."""
    name = operator.name
    return "::" in name and not operator.module and not name.startswith(_NO_WORK) and not _moves_nothing(name)
