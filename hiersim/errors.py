"""One exception tree with structured fields.

Every error a user can cause is one line: where it is, what is wrong, what was expected. The command
line prints it and exits with `exit_code`: 2 when the input is wrong, 1 when a sound input cannot be
carried out (a model that does not fit, a law that does not hold).
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Sequence

MAX_LINE = 400
MAX_PLACE = 200
MAX_CHOICES = 2000
"""Names that are compared for a hint: comparing is slow, and a hostile file may hold a million."""


class HiersimError(Exception):
    """Base of all errors that hiersim raises on purpose.

    Parameters
    ----------
    problem : str
        What is wrong, in one line.
    file : str, optional
        The file that was read, as the user named it.
    line : int, optional
        Line in that file, from 1.
    key : str, optional
        Dotted path of the value inside the file (`memory.l2.capacity`).
    expected : str, optional
        What would have been right: a unit, a range, the nearest valid name.
    """

    exit_code = 2

    def __init__(
        self,
        problem: str,
        *,
        file: str | None = None,
        line: int | None = None,
        key: str | None = None,
        expected: str | None = None,
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.file = file
        self.line = line
        self.key = key
        self.expected = expected

    def __str__(self) -> str:
        place = self.file or ""
        if self.line is not None:
            place += f":{self.line}"
        parts = [part if len(part) <= MAX_PLACE else f"…{part[-MAX_PLACE:]}" for part in (place, self.key) if part]
        text = ": ".join([*parts, self.problem])
        if self.expected:
            text += f" (expected {self.expected})"
        return one_line(text)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.problem, dict(self.__dict__)))


class DesignError(HiersimError):
    """A design that cannot be read or makes no sense. `others` holds further faults of the same file."""

    def __init__(self, problem: str, *, others: Sequence[HiersimError] = (), **place: object) -> None:
        super().__init__(problem, **place)  # type: ignore[arg-type]
        self.others = tuple(others)


class TraceError(HiersimError):
    """A trace that cannot be read or contradicts itself."""


class MeasurementError(HiersimError):
    """A file of measured times that cannot be read, or a measurement that cannot be made here."""


class UnitError(HiersimError):
    """A quantity without a unit, with the wrong unit, or outside its range."""


class FusionError(HiersimError):
    """An unknown policy, or a partition that breaks a law of fusion."""


class CapacityError(HiersimError):
    """What must be held does not fit. Names the tier, the tensors and the missing bytes."""

    exit_code = 1


class TargetError(HiersimError):
    """No design that was tried does what was asked for. Names the one that comes nearest."""

    exit_code = 1


class SimulationError(HiersimError):
    """A law of the simulator was broken: a fault of hiersim, never of its user."""

    exit_code = 1


class MissingExtraError(HiersimError):
    """A feature needs a package that is not installed. Names the command that installs it."""

    def __init__(self, feature: str, package: str, extra: str) -> None:
        command = f'pip install "hiersim[{extra}]", or in a checkout pip install -e ".[{extra}]"'
        super().__init__(f"{feature} needs {package}; run: {command}")

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (HiersimError, self.problem, dict(self.__dict__)))


def _rebuild(kind: type[HiersimError], problem: str, fields: dict[str, object]) -> HiersimError:
    """Unpickle across process borders with every field kept."""
    error = kind(problem)
    error.__dict__.update(fields)
    return error


def one_line(text: str) -> str:
    """`text` without line breaks or control characters, cut to a readable length."""
    flat = text if text.isprintable() else "".join(ch if ch.isprintable() else " " for ch in text)
    flat = " ".join(flat.split())
    return flat if len(flat) <= MAX_LINE else flat[: MAX_LINE - 1] + "…"


def nearest(name: str, valid: Iterable[str]) -> str:
    """The hint for a mistyped name: the closest valid one, or the list of all."""
    from difflib import get_close_matches  # only mistakes pay for it

    name, choices = name[:MAX_PLACE], sorted(valid)
    if len(choices) > MAX_CHOICES:
        at = bisect(choices, name)  # those around it begin alike
        choices = choices[max(0, at - MAX_CHOICES // 2) : at + MAX_CHOICES // 2]
    last = name.rpartition(".")[2]
    begins = [choice for choice in choices if len(last) > 1 and choice.rpartition(".")[2].startswith(last)]
    begins.sort(key=len)
    close = (
        get_close_matches(name, choices, n=1, cutoff=0.9) or begins or get_close_matches(name, choices, n=1, cutoff=0.6)
    )
    if close:
        return f"'{close[0]}'"
    shown = ", ".join(choices[:12])
    return f"one of {shown}" + (", …" if len(choices) > 12 else "") if choices else "nothing here"
