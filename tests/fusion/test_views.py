"""Views that list reads and writes, as other tools write them, are taken for what they are: other names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import hiersim as hs
from hiersim.errors import FusionError
from hiersim.fusion.registry import policies
from hiersim.model.trace import Trace
from hiersim.testing.contracts import asked_bytes, check_policy

SIZE = {"shape": [64, 64], "dtype": "fp32"}
VECTOR = {"flops": {"vector": 4096}}


def written(path: Path, *rows: dict[str, object]) -> Trace:
    header = {"format": "hiersim-trace", "version": 1, "name": path.stem}
    path.write_text("\n".join(map(json.dumps, (header, *rows))))
    return hs.load_trace(str(path))


def tensor(name: str, **more: object) -> dict[str, object]:
    return {"tensor": name, **SIZE, "role": "activation", **more}


def operator(name: str, reads: list[str], writes: list[str], kind: str = "pointwise") -> dict[str, object]:
    return {"operator": name, "kind": kind, "reads": reads, "writes": writes, **(VECTOR if kind != "view" else {})}


def of_own_tensors(path: Path) -> Trace:
    """A view of a view, half of a result, a change in place through a view, a view as a result, one of a weight."""
    return written(
        path,
        tensor("x", role="input"),
        tensor("w", role="weight"),
        *map(tensor, ("a", "flat", "again", "b", "c", "d", "wt")),
        {"tensor": "half", "shape": [32, 64], "dtype": "fp32", "role": "activation"},
        {"tensor": "e", "shape": [32, 64], "dtype": "fp32", "role": "activation", "output": True},
        tensor("out", output=True),
        operator("relu", ["x"], ["a"]),
        operator("view", ["a"], ["flat"], "view"),
        operator("view", ["flat"], ["again"], "view"),
        operator("add_", ["again"], ["again"]),
        operator("exp", ["a"], ["b"]),
        operator("t", ["w"], ["wt"], "view"),
        operator("mul", ["b", "wt"], ["c"]),
        operator("chunk", ["c"], ["half"], "view"),
        {**operator("neg", ["half"], ["e"]), "flops": {"vector": 2048}},
        operator("sin", ["c"], ["d"]),
        operator("view", ["d"], ["out"], "view"),
    )


def by_the_letter(path: Path) -> Trace:
    """The same with views that touch nothing, of tensors that share storages."""
    half = {"shape": [32, 64], "dtype": "fp32"}
    return written(
        path,
        tensor("x", role="input"),
        tensor("w", role="weight"),
        *map(tensor, ("a", "b", "c")),
        tensor("d", output=True),
        {"tensor": "half", **half, "storage": "c", "offset": 0},
        {"tensor": "e", **half, "role": "activation", "output": True},
        operator("relu", ["x"], ["a"]),
        operator("view", [], [], "view"),
        operator("view", [], [], "view"),
        operator("add_", ["a"], ["a"]),
        operator("exp", ["a"], ["b"]),
        operator("t", [], [], "view"),
        operator("mul", ["b", "w"], ["c"]),
        operator("chunk", [], [], "view"),
        {**operator("neg", ["half"], ["e"]), "flops": {"vector": 2048}},
        operator("sin", ["c"], ["d"]),
        operator("view", [], [], "view"),
    )


@pytest.mark.parametrize("policy", sorted(policies()))
def test_every_policy_makes_the_same_of_both_spellings(policy: str, tmp_path: Path) -> None:
    machine, make = hs.load_design("tiny"), policies()[policy]
    one, other = of_own_tensors(tmp_path / "own.jsonl"), by_the_letter(tmp_path / "letter.jsonl")
    try:
        kernels = make(other, machine)
    except FusionError:  # replays a captured schedule, which neither has
        with pytest.raises(FusionError, match="no captured"):
            make(one, machine)
        return
    same = make(one, machine)
    check_policy(one, same)
    assert same.names == kernels.names
    assert (same.reads.size.tolist(), same.writes.size.tolist()) == (
        kernels.reads.size.tolist(),
        kernels.writes.size.tolist(),
    )
    assert asked_bytes(same) == asked_bytes(kernels) > 0
    assert hs.simulate(one, machine, policy).time == hs.simulate(other, machine, policy).time


def test_a_view_that_lists_what_it_shows_in_place_is_no_access(tmp_path: Path) -> None:
    trace = written(
        tmp_path / "in_place.jsonl",
        tensor("x", role="input"),
        tensor("a"),
        tensor("b", output=True),
        operator("relu", ["x"], ["a"]),
        operator("view", ["a"], ["a"], "view"),
        operator("exp", ["a"], ["b"]),
    )
    assert trace.graph.reads.ptr.tolist() == [0, 1, 1, 2]
    assert asked_bytes(policies()["inductor-rules"](trace, hs.load_design("tiny"))) == 2 * 64 * 64 * 4
