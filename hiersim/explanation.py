"""Why a run took what it took: the working sets behind its traffic, and one kernel from its operators to its ledger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from hiersim.errors import HiersimError, nearest
from hiersim.estimated_cycles import estimated_cycles
from hiersim.fusion.halos import windows_of
from hiersim.fusion.reasons import MEANING
from hiersim.fusion.room import room
from hiersim.fusion.why import find_operator, why_not
from hiersim.lowering.working_sets import Part, WorkingSet, reuses, working_sets, woven
from hiersim.lowering.workload import prepare
from hiersim.model.design import Design
from hiersim.model.operators import DIMS, DType, Kind
from hiersim.model.program import Access
from hiersim.model.timeline import ENGINES, column_meaning
from hiersim.model.trace import Trace
from hiersim.results import MAIN_ENGINE, Result
from hiersim.run import kernels_of
from hiersim.units import UNLIMITED

SCHEMA: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Explanation:
    """What `explain` tells of one run."""

    result: Result
    sets: tuple[WorkingSet, ...]
    """The one that saves most first."""
    served: dict[str, tuple[float, ...]]
    """By shared cache: the share of each set's savings that the cache's capacity gives, as if it stood alone."""
    place: int | None
    """Index in the program of the kernel or copy that was asked for."""

    @property
    def kernel(self) -> int | None:
        """Index of the kernel that was asked for; None for a copy."""
        return None if self.place is None else _kernel(self.result, self.place)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, keys as in the glossary."""
        result = self.result
        return {
            "schema": SCHEMA,
            "trace": result.trace.name,
            "design": result.design.name,
            "fusion": result.fusion,
            "version": result.version,
            "inputs_sha256": result.inputs_sha256,
            "set": dict(result.changes),
            "home_bytes": int(result.home_bytes),
            "compulsory_bytes": result.bounds.compulsory_bytes,
            "working_sets": [
                {
                    "begin_bytes": item.begin_bytes,
                    "held_bytes": item.held_bytes,
                    "saved_bytes": item.saved_bytes,
                    "served": {cache: shares[place] for cache, shares in self.served.items()},
                    "parts": [_part(part) for part in item.parts],
                }
                for place, item in enumerate(self.sets)
            ],
            "kernel": kernel_facts(result, self.place) if self.place is not None else None,
            **({} if self.estimate is None else {"estimate": self.estimate}),
        }

    @property
    def estimate(self) -> dict[str, Any] | None:
        """Predicted beside what the compiler of the schedule expected; None where it says nothing."""
        result = self.result
        return estimated_cycles(result.trace, result.graph, result.design, result.program, result.timeline)


def _part(part: Part) -> dict[str, Any]:
    return {
        "reuse": part.reuse.value,
        "name": part.kernel,
        "kernels": list(part.kernels),
        "role": part.role,
        "tensors": list(part.tensors),
        "saved_bytes": part.saved_bytes,
    }


def explain(result: Result, kernel: str | None = None) -> Explanation:
    """The working sets of `result` and, where one is asked for by name or index, a kernel; copies have names only.

    Raises
    ------
    HiersimError
        When there is no such kernel.
    """
    chosen = find_kernel(result, kernel) if kernel is not None else None
    workload = result.graph.derived(prepare)
    rows = reuses(workload, result.design)
    sets = working_sets(result.graph, rows)
    served = {}
    for tier in result.design.shared_tiers[:-1]:
        saved = rows.saved(int(tier.capacity))
        served[tier.name] = tuple(float(saved[list(item.rows)].sum()) / item.saved_bytes for item in sets)
    return Explanation(result=result, sets=sets, served=served, place=chosen)


def explain_pair(trace: Trace, design: Design, fusion: str, one: str, other: str) -> dict[str, Any]:
    """Whether the policy `fusion` puts two operators into one kernel, and if not, why; nothing is simulated.

    Parameters
    ----------
    trace, design
        The model run and the machine.
    fusion : str
        A built-in policy that gives reasons.
    one, other : str
        Operators by index, name or `module/name`.

    Returns
    -------
    dict
        `pair` (two operators), `together`, and where they are apart `reason`, `meaning`, `detail` and `remedy`; keys
        as in the glossary.

    Raises
    ------
    FusionError
        When an operator is not there or not the only one of its name, or the policy gives no reasons.
    """
    rows = [find_operator(trace, word) for word in (one, other)]
    verdict = why_not(trace, fusion, rows[0], rows[1], design)
    meaning, remedy = MEANING[verdict.reason] if verdict.reason is not None else (None, None)
    table = trace.graph.operators
    return {
        "schema": SCHEMA,
        "trace": trace.name,
        "design": design.name,
        "fusion": kernels_of(trace, design, fusion).policy,
        "pair": [
            {"operator": row, "name": table.label(row), "module": table.strings[int(table.module[row])]} for row in rows
        ],
        "together": verdict.together,
        "reason": None if verdict.reason is None else verdict.reason.value,
        "meaning": meaning,
        "detail": verdict.detail or None,
        "remedy": remedy,
    }


