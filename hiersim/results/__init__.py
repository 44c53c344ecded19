"""Results of runs: the metrics, bounds, cost and provenance of each, and their JSON form."""

from hiersim.results.arithmetic import recomputed_flops, utilization
from hiersim.results.document import SCHEMA
from hiersim.results.ledger import MAIN_ENGINE, LedgerRow
from hiersim.results.memory import PlacementRow, role_names
from hiersim.results.result import Comparison, Result
from hiersim.results.summary import headline

__all__ = [
    "MAIN_ENGINE",
    "SCHEMA",
    "Comparison",
    "LedgerRow",
    "PlacementRow",
    "Result",
    "headline",
    "recomputed_flops",
    "role_names",
    "utilization",
]
