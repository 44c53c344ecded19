"""The models of what caches keep between kernels keep their promise."""

from __future__ import annotations

from hiersim.lowering.belady import BeladyProfile, belady
from hiersim.lowering.residency import profile_reuse
from hiersim.model.kernels import KernelGraph
from hiersim.testing.contracts import ResidencyContract


def bound(graph: KernelGraph) -> BeladyProfile:
    return belady(profile_reuse(graph))


class TestReuseProfile(ResidencyContract):
    profile_reuse = staticmethod(profile_reuse)


class TestBelady(ResidencyContract):
    profile_reuse = staticmethod(bound)
    every_access = False
    is_bound = True
