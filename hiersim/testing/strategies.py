"""Hypothesis strategies for small designs, traces, kernel graphs and programs; every value is valid and cheap to run.

    from hypothesis import given
    from hiersim.testing.strategies import designs, traces

    @given(traces(), designs())
    def test_my_policy(trace, design): ...

Needs hypothesis: `pip install "hiersim[test]"`.
"""

from __future__ import annotations

from hiersim.errors import MissingExtraError

try:
    import hypothesis  # noqa: F401
except ImportError:
    raise MissingExtraError("hiersim.testing", "hypothesis", "test") from None

from hiersim.testing.dag_strategies import dags
from hiersim.testing.design_strategies import bytewise, designs, hosted_designs
from hiersim.testing.dram_strategies import dram_timings
from hiersim.testing.graph_strategies import streaming_graphs
from hiersim.testing.program_strategies import products, programs, streams
from hiersim.testing.region_strategies import cut_traces
from hiersim.testing.trace_strategies import traces

__all__ = [
    "bytewise",
    "cut_traces",
    "dags",
    "designs",
    "dram_timings",
    "hosted_designs",
    "products",
    "programs",
    "streaming_graphs",
    "streams",
    "traces",
]
