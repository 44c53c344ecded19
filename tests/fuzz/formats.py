"""What is fuzzed: each format with sound files to begin with, how to change them, and its reader."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import mutate
from hostile_traces import good_archive, good_rows
from mutate import Mutator
from profiles import mlp_profile

import hiersim as hs
from hiersim.frontends.hlo.build import import_hlo
from hiersim.model.trace import Trace

HLO: Final = Path(__file__).parent / "seed.hlo"
TABLE: Final = """name,kind,op,dims,shape,dtype,inputs,count,flops
fc1,gemm,,m=64 n=512 k=256,,bf16,x:input w1:weight b1:weight:512,1,
act,,aten.gelu,,64x512,bf16,fc1,1,
conv,conv,,images=1 pixels=49 channels=64 inputs=3 window=9,,fp32,,2,
sum,reduction,,rows=64 columns=512,64,fp32,act,1,100
fc2,gemm,,m=64 n=256 k=512,,bf16,act w2:weight,1,
"""
YAML: Final = """name: mlp
dtype: bf16
operators:
  - {name: fc1, kind: gemm, dims: {m: 64, n: 512, k: 256}, inputs: ["x:input", "w1:weight"]}
  - {name: act, kind: pointwise, shape: [64, 512], inputs: [fc1]}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One format of files."""

    suffix: str
    seeds: tuple[bytes, ...]
    mutators: tuple[Mutator, ...]
    read: Callable[[Path], Trace]


def formats() -> dict[str, Format]:
    """All formats that can be read here: ONNX and its runtime need their packages."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "capture"))
    profile = json.dumps(mlp_profile().whole()).encode()
    chakra, nodes = _chakra()
    found = {
        "rows": _format(".jsonl", [good_rows().encode()], [mutate.json_rows, mutate.text], hs.load_trace),
        "archive": _format(".npz", [_archive()], [mutate.archive], hs.load_trace),
        "kineto": _format(".json", [profile], [mutate.json_value, mutate.text], hs.import_kineto),
        "chakra": _format(".et", [chakra], [mutate.delimited], hs.import_chakra),
        "chakra-json": _format(".json", [nodes], [mutate.json_value], hs.import_chakra),
        "hlo": _format(".txt", [HLO.read_bytes()], [mutate.text], import_hlo),
        "table": _format(".csv", [TABLE.encode()], [mutate.text], hs.import_table),
        "yaml": _format(".yaml", [YAML.encode()], [mutate.text], hs.import_table),
    }
    try:
        import onnx_models
    except ImportError:
        return found
    models = [onnx_models.encoder(layers=1), onnx_models.network()]
    found["onnx"] = _format(".onnx", models, [mutate.message], hs.import_onnx)
    if find_spec("onnxruntime"):
        optimised = partial(hs.import_onnx, runtime="extended")
        found["onnx-runtime"] = _format(".onnx", models, [mutate.message], optimised)
    return found


def _format(suffix: str, seeds: list[bytes], mutators: list[Mutator], read: Any) -> Format:
    return Format(suffix=suffix, seeds=tuple(seeds), mutators=(*mutators, *mutators, *mutators, mutate.raw), read=read)


def _archive() -> bytes:
    with TemporaryDirectory() as folder:
        return good_archive(Path(folder) / "t.npz")


def _chakra() -> tuple[bytes, bytes]:
    """An exported trace, and nodes as the jsonizer writes them."""
    with TemporaryDirectory() as folder:
        (Path(folder) / "t.jsonl").write_text(good_rows())
        hs.export_chakra(hs.load_trace(Path(folder) / "t.jsonl"), Path(folder) / "t.et")
        data = (Path(folder) / "t.et").read_bytes()
    tensor = [1, 2, 0, 64, 4, "cuda:0"]
    nodes = [
        {"id": at, "name": name, "type": "COMP_NODE", "data_deps": [at - 1] if at > 1 else [], "ctrl_deps": [],
         "duration_micros": 5 * at, "inputs": {"values": [tensor], "shapes": [[8, 8]], "types": ["Tensor(float)"]},
         "outputs": {"values": [tensor], "shapes": [[8, 8]], "types": ["Tensor(float)"]},
         "attr": [{"name": "is_cpu_op", "bool_val": at % 2 == 0}]}
        for at, name in enumerate(("aten::mm", "aten::relu", "aten::add", "ncclKernel"), 1)
    ]  # fmt: skip
    return data, json.dumps({"schema": "1.1.0", "nodes": nodes}).encode()
