"""Hypothesis profiles, chosen by HYPOTHESIS_PROFILE: quick (no shrinking), dev (default), ci, nightly."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}
settings.register_profile("quick", max_examples=20, phases=[Phase.explicit, Phase.reuse, Phase.generate], **_COMMON)
settings.register_profile("dev", max_examples=50, **_COMMON)
settings.register_profile("ci", max_examples=25, derandomize=True, **_COMMON)
settings.register_profile("nightly", max_examples=5000, **_COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--regenerate` writes golden files again."""
    parser.addoption("--regenerate", action="store_true", help="write golden files again")


@pytest.fixture(scope="session")
def process() -> Iterator[Any]:
    """A process whose imports all captures of schedules share: TorchInductor's take longer than a small capture."""
    from hiersim.frontends.pytorch.capture_process import CaptureProcess

    with CaptureProcess() as shared:
        yield shared