def find_kernel(result: Result, word: str) -> int:
    """Where in the program is the kernel of that index, or of the kernels and copies of that name the longest one.

    Raises
    ------
    HiersimError
        With the nearest name.
    """
    if word.isdigit():
        places = result.program.places
        if int(word) < len(places):
            return int(places[int(word)])
        raise HiersimError(
            f"there is no kernel {word}", key="--kernel", expected=f"an index from 0 to {len(places) - 1}"
        )
    names = result.program.kernel_names
    found = [index for index, name in enumerate(names) if name == word]
    if not found:
        raise HiersimError(f"'{word}' is not a kernel of this run", key="--kernel", expected=nearest(word, names))
    lasted = result.timeline.end - result.timeline.start
    return max(found, key=lambda index: (int(lasted[index]), -index))


def kernel_facts(result: Result, place: int) -> dict[str, Any]:
    """One kernel of the program: its operators in order, how it is cut, what it moves, where its time went.

    A copy has no operators, and no index among the kernels. A kernel ends when its results have arrived where others
    read them; a port may go on writing them back behind that end, so that it serves for longer than the kernel takes.
    """
    program, timeline, kernel = result.program, result.timeline, _kernel(result, place)
    moved, busy = _services(result, place)
    span = int(timeline.end[place] - timeline.start[place])
    operators = _operators(result, kernel) if kernel is not None else []
    flops = {unit: sum(row["flops"][unit] for row in operators) for unit in ("matrix", "vector")}
    bound = max(busy, key=lambda name: busy[name]) if busy else None
    served = busy[bound] if bound else 0
    return {
        "kernel": kernel,
        "name": program.kernel_names[place],
        "same_name": program.kernel_names.count(program.kernel_names[place]),
        "start_ticks": int(timeline.start[place]),
        "end_ticks": int(timeline.end[place]),
        "ticks": span,
        "operators": operators,
        "tile": _tile(result, kernel) if kernel is not None else {},
        "traffic_bytes": moved,
        "ledger": _ledger(result, place),
        "regions": _entered(result, kernel),
        "window": _window(result, kernel),
        "flops": flops,
        "busy_ticks": busy,
        "bound": bound,
        "bound_share": served / max(served, span, 1),
        "behind_ticks": max(served - span, 0),
        "arithmetic_intensity": _intensity(flops, moved),
        "ridge_point": _ridge_point(result, operators),
    }


def _window(result: Result, kernel: int | None) -> dict[str, Any]:
    """How a kernel goes window by window; empty where it does not."""
    plans = result.graph.derived(windows_of)
    found = plans[kernel] if plans and kernel is not None else None
    if found is None:
        return {}
    return {
        "windows": found.windows,
        "halo": "computed again" if found.again else "kept",
        "needs_bytes": found.needs,
        "room_bytes": room(result.design),
    }


def _entered(result: Result, kernel: int | None) -> dict[str, int]:
    """What the host does to enter compiled regions just before a kernel; empty where it enters none."""
    entries = result.graph.entries
    if entries is None or kernel is None or not entries.calls[kernel]:
        return {}
    return {name: int(getattr(entries, name)[kernel]) for name in ("calls", "guards", "recompiled")}


def _kernel(result: Result, place: int) -> int | None:
    """Index among the kernels of what is at `place` of the program; None for a copy."""
    owner = result.program.graph_kernel
    kernel = place if owner is None else int(owner[place])
    return kernel if kernel >= 0 else None


def _tile(result: Result, kernel: int) -> dict[str, int]:
    """How a kernel's contraction is cut."""
    workload = result.graph.derived(prepare)
    return woven(workload, result.design).shape(int(workload.kernel_class[kernel]))


