"""Law 7: reference = compiled = compiled without fast-forward, in every field, dtype and shape.

1 000 programs in profile `ci`, 20 000 in `nightly`.
"""

from __future__ import annotations

import os

from hypothesis import given, settings

from hiersim.engines import compiled, reference
from hiersim.model.program import Program
from hiersim.model.timeline import Timeline
from hiersim.testing.contracts import differences, outcome
from hiersim.testing.strategies import products, programs, streams

EXAMPLES = {"quick": 20, "dev": 50, "ci": 500, "nightly": 10_000}[os.environ.get("HYPOTHESIS_PROFILE", "dev")]


def assert_all_engines_agree(program: Program) -> None:
    """Both engines, with fast-forward and without, with a log and without."""
    for keep_log in (True, False):
        wanted = outcome(reference.simulate, program, keep_log=keep_log)
        for fast_forward in (True, False):
            found = outcome(compiled.simulate, program, keep_log=keep_log, fast_forward=fast_forward)
            if isinstance(wanted, Timeline) and isinstance(found, Timeline):
                assert not differences(found, wanted), (keep_log, fast_forward)
            else:
                assert found == wanted, (keep_log, fast_forward)


@settings(max_examples=EXAMPLES)
@given(programs())
def test_engines_agree_on_dags(program: Program) -> None:
    assert_all_engines_agree(program)


@settings(max_examples=EXAMPLES)
@given(streams())
def test_engines_agree_on_streams_of_repeated_layers(program: Program) -> None:
    assert_all_engines_agree(program)


@settings(max_examples=max(20, EXAMPLES // 10))
@given(products(max_tiles=400))
def test_engines_agree_on_blocked_products(program: Program) -> None:
    assert_all_engines_agree(program)


@settings(max_examples=EXAMPLES)
@given(products())
def test_fast_forward_changes_nothing_in_long_products(program: Program) -> None:
    assert not differences(compiled.simulate(program), compiled.simulate(program, fast_forward=False))


@settings(max_examples=max(20, EXAMPLES // 10))
@given(streams(max_repeats=60, max_tiles=2000))
def test_engines_agree_on_deep_streams(program: Program) -> None:
    assert_all_engines_agree(program)


@settings(max_examples=max(EXAMPLES // 5, settings.default.max_examples))  # type: ignore[union-attr]
@given(programs(max_kernels=6, max_tiles=96, any_needs=True))
def test_engines_agree_on_deadlocks(program: Program) -> None:
    assert_all_engines_agree(program)
