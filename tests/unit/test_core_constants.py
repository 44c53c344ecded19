"""Compiled and interpreted modules of the event core mean the same by the names that they share."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from hiersim.engines.core import constants


def test_the_compiler_knows_the_same_numbers() -> None:
    named = {name: value for name, value in vars(constants).items() if isinstance(value, int) and name.isupper()}
    text = Path(str(constants.__file__)).with_suffix(".pxd").read_text()
    declared = {name: int(value) for name, value in re.findall(r"^    ([A-Z_]+) = (-?\d+)$", text, re.MULTILINE)}
    assert 'INFINITY "LLONG_MAX"' in text
    assert declared | {"INFINITY": int(np.iinfo(np.int64).max)} == named
