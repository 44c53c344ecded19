"""What one would pick instead of a simulator, or could at best hope for: rooflines, and bare loops in C.

The rooflines know arithmetic and bytes per operator and nothing else. The loops in C play the tiles of one kernel and
tell nothing but the makespan: they are the limit for an engine that also says where each tick went.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hiersim.model.operators import HOST_ONLY
from hiersim.model.program import Program
from hiersim.model.trace import Trace

Columns = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
SOURCE = Path(__file__).with_name("limits.c")


def roofline_columns(trace: Trace) -> Columns:
    """FLOPs and bytes of every launching operator of `trace`, two arrays (K,)."""
    graph = trace.graph
    rows = np.flatnonzero(~np.isin(graph.operators.kind, [int(kind) for kind in HOST_ONLY]))
    moved = np.zeros(len(graph.operators), np.int64)
    for access in (graph.reads, graph.writes):
        np.add.at(moved, np.repeat(np.arange(len(moved)), np.diff(access.ptr)), access.size)
    flops = graph.operators.matrix_flops - graph.operators.masked_flops + graph.operators.vector_flops
    return flops[rows].astype(np.float64), moved[rows].astype(np.float64)


def roofline_numpy(columns: Columns, peak: float, bandwidth: float) -> float:
    """Seconds of the model by a roofline, all operators at once."""
    return float(np.maximum(columns[0] / peak, columns[1] / bandwidth).sum())


def roofline_python(rows: list[tuple[float, float]], peak: float, bandwidth: float) -> float:
    """The same, one operator after the other."""
    total = 0.0
    for flops, moved in rows:
        total += max(flops / peak, moved / bandwidth)
    return total


@cache
def library() -> ctypes.CDLL | None:
    """The loops in C, compiled into a temporary folder; None without a compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    target = Path(tempfile.mkdtemp(prefix="hiersim-bench-")) / "limits.so"
    command = [compiler, "-O3", "-march=native", "-shared", "-fPIC", str(SOURCE), "-o", str(target)]
    try:
        subprocess.run(command, check=True, capture_output=True)
        return ctypes.CDLL(str(target))
    except (OSError, subprocess.CalledProcessError):
        return None
    finally:
        shutil.rmtree(target.parent, ignore_errors=True)


def bare_loop(name: str, program: Program) -> Callable[[], int] | None:
    """`events` or `known` of limits.c over the first kernel of `program`, a function without arguments."""
    loaded = library()
    if loaded is None:
        return None
    function = getattr(loaded, name)
    function.restype = ctypes.c_int64
    pointer = ctypes.POINTER(ctypes.c_int64)
    columns = [program.stage_resource, program.stage_ticks, program.stage_latency]
    begin = int(program.host_ticks[0] + program.launch_latency[0] + program.start_ticks[0])
    arguments = (
        ctypes.c_int64(int(program.loop_repeat[0])),
        ctypes.c_int(int(program.stage_ptr[1])),
        *(np.ascontiguousarray(column, np.int64).ctypes.data_as(pointer) for column in columns),
        ctypes.c_int(int(program.release_stage[0])),
        ctypes.c_int64(int(program.depth[0])),
        ctypes.c_int(len(program.resources)),
        ctypes.c_int64(begin),
    )
    return lambda: int(function(*arguments))
