"""The model of what caches keep between kernels keeps its promise."""

from __future__ import annotations

from hiersim.lowering.residency import profile_reuse
from hiersim.testing.contracts import ResidencyContract


class TestReuseProfile(ResidencyContract):
    profile_reuse = staticmethod(profile_reuse)
