"""Whole models that NeuSight measured end to end, eager and compiled, on V100, A100-40 and T4.

`neusight_e2e.csv` holds a row per run: device, model, mode (`inf`, `train`), sequence, batch, option (`fusion`:
`torch.compile`), layers, time in ms. What was run stands in the folder `neusight_labels` beside it: per device and
model a table of the nodes of its FX graph, with one layer written out. The layer is repeated as often as the run had
layers. Products of tensors that are not contiguous copy them first, as PyTorch's `matmul` does for four dimensions.

References
----------
S. Lee, A. Phanishayee, D. Mahajan: Forecasting GPU performance for deep learning training and inference, ASPLOS 2025;
results and labels of its artifact (MIT).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Final

from hiersim.frontends.measured import Case, Measured
from hiersim.frontends.published.gradients import backward
from hiersim.frontends.published.sketch import Sheet, Sketch
from hiersim.frontends.published.table import Row, Sheaf, csv_rows
from hiersim.model.operators import DType

NEEDED: Final = ("device", "model", "mode", "seqlen", "batch", "option", "num_layer", "e2e_latency")
NODES: Final = ("Name", "op", "target", "_args", "input_contiguous", "output_shape", "dtype")
"""Columns of a table of nodes."""
LABELS: Final = "neusight_labels"
COMMAND: Final = "NeuSight, ASPLOS 2025, end to end"
PUBLISHED: Final = "2025"
TORCH: Final = "2.2"
"""Not recorded. The artifact names 2.1.0 as tested and asks for any beside a transformers of February 2024, when 2.2
was current. Releases from 2.2 to 2.7 call a library for BERT's attention, which decides what compiling gains
(docs/fidelity.md says how much, and that this was chosen)."""
_DEVICES: Final = {"NVIDIA_A100-PCIE-40GB": "NVIDIA A100-PCIE-40GB"}
_DTYPES: Final = {"torch.float32": DType.FP32, "torch.int64": DType.INT64, "torch.bool": DType.BOOL}
_LAYER: Final = re.compile(r"(?:^|[._])(?:layer|h)[._]0(?:[._]|$)")
_VIEWS: Final = frozenset(("view", "permute", "transpose", "unsqueeze", "expand", "split", "to", "type", "getitem"))
_FILLS: Final = frozenset(("ones", "full", "arange"))
_ATEN: Final[Mapping[str, str]] = {
    "add": "aten.add.Tensor", "sub": "aten.rsub.Scalar", "mul": "aten.mul.Tensor", "truediv": "aten.div.Tensor",
    "pow": "aten.pow.Tensor_Scalar", "tanh": "aten.tanh.default", "where": "aten.where.self",
    "gelu": "aten.gelu.default", "relu": "aten.relu.default",
}  # fmt: skip


def load(path: Path) -> tuple[Measured, ...]:
    """Read the table of runs, and the tables of nodes beside it.

    Raises
    ------
    MeasurementError
        With file, line and column of the first fault.
    """
    sheaves: dict[str, Sheaf] = {}
    cases: dict[tuple[str, str], Case] = {}
    for row in csv_rows(path, NEEDED):
        device = _DEVICES.get(row.text("device"), row.text("device").replace("_", " "))
        sheaf = sheaves.setdefault(device, Sheaf(device, COMMAND, PUBLISHED, torch=TORCH))
        params = {"batch": row.size("batch"), "sequence": row.size("seqlen"), "layers": row.size("num_layer")}
        name = f"{row.text('model')}-{row.choice('mode', ('inf', 'train'))}-{params['sequence']}-{params['batch']}"
        nodes = _nodes(path, row.text("device"), name)
        suite = f"neusight model {'training' if row.text('mode') == 'train' else 'inference'}"
        if nodes is None:
            empty = Case(case=f"{suite}/{name}", suite=suite, name=row.text("model"), dtype="fp32", params=params)
            sheaf.skip(empty, "no table of the model's nodes")
            continue
        if (device, name) not in cases:
            model = _Model(nodes, params["layers"], row.text("mode") == "train")
            case = model.case(suite, row.text("model"), params, row.line)
            cases[device, name] = sheaf.fresh(case)
        mode = "compiled" if row.text("option") == "fusion" else "eager"
        seconds = row.positive("e2e_latency") / 1e3
        sheaf.time(cases[device, name], seconds, clock="wall", cache="warm", mode=mode)
    return tuple(sheaf.measured() for sheaf in sheaves.values())


def _nodes(path: Path, device: str, name: str) -> list[Row] | None:
    """The nodes of a model as they ran on the device, or on another where its table is missing."""
    folder = path.parent / LABELS
    own = folder / device / f"{name}.perop.csv.gz"
    found = own if own.is_file() else next(iter(sorted(folder.glob(f"*/{name}.perop.csv*"))), None)
    return list(csv_rows(found, NODES)) if found else None


class _Model:
    """Walks the nodes of an FX graph."""

    def __init__(self, nodes: Sequence[Row], layers: int, train: bool) -> None:
        self.sketch = Sketch(DType.FP32)
        self.train = train
        self.vocabulary = _vocabulary(nodes) if train else 0
        self.sheets: dict[str, Sheet] = {}
        self.suffix = ""
        self.results: list[Sheet] = []
        first, last, entry, leave = _layer_of(nodes)
        for node in nodes[:first]:
            self.take(node)
        for layer in range(layers):
            self.suffix = f".{layer}" if layers > 1 else ""
            if layer:
                self.sheets[entry] = self.sheets[leave]
            for node in nodes[first : last + 1]:
                self.take(node)
        self.suffix = ""
        for node in nodes[last + 1 :]:
            self.take(node)
        if train:
            backward(self.sketch, self.scored())

    def scored(self) -> list[Sheet]:
        """Results that a loss may take: those that nothing in the model reads."""
        read = {sheet.name for call in self.sketch.taken for sheet in call.reads}
        return [sheet for sheet in self.results if sheet.name not in read]

    def case(self, suite: str, name: str, params: Mapping[str, int], line: int) -> Case:
        """The model as a case; it is no kind of operator."""
        case = self.sketch.case(suite=suite, name=name, params=params, line=line, results=self.results)
        return replace(case, kind=None)

    def take(self, node: Row) -> None:
        """Add what a node runs; values of the host run nothing."""
        op, name = node.text("op"), node.text("Name") + self.suffix
        shape = _shape(node, node.text("output_shape"))
        if op == "output":
            self.results = self.inputs(node)
            return
        if node.text("dtype") not in _DTYPES:
            if node.text("target") == "split":
                self.sheets[node.text("Name")] = self.inputs(node)[0]
            return
        self.sheets[node.text("Name")] = self.sheet(node, op, name, shape)

    def sheet(self, node: Row, op: str, name: str, shape: tuple[int, ...]) -> Sheet:
        """What a node gives."""
        dtype, reads, target = _DTYPES[node.text("dtype")], self.inputs(node), _target(node)
        if op == "placeholder":
            return self.sketch.given(name, shape, "input", dtype)
        if op == "get_attr":
            return self.sketch.given(name, shape, "weight" if dtype is DType.FP32 else "constant", dtype)
        if op == "call_module":
            return self.module(node, name, reads, shape)
        if target in _VIEWS or (target == "contiguous" and node.text("input_contiguous") == "[True]"):
            return self.sketch.view(reads[0], shape, name, f"aten.{target}.default")
        if target == "contiguous":
            return self.sketch.run("aten.clone.default", reads, shape, name=name, dtype=dtype)
        if target in _FILLS:
            return self.sketch.run(f"aten.{target}.default", (), shape, name=name, dtype=dtype)
        if target == "matmul":
            return self.matmul(node, name, reads, shape)
        if target == "addmm":
            return self.sketch.run("aten.addmm.default", reads, shape, name=name)
        if target == "softmax":
            arguments = (reads[0], -1, False)
            return self.sketch.run("aten._softmax.default", reads, shape, arguments=arguments, name=name)
        if target not in _ATEN:
            node.fail(f"'{target[:40]}' is no operator that is known here", "target", ", ".join(sorted(_ATEN)))
        return self.sketch.run(_ATEN[target], reads, shape, name=name, dtype=dtype)

    def module(self, node: Row, name: str, reads: list[Sheet], shape: tuple[int, ...]) -> Sheet:
        """A module of the model: embedding, norm, dropout (which runs nothing), activation or linear layer."""
        last, x = node.text("target").rpartition(".")[2].lower(), reads[0]
        width = shape[-1]
        if x.dtype is DType.INT64:
            rows = min(prod(x.shape), x.bytes // 8)
            tokens = self.train and self.sketch.role(x) == "input"
            held = max(rows, self.vocabulary) if tokens else prod(x.shape)
            table = self.sketch.given(f"{name}.weight", (held, width), "weight")
            moved = {table.name: rows * width * 4}
            return self.sketch.run("aten.embedding.default", (table, x), shape, name=name, moved=moved)
        if "drop" in last and self.train:
            return self.sketch.run("aten.native_dropout.default", (x,), shape, name=name, more=((shape, DType.BOOL),))
        if "drop" in last:
            return self.sketch.view(x, shape, name, "aten.dropout.default")
        if last == "activation":
            return self.sketch.run("aten.tanh.default", (x,), shape, name=name)
        bias = self.sketch.given(f"{name}.bias", (width,), "weight") if last != "lm_head" else None
        if last == "layernorm" or last.startswith("ln_"):
            weight = self.sketch.given(f"{name}.weight", (width,), "weight")
            reads = [x, weight, *([bias] if bias else [])]
            arguments = (x, (width,), weight, bias)
            return self.sketch.run("aten.native_layer_norm.default", reads, shape, arguments=arguments, name=name)
        weight = self.sketch.given(f"{name}.weight", (x.shape[-1], width), "weight")
        flat = self.sketch.view(x, (prod(x.shape[:-1]), x.shape[-1]), f"{name}.x")
        out = (flat.shape[0], width)
        if bias:
            y = self.sketch.run("aten.addmm.default", (bias, flat, weight), out, name=f"{name}.y")
        else:
            y = self.sketch.run("aten.mm.default", (flat, weight), out, name=f"{name}.y")
        return self.sketch.view(y, shape, name)

    def matmul(self, node: Row, name: str, reads: list[Sheet], shape: tuple[int, ...]) -> Sheet:
        """A batched product; operands that are not contiguous are copied before."""
        lead = prod(shape[:-2])
        flags = re.findall(r"True|False", node.text("input_contiguous"))
        operands = []
        for place, (sheet, flag) in enumerate(zip(reads, flags, strict=True)):
            flat, label = (lead, *sheet.shape[-2:]), f"{name}.{place}"
            if flag == "True":
                operands.append(self.sketch.view(sheet, flat, label))
            else:
                copy = self.sketch.run("aten.clone.default", (sheet,), sheet.shape, name=label)
                operands.append(self.sketch.view(copy, flat, f"{label}.flat"))
        y = self.sketch.run("aten.bmm.default", operands, (lead, *shape[-2:]), name=f"{name}.y")
        return self.sketch.view(y, shape, name)

    def inputs(self, node: Row) -> list[Sheet]:
        """Tensors among the arguments, in order."""
        names = re.findall(r"[A-Za-z_]\w*", re.sub(r"'[^']*'", "", node.text("_args")))
        return [self.sheets[name] for name in names if name in self.sheets]


def _layer_of(nodes: Sequence[Row]) -> tuple[int, int, str, str]:
    """First and last node of the layer that is written out, the tensor that enters it and the one that leaves it."""
    named = [place for place, node in enumerate(nodes) if _LAYER.search(node.text("target"))]
    if not named:
        nodes[0].fail("holds no layer", "target", "nodes of a layer: …layer.0.… or …h.0.…")
    first, last = named[0], named[-1]
    while last + 1 < len(nodes) and nodes[last + 1].text("op") in ("call_function", "call_method"):
        last += 1
    before = {node.text("Name"): node.text("output_shape") for node in nodes[:first]}
    used = re.findall(r"[A-Za-z_]\w*", nodes[first].text("_args"))
    entry = next((name for name in used if name in before), None)
    if entry is None:
        nodes[first].fail("reads nothing from before", "_args", "the tensor that enters the layer")
    while last > first and nodes[last].text("output_shape") != before[entry]:
        last -= 1
    return first, last, entry, nodes[last].text("Name")


def _vocabulary(nodes: Sequence[Row]) -> int:
    """Tokens that a training step tells apart: the longest last side that a module gives."""
    sides = (_shape(node, node.text("output_shape"))[-1:] for node in nodes if node.text("op") == "call_module")
    return max((side for shape in sides for side in shape), default=0)


def _target(node: Row) -> str:
    """`<built-in function add>` and `<built-in method addmm of …>` are `add` and `addmm`."""
    text = node.text("target")
    match = re.match(r"<(?:built-in )?(?:function|method|class) '?(?:\w+\.)*(\w+)", text)
    return match.group(1) if match else text


def _shape(node: Row, text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"\((?:\d{1,9},? ?)*\)", text):
        node.fail(f"'{text[:40]}' is no shape", "output_shape", "(8, 512)")
    return tuple(int(side) for side in re.findall(r"\d+", text))
