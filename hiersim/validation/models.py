"""Models: their traces replayed eager and with the schedule that TorchInductor made, beside their measured runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from hiersim.error_bands import parts_of
from hiersim.errors import HiersimError
from hiersim.frontends.measured import Measured, Summary
from hiersim.lowering.host import GRAPH, STREAM
from hiersim.measure.constants import HostConstants
from hiersim.model.design import Design
from hiersim.model.trace import Trace
from hiersim.run import simulate
from hiersim.validation.accuracy import Pair
from hiersim.validation.model_traces import ModelTraces
from hiersim.validation.protocol import free_of_host, with_cache, with_host
from hiersim.validation.rows import TICK_S, ModelRow, Progress, Skips, refusal

POLICIES: Final = {"eager": ("eager", STREAM), "compiled": ("inductor", STREAM), "graph": ("inductor", GRAPH)}
"""Mode of a measurement → fusion policy and launch mode of its replay."""


def replay_models(
    measured: Measured, design: Design, host: HostConstants | None, match: str, skips: Skips, progress: Progress,
    traces: ModelTraces | None = None,
) -> Iterator[ModelRow]:  # fmt: skip
    """Rows of all models whose trace is bundled or among `traces`; the others are counted in `skips`.

    Parameters
    ----------
    host : HostConstants, optional
        Measured on the same device; None: the design's own host.

    Notes
    -----
    A model was called again and again with the same tensors: the last-level cache begins warm.
    """
    known = traces or ModelTraces()
    summaries = [row for row in measured.summaries if match in row.case]
    for done, row in enumerate(summaries):
        progress(f"{row.case}, {row.mode}", done, len(summaries))
        if min(row.kernel_s, row.wall_s) < TICK_S:
            skips.add("model: the measured time is below 1 ps")
            continue
        try:
            trace, reason = known.of(measured.cases[row.case])
            if trace is None:
                skips.add(f"model: {reason}")
            else:
                yield _replayed(measured, design, host, row, trace)
        except HiersimError as error:
            skips.add(f"model: cannot be replayed: {refusal(error)}")


def _replayed(measured: Measured, design: Design, host: HostConstants | None, row: Summary, trace: Trace) -> ModelRow:
    fusion, launch = POLICIES[row.mode]
    warm = with_cache(design, "warm")
    alone = simulate(trace, free_of_host(warm, "profiler"), fusion, launch=launch)
    whole = simulate(trace, with_host(warm, host) if host else warm, fusion, launch=launch)
    return ModelRow(
        device=str(measured.header.device.get("name", "")),
        design=design.name,
        model=measured.cases[row.case].name,
        mode=row.mode,
        fusion=alone.fusion,
        kernels=len(alone.program),
        launches=row.launches,
        device_time=Pair(predicted=alone.time, measured=row.kernel_s),
        wall=Pair(predicted=whole.time, measured=row.wall_s),
        measured_host=host is not None,
        stable=row.stable,
        parts=parts_of(alone.graph, alone.program, alone.timeline),
    )
