"""What a capture from a model library runs: batch, sequence, phase, image size, element type, changed settings."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final

from hiersim.errors import TraceError

PHASES: Final = ("prefill", "decode")
DTYPES: Final = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Options of a capture; None is the library's or the model's own value."""

    batch: int | None = None
    """Sequences or images."""
    sequence: int | None = None
    """Tokens of a prefill, tokens in the KV cache of a decode step, samples or frames of sound."""
    phase: str | None = None
    """`prefill`: all tokens at once. `decode`: one token over a KV cache."""
    image: int | None = None
    """Pixels along each side."""
    dtype: str | None = None
    """`bf16`, `fp16` or `fp32`."""
    settings: tuple[tuple[str, str], ...] = ()
    """(key, value) pairs that replace values of the model's configuration."""

    def __post_init__(self) -> None:
        for name in ("batch", "sequence", "image"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise TraceError(f"--{name} is {value}", expected="at least 1")
        if self.phase is not None and self.phase not in PHASES:
            raise TraceError(f"'{self.phase}' is not a phase", expected=" or ".join(PHASES))
        if self.dtype is not None and self.dtype not in DTYPES:
            raise TraceError(f"'{self.dtype}' is not an element type of a capture", expected=", ".join(DTYPES))

    @property
    def torch_dtype(self) -> str:
        """Name of the element type in torch; bf16 unless it is given."""
        return DTYPES[self.dtype or "bf16"]

    def values(self) -> dict[str, Any]:
        """The changed settings; a value is JSON where it reads as such, else text."""
        return {key: _value(text) for key, text in self.settings}

    def options(self) -> str:
        """The command-line options that give this workload."""
        words: list[str] = []
        for name in ("batch", "sequence", "phase", "image", "dtype"):
            if getattr(self, name) is not None:
                words += [f"--{name}", str(getattr(self, name))]
        for key, text in self.settings:
            words += ["--config", f"{key}={text}"]
        return shlex.join(words)

    def to_json(self) -> str:
        """The workload as text, for another process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Workload:
        """The workload that `to_json` wrote."""
        found = json.loads(text)
        return cls(**{**found, "settings": tuple((key, value) for key, value in found["settings"])})


def settings_of(pairs: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """`KEY=VALUE` texts as pairs.

    Raises
    ------
    TraceError
        A text has no '='.
    """
    split = [pair.partition("=") for pair in pairs]
    for key, sign, text in split:
        if not key or not sign:
            raise TraceError(
                f"--config '{key}{sign}{text}' is no setting", expected="KEY=VALUE, as num_hidden_layers=2"
            )
    return tuple((key, text) for key, _, text in split)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


PLAIN: Final = Workload()
"""No option given."""
