"""Helpers of the tests of importers: what a reader may do with any bytes, and what two traces have in common."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from hiersim.errors import HiersimError
from hiersim.fusion.eager import eager
from hiersim.lowering.workload import compulsory_bytes
from hiersim.model.trace import Trace

SECONDS = 5.0


def survives(importer: Callable[[Path], Trace], path: Path, data: bytes) -> str:
    """`ok`, or the one-line error; anything else fails the test."""
    path.write_bytes(data)
    begun = time.monotonic()
    try:
        importer(path)
    except HiersimError as error:
        text = str(error)
        assert "\n" not in text and text.startswith(str(path)[-200:]), text
        return text
    finally:
        assert time.monotonic() - begun < SECONDS
    return "ok"


def refused(importer: Callable[[Path], Trace], path: Path, data: bytes | str, *parts: str) -> None:
    """The file is refused in one line that holds all of `parts`, with exit status 2."""
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    with pytest.raises(HiersimError) as caught:
        importer(path)
    assert caught.value.exit_code == 2
    for part in parts:
        assert part in str(caught.value), (part, str(caught.value))


def same_work(trace: Trace) -> dict[str, Any]:
    """What two descriptions of one model must agree on: the DAG up to naming, FLOPs and compulsory bytes."""
    graph = trace.graph
    operators, storage = graph.operators, graph.tensors.tensor_storage
    writer: dict[int, int] = {}
    edges: list[list[int]] = []
    for row in range(len(operators)):
        read, write = (
            storage[part.tensor[part.ptr[row] : part.ptr[row + 1]]].tolist() for part in (graph.reads, graph.writes)
        )
        edges.append(sorted(writer.get(index, -1) for index in read))
        writer.update(dict.fromkeys(write, row))
    return {
        "kinds": operators.kind.tolist(),
        "edges": edges,
        "matrix": int(operators.matrix_flops.sum()),
        "vector": int(operators.vector_flops.sum()),
        "special": int(operators.special_ops.sum()),
        "read": np.array([graph.reads.size[a:b].sum() for a, b in pairs(graph.reads.ptr)]).tolist(),
        "written": np.array([graph.writes.size[a:b].sum() for a, b in pairs(graph.writes.ptr)]).tolist(),
        "compulsory": compulsory_bytes(eager(trace)),
    }


def pairs(ptr: Any) -> list[tuple[int, int]]:
    """Begin and end of each row of a CSR."""
    return list(zip(ptr[:-1].tolist(), ptr[1:].tolist(), strict=True))


PIECES = (b"", b"\xff", b",", b":", b"[", b"{", b"0", b"-", b"\n", b'"', b"null", b"1e9", b"\x00", b"}", b"]")


def mutated(data: st.DataObject, whole: bytes) -> bytes:
    """A few pieces cut, doubled or replaced."""
    for _ in range(data.draw(st.integers(1, 4))):
        at, end = sorted(data.draw(st.tuples(*[st.integers(0, len(whole))] * 2)))
        end = min(end, at + data.draw(st.sampled_from((0, 1, 4, 40))))
        whole = whole[:at] + data.draw(st.sampled_from((whole[at:end] * 2, *PIECES))) + whole[end:]
    return whole
