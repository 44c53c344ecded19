"""Laws of elasticities over random designs × random traces: they tell what replays give, and they add up."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hiersim.decisions.case import Case
from hiersim.decisions.elasticity import Advice, Shape, advise
from hiersim.decisions.resources import resources
from hiersim.errors import HiersimError
from hiersim.model.design import Design
from hiersim.model.trace import Trace
from hiersim.testing.strategies import designs, hosted_designs, traces

few = settings(max_examples=20)


def advised(trace: Trace, design: Design) -> Advice:
    try:
        return advise(trace, design)
    except HiersimError:  # nothing costs any time, or the model does not fit
        assume(False)
        raise


@few
@given(traces(), designs(), st.sampled_from((0.92, 0.97, 1.04, 1.09)))
def test_where_a_resource_is_smooth_the_law_gives_the_replay_within_one_per_cent(
    trace: Trace, design: Design, factor: float
) -> None:
    found = advised(trace, design)
    for row in found.rows:
        if row.shape in (Shape.SMOOTH, Shape.FLAT) and not row.resource.whole:
            changes, real = row.resource.better(factor)
            replayed = found.case.fits(changes)
            if replayed is not None:
                assert row.ticks(real) == pytest.approx(replayed.makespan, rel=0.01), row.resource.path


@few
@given(traces(), designs())
def test_rates_and_times_add_up_to_one_but_for_kinks(trace: Trace, design: Design) -> None:
    found = advised(trace, design)
    rates = [row for row in found.rows if row.resource.scales_time]
    apart = sum(abs(row.up.elasticity - row.down.elasticity) for row in rates if row.down is not None)
    assert abs(found.scaling_sum - 1) <= 0.02 + apart


@few
@given(traces(), designs() | hosted_designs(device=2000), st.sampled_from((0.5, 0.9, 1.001, 1.1, 2.0)))
def test_a_better_resource_is_better_by_what_it_says(trace: Trace, design: Design, factor: float) -> None:
    case = Case(trace=trace, design=design)
    for item in resources(design):
        changes, real = item.better(factor)
        assert set(changes) == set(item.leaves)
        if (real > 1) != (factor > 1) or case.fits(changes) is None:
            continue  # there is no less than one, and a larger tier than the last
        changed = {other.path: other for other in resources(design.replace(changes))}
        assert dict(changed[item.path].leaves) == changes
        if not item.whole and item.value > 1000:
            assert real == pytest.approx(factor, rel=1e-3)
