"""Fast-forward is exact whatever the glance says: a glance only tells when it is worth to look.

With a glance that always agrees, every state is written down and compared with the one before; nothing but that
comparison then stands between a run and a wrong jump.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from interpreted import interpreted_engine

from hiersim.config.load import load_design
from hiersim.engines import compiled
from hiersim.frontends.load import load_trace
from hiersim.fusion.eager import eager
from hiersim.lowering.lower import lower
from hiersim.model.program import Program
from hiersim.testing.contracts import differences
from hiersim.testing.strategies import products, programs, streams

INTERPRETED: Any = interpreted_engine()
REPEATS = next(kind for kind in INTERPRETED.stream.Stream.__mro__ if kind.__name__ == "Repeats")


@pytest.fixture(autouse=True, scope="module")
def glance_that_always_agrees() -> Any:
    kept = REPEATS.glance
    REPEATS.glance = lambda machine, active: 1
    yield
    REPEATS.glance = kept


def assert_exact(program: Program) -> None:
    assert not differences(INTERPRETED.simulate(program), compiled.simulate(program, fast_forward=False))


MODELS = (("gpt2-large-prefill", "t4"), ("resnet50-infer", "v100-pcie"), ("llama3-8b-prefill", "h100-sxm"))


@pytest.mark.parametrize(("trace", "design"), MODELS)
def test_in_real_models(trace: str, design: str) -> None:
    """On a T4, matrix work in the gaps of the vector unit differs from wave to wave while all else repeats."""
    assert_exact(lower(eager(load_trace(trace)), load_design(design)))


@given(products(max_tiles=150))
def test_in_blocked_products(program: Program) -> None:
    assert_exact(program)


@given(streams())
def test_in_streams(program: Program) -> None:
    assert_exact(program)


@given(programs())
@settings(max_examples=max(30, settings.default.max_examples // 4))
def test_in_graphs(program: Program) -> None:
    assert_exact(program)
