"""Runs the command as a user would, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def hiersim() -> Run:
    """`hiersim(*arguments, **environment)`."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "hiersim", *arguments],
            capture_output=True,
            text=True,
            timeout=240,
            env={**os.environ, "COLUMNS": "160", **environment},
            check=False,
        )

    return run
