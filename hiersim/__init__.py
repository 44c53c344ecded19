"""hiersim: a memory-hierarchy cycle simulator for machine-learning hardware.

>>> import hiersim as hs
>>> design = hs.load_design("tiny").replace({"memory.l2.capacity": "2 MiB"})

Names are loaded when they are first used, so that importing the package is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hiersim.version import __version__ as __version__

if TYPE_CHECKING:
    from hiersim.calibration.calibrate import Calibration, calibrate
    from hiersim.config.load import load_design
    from hiersim.config.prices import load_prices
    from hiersim.decisions.elasticity import Advice, advise
    from hiersim.decisions.knees import Curve, knees
    from hiersim.decisions.rank import Ranking, rank
    from hiersim.decisions.studies import study
    from hiersim.decisions.target import Target, target
    from hiersim.decisions.tornado import Tornado, tornado
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
    from hiersim.frontends.variants.primitives import primitives
    from hiersim.frontends.variants.variant import variant
    from hiersim.fusion.build import group
    from hiersim.model.design import Design
    from hiersim.model.networks import to_networkx
    from hiersim.model.operators import Kind
    from hiersim.model.silicon import sram_price
    from hiersim.model.trace import Trace
    from hiersim.results import Comparison, Result
    from hiersim.run import compare, fuse, simulate
    from hiersim.sweeps.ranges import geomspace, linspace, logspace
    from hiersim.sweeps.run import sweep
    from hiersim.sweeps.table import Sweep, load_sweep
    from hiersim.validation.validate import Validation, validate
    from hiersim.views.explore import explore
    from hiersim.views.plots.wall import plot_memory_wall
    from hiersim.views.report.write import write_report

_PLACES = {
    "Calibration": "hiersim.calibration.calibrate",
    "calibrate": "hiersim.calibration.calibrate",
    "load_design": "hiersim.config.load",
    "load_prices": "hiersim.config.prices",
    "sram_price": "hiersim.model.silicon",
    "load_trace": "hiersim.frontends.load",
    "export_chakra": "hiersim.frontends.chakra.write",
    "import_chakra": "hiersim.frontends.chakra.build",
    "import_hlo": "hiersim.frontends.hlo.build",
    "import_kineto": "hiersim.frontends.kineto.build",
    "import_onnx": "hiersim.frontends.onnx_model.build",
    "import_table": "hiersim.frontends.operator_list.build",
    "save_trace": "hiersim.frontends.archive",
    "write_trace": "hiersim.frontends.save",
    "primitives": "hiersim.frontends.variants.primitives",
    "variant": "hiersim.frontends.variants.variant",
    "group": "hiersim.fusion.build",
    "Kind": "hiersim.model.operators",
    "write_report": "hiersim.views.report.write",
    "plot_memory_wall": "hiersim.views.plots.wall",
    "explore": "hiersim.views.explore",
    "simulate": "hiersim.run",
    "compare": "hiersim.run",
    "fuse": "hiersim.run",
    "advise": "hiersim.decisions.elasticity",
    "Advice": "hiersim.decisions.elasticity",
    "tornado": "hiersim.decisions.tornado",
    "Tornado": "hiersim.decisions.tornado",
    "knees": "hiersim.decisions.knees",
    "Curve": "hiersim.decisions.knees",
    "rank": "hiersim.decisions.rank",
    "Ranking": "hiersim.decisions.rank",
    "study": "hiersim.decisions.studies",
    "target": "hiersim.decisions.target",
    "Target": "hiersim.decisions.target",
    "explain": "hiersim.explanation",
    "Explanation": "hiersim.explanation",
    "to_networkx": "hiersim.model.networks",
    "Result": "hiersim.results",
    "sweep": "hiersim.sweeps.run",
    "Sweep": "hiersim.sweeps.table",
    "load_sweep": "hiersim.sweeps.table",
    "geomspace": "hiersim.sweeps.ranges",
    "linspace": "hiersim.sweeps.ranges",
    "logspace": "hiersim.sweeps.ranges",
    "Comparison": "hiersim.results",
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
    "Advice",
    "Calibration",
    "CapacityError",
    "Comparison",
    "Curve",
    "Design",
    "DesignError",
    "Explanation",
    "FusionError",
    "HiersimError",
    "Kind",
    "MissingExtraError",
    "Ranking",
    "Result",
    "SimulationError",
    "Sweep",
    "Target",
    "Tornado",
    "Trace",
    "TraceError",
    "UnitError",
    "Validation",
    "advise",
    "calibrate",
    "compare",
    "explain",
    "explore",
    "export_chakra",
    "fuse",
    "geomspace",
    "group",
    "import_chakra",
    "import_hlo",
    "import_kineto",
    "import_onnx",
    "import_table",
    "knees",
    "linspace",
    "load_design",
    "load_prices",
    "load_sweep",
    "load_trace",
    "logspace",
    "plot_memory_wall",
    "primitives",
    "rank",
    "save_trace",
    "simulate",
    "sram_price",
    "study",
    "sweep",
    "target",
    "to_networkx",
    "tornado",
    "validate",
    "variant",
    "write_report",
    "write_trace",
]


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'hiersim' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*_PLACES, "__version__"])
