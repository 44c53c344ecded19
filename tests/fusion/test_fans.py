"""How many users a value has: a split into a list of parts is one, a slice each."""

from __future__ import annotations

import pytest

from hiersim.frontends.aten.call import Cost
from hiersim.frontends.tables import OperatorBuilder, Row, Storage, TensorBuilder, TensorKey, accesses
from hiersim.fusion.inductor.buffers import Stored
from hiersim.fusion.inductor.policy import schedule
from hiersim.model.operators import DType, Flag, Kind, Phase, Role
from hiersim.model.trace import OperatorGraph

SIDE, OPERANDS = 64, 5
"""One operand more than `realize_reads_threshold`, so that a value with several users is stored."""


def row(name: str, kind: Kind) -> Row:
    """A call of `name`."""
    cost = Cost(kind=kind, vector_flops=0 if kind is Kind.VIEW else 2 * SIDE)
    return Row(
        name=f"aten.{name}.default", module="", phase=Phase.FORWARD, flags=Flag.NONE, dtype=DType.FP32, cost=cost
    )


def parts(view: str, readers: int) -> OperatorGraph:
    """A sum of a vector and four numbers, a view that takes two halves of it, and so many readers of each half."""
    tensors = TensorBuilder()

    def tensor(shape: tuple[int, ...], role: Role, output: bool = False) -> TensorKey:
        size = 4 * shape[0]
        storage = tensors.storage(Storage(size=size, role=role))
        tensors.storages[storage].output = output
        return TensorKey(storage=storage, dtype=DType.FP32, shape=shape, size=size)

    given = [tensor((side,), Role.INPUT) for side in (2 * SIDE, *[1] * (OPERANDS - 1))]
    total = tensor((2 * SIDE,), Role.ACTIVATION)
    halves = [
        TensorKey(storage=total.storage, dtype=DType.FP32, shape=(SIDE,), offset=4 * SIDE * half, size=4 * SIDE)
        for half in (0, 1)
    ]
    rows = [row("sum_of_five", Kind.POINTWISE), row(view, Kind.VIEW)]
    reads, writes = [[(key, key.size) for key in given], []], [[(total, total.size)], []]
    for half in halves:
        for number in range(readers):
            out = tensor((SIDE,), Role.ACTIVATION, output=True)
            rows.append(row(("exp", "neg")[number], Kind.POINTWISE))
            reads.append([(half, half.size)])
            writes.append([(out, out.size)])
    return OperatorGraph(
        reads=accesses(reads, tensors), writes=accesses(writes, tensors), tensors=tensors.build(),
        operators=OperatorBuilder(rows).build(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("view", "readers", "stored"), [("split", 1, False), ("unbind", 1, False), ("slice", 1, True), ("split", 2, True)]
)
def test_a_list_of_parts_is_one_user(view: str, readers: int, stored: bool) -> None:
    reason = schedule(parts(view, readers)).buffers.stored[0]
    assert reason == (Stored.READS if stored else Stored.NO)
