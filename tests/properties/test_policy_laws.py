"""Laws 7 and 10 over random DAGs, policies and designs: engines agree, and fusion moves no more bytes off the chip."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from hiersim.engines import compiled, reference
from hiersim.errors import CapacityError
from hiersim.fusion.eager import eager
from hiersim.fusion.registry import policy
from hiersim.model.design import Design
from hiersim.model.trace import Trace
from hiersim.results import recomputed_flops
from hiersim.run import replay
from hiersim.testing.contracts import differences
from hiersim.testing.strategies import dags, designs

few = settings(max_examples=max(15, settings.default.max_examples // 4))  # type: ignore[union-attr]
POLICIES = st.sampled_from(("pointwise", "epilogue", "inductor-rules"))


@few
@given(dags(8), designs(), POLICIES)
def test_engines_agree_and_fused_kernels_move_no_more_bytes(trace: Trace, design: Design, name: str) -> None:
    try:
        plain = replay(trace, eager(trace), design)
    except CapacityError:
        return
    graph = policy(name)(trace, design)
    result = replay(trace, graph, design, keep_log=True)
    assert result.home_bytes <= plain.home_bytes
    slow = reference.simulate(result.program)
    for other in (compiled.simulate(result.program), compiled.simulate(result.program, fast_forward=False)):
        assert not differences(other, slow)
    again = tuple(recomputed_flops(graph).values())
    assert tuple(result.program.flops) == (plain.program.flops[0] + again[0], plain.program.flops[1] + again[1])