def _operators(result: Result, kernel: int) -> list[dict[str, Any]]:
    """The operators of a kernel in order."""
    graph = result.graph
    table = graph.operators
    rows = []
    for row in range(int(graph.operator_ptr[kernel]), int(graph.operator_ptr[kernel + 1])):
        kind = Kind(int(table.kind[row]))
        dims = table.dims[table.dims_ptr[row] : table.dims_ptr[row + 1]].tolist()
        rows.append(
            {
                "name": table.label(row),
                "module": table.strings[int(table.module[row])],
                "kind": kind.name.lower(),
                "dtype": DType(int(table.dtype[row])).name.lower(),
                "dims": dict(zip(DIMS.get(kind, ()), dims, strict=False)),
                "flops": {
                    "matrix": int(table.matrix_flops[row] - table.masked_flops[row]),
                    "vector": int(table.vector_flops[row] + table.special_ops[row]),
                },
                "recomputed": bool(graph.recomputed[row]),
            }
        )
    return rows


def _services(result: Result, place: int) -> tuple[dict[str, dict[str, int]], dict[str, int]]:
    """Bytes by tier, and ticks in which each port and unit serves the kernel at `place` of the program.

    Ports that cost nothing are left out.
    """
    program = result.program
    tiles = np.flatnonzero(program.tile_nests() == program.nest[place])
    repeats = program.tile_repeats()
    moved = {resource.tier: [0, 0] for resource in program.resources if resource.tier >= 0}
    busy: dict[str, int] = {}
    for tile in tiles.tolist():
        for stage in range(int(program.stage_ptr[tile]), int(program.stage_ptr[tile + 1])):
            resource = program.resources[int(program.stage_resource[stage])]
            times = int(repeats[tile])
            busy[resource.name] = busy.get(resource.name, 0) + times * int(program.stage_ticks[stage])
            if resource.tier >= 0:
                way = 0 if program.stage_access[stage] == Access.READ else 1
                moved[resource.tier][way] += times * int(program.stage_bytes[stage])
    traffic = {program.tiers[tier]: {"read": read, "write": write} for tier, (read, write) in sorted(moved.items())}
    return traffic, dict(sorted(busy.items(), key=lambda item: (-item[1], item[0])))


def _ledger(result: Result, place: int) -> list[dict[str, Any]]:
    """The part of the cores' ledger of the kernel at `place` of the program."""
    timeline, tiers = result.timeline, result.program.tiers
    ticks = timeline.ledger_rows[timeline.ledger_row[place], ENGINES.index(MAIN_ENGINE)]
    rows = []
    for column in np.flatnonzero(ticks).tolist():
        entry, tier, phase = column_meaning(column, len(tiers))
        rows.append(
            {
                "entry": entry.name.lower(),
                "tier": tiers[tier] if tier >= 0 else None,
                "phase": phase.name.lower() if phase is not None else None,
                "ticks": int(ticks[column]),
            }
        )
    return rows


def _intensity(flops: dict[str, int], moved: dict[str, dict[str, int]]) -> dict[str, float | None]:
    """Useful FLOPs per byte at each tier's port; null where nothing is moved."""
    total = sum(flops.values())
    return {
        tier: total / (ways["read"] + ways["write"]) if ways["read"] + ways["write"] else None
        for tier, ways in moved.items()
    }


def _ridge_point(result: Result, operators: list[dict[str, Any]]) -> dict[str, float | None]:
    """Peak FLOP/s of the unit and dtype with most of the kernel's FLOPs ÷ peak bytes/s of each shared tier."""
    compute = result.design.compute
    largest = max(operators, key=lambda row: max(row["flops"].values()), default=None)
    if largest is None:
        return {}
    dtype = DType[largest["dtype"].upper()]
    vector = compute.vector.peak.get(dtype, compute.vector.peak[DType.FP32])
    matrix = compute.matrix
    peak = int(vector)
    if matrix is not None and largest["flops"]["matrix"] > largest["flops"]["vector"]:
        peak = int(matrix.peak.get(matrix.stand_in.get(dtype, dtype), vector))
    points: dict[str, float | None] = {}
    for tier in result.design.shared_tiers:
        rate = int(tier.bandwidth or tier.read_bandwidth or UNLIMITED)
        points[tier.name] = peak / rate if peak < UNLIMITED and rate < UNLIMITED else None
    return points
