"""hiersim: a memory-hierarchy cycle simulator for machine-learning hardware.

>>> import hiersim as hs
>>> design = hs.load_design("tiny").replace({"memory.l2.capacity": "2 MiB"})

Names are loaded when they are first used, so that importing the package is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hiersim.calibration.calibrate import Calibration, calibrate
    from hiersim.config.load import load_design
    from hiersim.errors import (
        CapacityError,
        DesignError,
        FusionError,
        HiersimError,
        MissingExtraError,
        SimulationError,
        TraceError,
        UnitError,
    )
    from hiersim.explanation import Explanation, explain
    from hiersim.frontends.archive import save_trace
    from hiersim.frontends.chakra.build import import_chakra
    from hiersim.frontends.chakra.write import export_chakra
    from hiersim.frontends.hlo.build import import_hlo
    from hiersim.frontends.kineto.build import import_kineto
    from hiersim.frontends.load import load_trace
    from hiersim.frontends.onnx_model.build import import_onnx
    from hiersim.frontends.operator_list.build import import_table
    from hiersim.frontends.save import write_trace
    from hiersim.frontends.variants.variant import variant
    from hiersim.model.design import Design
    from hiersim.model.networks import to_networkx
    from hiersim.model.trace import Trace
    from hiersim.results import Result
    from hiersim.run import compare, fuse, simulate
    from hiersim.validation.validate import Validation, validate

_PLACES = {
    "Calibration": "hiersim.calibration.calibrate",
    "calibrate": "hiersim.calibration.calibrate",
    "load_design": "hiersim.config.load",
    "load_trace": "hiersim.frontends.load",
    "export_chakra": "hiersim.frontends.chakra.write",
    "import_chakra": "hiersim.frontends.chakra.build",
    "import_hlo": "hiersim.frontends.hlo.build",
    "import_kineto": "hiersim.frontends.kineto.build",
    "import_onnx": "hiersim.frontends.onnx_model.build",
    "import_table": "hiersim.frontends.operator_list.build",
    "save_trace": "hiersim.frontends.archive",
    "write_trace": "hiersim.frontends.save",
    "variant": "hiersim.frontends.variants.variant",
    "simulate": "hiersim.run",
    "compare": "hiersim.run",
    "fuse": "hiersim.run",
    "explain": "hiersim.explanation",
    "Explanation": "hiersim.explanation",
    "to_networkx": "hiersim.model.networks",
    "Result": "hiersim.results",
    "Validation": "hiersim.validation.validate",
    "validate": "hiersim.validation.validate",
    "Design": "hiersim.model.design",
    "Trace": "hiersim.model.trace",
    **{
        name: "hiersim.errors"
        for name in (
            "HiersimError", "DesignError", "TraceError", "CapacityError", "FusionError", "SimulationError",
            "UnitError", "MissingExtraError",
        )
    },
}  # fmt: skip

__all__ = [
    "Calibration",
    "CapacityError",
    "Design",
    "DesignError",
    "Explanation",
    "FusionError",
    "HiersimError",
    "MissingExtraError",
    "Result",
    "SimulationError",
    "Trace",
    "TraceError",
    "UnitError",
    "Validation",
    "calibrate",
    "compare",
    "explain",
    "export_chakra",
    "fuse",
    "import_chakra",
    "import_hlo",
    "import_kineto",
    "import_onnx",
    "import_table",
    "load_design",
    "load_trace",
    "save_trace",
    "simulate",
    "to_networkx",
    "validate",
    "variant",
    "write_trace",
]


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    if name == "__version__":
        from importlib.metadata import version

        return version("hiersim")
    raise AttributeError(f"module 'hiersim' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*_PLACES, "__version__"])
