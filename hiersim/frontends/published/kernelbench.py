"""KernelBench on H100 PCIe: the operators of its first level, run eagerly and compiled by TorchInductor.

A CSV file holds a row per problem: `problem`, `eager_mean_ms`, `inductor_mean_ms`, means of 100 device events with the
same tensors. What each problem calls stands in `aten_ops_level1.jsonl` beside it: ATen operators with the shapes of
their tensors, without the numbers among their arguments. Softmax takes the last dimension, norms those of their
weights, as the problems do. Convolutions and pooling, whose strides and windows are not there, attention (captured on
a CPU) and operators without a cost rule are not rebuilt. Read for what compilation gains: nothing here chose a rule.

References
----------
A. Ouyang et al.: KernelBench: can LLMs write efficient GPU kernels?, 2025; results of version 0.2 (MIT).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, Final

from hiersim.errors import HiersimError, MeasurementError
from hiersim.frontends.aten import NOT_OPERATORS, TABLE_READS, VIEWS, functional, gathered_elements
from hiersim.frontends.aten.call import Call, Operand
from hiersim.frontends.aten.rules import RULES
from hiersim.frontends.lines import lines
from hiersim.frontends.measured import Case, Measured
from hiersim.frontends.published.sketch import Sheet, Sketch
from hiersim.frontends.published.table import Row, Sheaf, csv_rows
from hiersim.model.operators import BITS, DType

NEEDED: Final = ("device", "level", "problem", "eager_mean_ms", "inductor_mean_ms")
COMMAND: Final = "KernelBench 0.2, level 1"
PUBLISHED: Final = "2025"
SUITE: Final = "kernelbench"
CALLS: Final = ("aten_ops_level1.jsonl.gz", "aten_ops_level1.jsonl")
_DTYPES: Final = {"float32": DType.FP32, "int64": DType.INT64, "bool": DType.BOOL, "uint8": DType.INT8}
_UNKNOWN: Final = frozenset(("convolution", "avg_pool2d", "max_pool2d_with_indices"))
"""Packets whose work the shapes do not tell."""


def load(path: Path) -> tuple[Measured, ...]:
    """Read a table of problems, and their calls beside it.

    Raises
    ------
    MeasurementError
        With file, line and column of the first fault.
    """
    calls = _calls(path.parent)
    sheaves: dict[str, Sheaf] = {}
    for row in csv_rows(path, NEEDED):
        device, problem = row.text("device"), row.text("problem")
        sheaf = sheaves.setdefault(device, Sheaf(device, COMMAND, PUBLISHED))
        found, missing = calls.get(problem, []), ""
        if not found:
            missing = "no list of the problem's calls"
        unknown = sorted({name for name in map(_packet, found) if not _is_known(name)})
        if unknown:
            missing = f"the shapes do not tell the work of {unknown[0]}"
        title = problem.removesuffix(".py").strip("_")
        if missing:
            sheaf.skip(Case(case=f"{SUITE}/{title}", suite=SUITE, name=title, dtype="fp32", params={}), missing)
            continue
        case = sheaf.fresh(_case(row, title, found))
        for mode, column in (("eager", "eager_mean_ms"), ("compiled", "inductor_mean_ms")):
            sheaf.time(case, row.positive(column) / 1e3, clock="events", cache="warm", mode=mode, n=100)
    return tuple(sheaf.measured() for sheaf in sheaves.values())


def _calls(folder: Path) -> Mapping[str, list[dict[str, Any]]]:
    """Problem → its calls."""
    found = next((folder / name for name in CALLS if (folder / name).is_file()), None)
    if found is None:
        return {}
    return {str(entry["problem"]): entry["ops"] for entry in _entries(found)}


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    line = 0
    try:
        for text in lines(path, str(path)):
            line += 1
            entry = json.loads(text)
            if not isinstance(entry, dict) or not isinstance(entry.get("ops"), list) or "problem" not in entry:
                raise ValueError("is no list of calls")
            yield entry
    except (HiersimError, ValueError, OSError, EOFError) as error:
        reason = error.problem if isinstance(error, HiersimError) else str(error)
        raise MeasurementError(reason, file=str(path), line=line, expected="JSON lines: problem, ops") from None


def _packet(call: Mapping[str, Any]) -> str:
    return "view" if call.get("view") else functional(str(call["op"]))


def _is_known(name: str) -> bool:
    return (name in RULES and name not in _UNKNOWN) or name in VIEWS or name in NOT_OPERATORS


def _case(row: Row, title: str, calls: Sequence[Mapping[str, Any]]) -> Case:
    sketch, sheets = Sketch(DType.FP32), dict[int, Sheet]()

    def sheet(entry: Sequence[Any]) -> Sheet:
        number, shape, dtype = int(entry[0]), tuple(map(int, entry[1])), str(entry[2])
        if dtype not in _DTYPES:
            row.fail(f"'{dtype[:40]}' is no dtype that is known here", "problem", ", ".join(_DTYPES))
        if number not in sheets:
            sheets[number] = sketch.given(f"x{number}", shape, "input", _DTYPES[dtype])
        return sheets[number]

    try:
        for call in calls:
            name, reads = _packet(call), [sheet(entry) for entry in call["inp"]]
            if not call["out"] or name in NOT_OPERATORS:
                continue
            (number, shape, dtype), *others = call["out"]
            if name in VIEWS:
                sheets[number] = sketch.view(reads[0], tuple(shape), operator=str(call["op"]))
                continue
            output = (Operand(shape=tuple(shape), dtype=_DTYPES[dtype]),)
            more = [(tuple(form[1]), _DTYPES[form[2]]) for form in others]
            result = sketch.run(
                str(call["op"]), reads, tuple(shape), arguments=_arguments(name, reads), dtype=_DTYPES[dtype],
                more=more, name=f"y{len(sketch.taken)}", moved=_looked_up(str(call["op"]), reads, output),
            )  # fmt: skip
            sheets[number] = result
            for form, further in zip(others, sketch.taken[-1].writes[1:], strict=True):
                sheets[int(form[0])] = further
    except (KeyError, TypeError, IndexError, ValueError):
        row.fail("has a call that cannot be read", "problem", "op, and inp and out: number, shape, dtype")
    return sketch.case(suite=SUITE, name=title, params={}, line=row.line)


def _looked_up(operator: str, reads: Sequence[Sheet], outputs: tuple[Operand, ...]) -> dict[str, int]:
    """Bytes that a gather reads of its table."""
    place = TABLE_READS.get(functional(operator))
    if place is None:
        return {}
    call = Call(name=operator, args=tuple(sheet.operand for sheet in reads), outputs=outputs)
    return {reads[place].name: gathered_elements(call) * BITS[reads[place].dtype] // 8}


def _arguments(name: str, reads: Sequence[Sheet]) -> list[Any]:
    """All arguments in the operator's order, as far as the cost rules ask for them."""
    x, *rest = reads
    if name in ("_softmax", "_log_softmax"):
        return [x, -1, False]
    if name == "native_layer_norm":
        return [x, rest[0].shape, *rest]
    if name == "native_batch_norm":  # a module that was never told to infer
        affine = [*rest, *(None for _ in range(4 - len(rest)))]
        return [x, *affine, True]
    if name == "native_group_norm":
        return [x, *rest, x.shape[0], x.shape[1], prod(x.shape[2:]), 8]
    return list(reads)
