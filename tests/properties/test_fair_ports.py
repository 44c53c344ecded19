"""Fair ports: equal shares for kernels that wait, and nothing else than first come, first served changes.

That all engines agree on them is in test_engines_agree.py, test_engine_laws.py and test_hard_programs.py.
"""

from __future__ import annotations

import dataclasses
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_engines_agree import assert_all_engines_agree

from hiersim.engines import compiled
from hiersim.model.program import Program
from hiersim.testing.contracts import differences
from hiersim.testing.strategies import programs, streams


def arbitrated(program: Program, fair: bool) -> Program:
    """`program` with all ports and units fair, or none."""
    return dataclasses.replace(
        program, resources=tuple(dataclasses.replace(item, fair=fair) for item in program.resources)
    )


@settings(max_examples=max(100, settings.default.max_examples))
@given(st.one_of(programs(max_ticks=12), streams(max_ticks=12)))
def test_kernels_that_wait_get_equal_shares_within_a_service_of_each(program: Program) -> None:
    """While two kernels wait at a fair port, what it serves them differs by no more than the longest service of each.

    Golestani, "A self-clocked fair queueing scheme for broadband applications", INFOCOM 1994, theorem 1.
    """
    program = arbitrated(program, True)
    log = compiled.simulate(program, keep_log=True).log
    assert log is not None
    place = program.stage_resource[log.stage]
    for port in range(len(program.resources)):
        rows = np.flatnonzero(place == port)
        rows = rows[np.argsort(log.grant[rows])]
        kernel, request, grant = log.kernel[rows], log.request[rows], log.grant[rows]
        ticks = log.end[rows] - grant
        waits = (request[:, None] <= grant) & (grant <= grant[:, None])  # (service, decision)
        longest = {k: int(ticks[kernel == k].max()) for k in set(kernel.tolist())}
        present = {k: waits[kernel == k].any(axis=0) for k in longest}
        for one, other in combinations(longest, 2):
            both = present[one] & present[other]
            ahead = low = high = 0
            for index in range(len(rows)):
                if not both[index]:
                    ahead = low = high = 0
                    continue
                ahead += int(ticks[index]) * (int(kernel[index] == one) - int(kernel[index] == other))
                low, high = min(low, ahead), max(high, ahead)
                assert high - low <= longest[one] + longest[other], (port, one, other, index)


@given(programs(max_kernels=1))
def test_a_kernel_alone_is_served_as_by_any_port(program: Program) -> None:
    fair, fifo = (compiled.simulate(arbitrated(program, fair), keep_log=True) for fair in (True, False))
    assert not differences(fair, fifo)


@given(programs(), st.booleans())
def test_arbitration_only_changes_who_goes_first(program: Program, fair: bool) -> None:
    """Same work at every port and unit, one stage for one."""
    one, other = (compiled.simulate(arbitrated(program, way), keep_log=True) for way in (fair, not fair))
    assert one.busy.tolist() == other.busy.tolist()
    assert one.log is not None and other.log is not None
    for name in ("kernel", "tile", "stage"):
        assert getattr(one.log, name).tolist() == getattr(other.log, name).tolist()


@settings(max_examples=max(20, settings.default.max_examples // 2))
@given(st.one_of(programs(), streams(max_repeats=20, max_tiles=600)))
def test_engines_agree_where_every_port_and_unit_is_fair(program: Program) -> None:
    assert_all_engines_agree(arbitrated(program, True))


@pytest.mark.parametrize("fair", [False, True])
def test_a_program_says_which_ports_are_fair(fair: bool) -> None:
    """From `arbitration` of a tier to all of its ports, and to no others."""
    from hiersim.config.load import load_design
    from hiersim.lowering.machine import Machine

    changes = {"memory.l2.arbitration": "fair" if fair else "fifo"}
    for name in ("tiny", "h100-sxm"):
        design = load_design(name).replace(changes)
        index = design.memory.index(design.tier("l2"))
        assert [item.fair for item in Machine(design).resources] == [
            fair and item.tier == index for item in Machine(design).resources
        ]
