"""How many tokens, images or steps one run of a trace is, so that its price can be one per token."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from hiersim.model.trace import Trace


class Work(NamedTuple):
    """What one run gives."""

    items: int
    unit: str
    """`tokens`, `images` or, where the trace does not say, `runs`."""


RUN: Final = Work(1, "runs")
_TOKENS: Final = re.compile(r"(\d+) x (\d+) tokens?\b")
_IMAGES: Final = re.compile(r"(\d+) images\b")


def work_of(trace: Trace) -> Work:
    """Tokens or images of one run, as the header of the trace has them in words: `4 x 1024 tokens, prefill`."""
    words = trace.header.workload
    if found := _TOKENS.match(words):
        return Work(int(found[1]) * int(found[2]), "tokens")
    if found := _IMAGES.match(words):
        return Work(int(found[1]), "images")
    return RUN
