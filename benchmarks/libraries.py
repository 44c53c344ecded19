"""Which models of transformers and timm can be captured: `python -m benchmarks.libraries hf|timm [NAME …]`.

One model of every family of timm, or every model type of transformers with the values of its configuration class, few
layers deep where that can be had. Each is captured in a fork with a limit of time and memory, and its matrix FLOPs are
held against those of `torch.utils.flop_counter`. Needs the extras torch, hf and timm. Exit code 1 where a model ended
in a traceback or with other FLOPs; a refusal in one line is an answer.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import resource
import select
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

MOST_BYTES: Final = 8 * 10**9
"""Private memory of a fork."""
TOLERANCE: Final = 0.005
"""Of FLOPs, relative."""
LAYERS: Final = re.compile(
    r"(num_hidden_layers|n_layers?|num_layers|(num_)?(encoder|decoder)_layers|depth|num_encoder_layers|num_decoder_layers)$"
)
"""Keys of a configuration that hold a number of layers."""
FEW: Final = 2
_SMALL: Final = (
    "atto", "femto", "pico", "nano", "xxt", "xxs", "xt", "xs", "tiny", "small", "s", "mini", "m0", "b0", "w18",
)  # fmt: skip
"""What names of models call a size, the smallest first."""


_USUAL: Final = (
    "auto.modeling_auto", "bert.modeling_bert", "clip.modeling_clip", "llama.modeling_llama",
    "mixtral.modeling_mixtral", "swin.modeling_swin", "whisper.modeling_whisper",
)  # fmt: skip
"""Modules of transformers that import what most of its models need."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What came of one model."""

    target: str
    verdict: str
    """`works`; `refused` in one line; `differs` in its FLOPs; `broken`: a traceback; `too long`."""
    operators: int = 0
    flops: int = 0
    by_torch: int = 0
    opaque: str = ""
    """Operators without a cost formula."""
    said: str = ""
    seconds: float = 0.0


def capture(target: str, mode: str) -> Finding:
    """Capture in this process; first a few layers deep, and as it is where that is refused; in FP32 if need be."""
    found = Finding(target=target, verdict="refused")
    few = _few_layers(target)
    for settings in dict.fromkeys((few, ())):
        found = _attempt(target, settings, mode)
        if "--dtype fp32" in found.said:
            found = _attempt(target, settings, mode, "fp32")
        if found.verdict != "refused":
            break
    return found


def _attempt(
    target: str, settings: tuple[tuple[str, str], ...], mode: str, dtype: str | None = None
) -> Finding:  # fmt: skip
    from benchmarks.torch_flops import flops_by_torch
    from hiersim.errors import HiersimError
    from hiersim.frontends.pytorch.record import record
    from hiersim.frontends.pytorch.workload import Workload

    workload = Workload(settings=settings, batch=None if target.startswith("hf:") else 1, dtype=dtype)
    try:
        trace, loaded = record(target, False, workload=workload)
        flops = int(trace.graph.operators.matrix_flops.sum())
        opaque = " ".join(note for note in trace.header.notes if "without a cost formula" in note)
        by_torch = flops
        if mode == "inductor":
            _schedule(target, loaded, trace)
        else:
            by_torch = flops_by_torch(target, workload=workload)
    except HiersimError as error:
        verdict = "differs" if "matrix FLOPs and eager mode" in str(error) else "refused"
        return Finding(target=target, verdict=verdict if "\n" not in str(error) else "broken", said=str(error))
    agrees = abs(flops - by_torch) <= TOLERANCE * by_torch
    return Finding(
        target=target, verdict="works" if agrees else "differs", operators=len(trace.graph.operators), flops=flops,
        by_torch=by_torch, opaque=opaque,
    )  # fmt: skip


def _schedule(target: str, loaded: Any, trace: Any) -> None:
    """TorchInductor's schedule; it raises where its matrix FLOPs are not those of the eager graph."""
    from hiersim.frontends.pytorch.huggingface import as_on_a_device
    from hiersim.frontends.pytorch.inductor import capture_schedule

    if target.startswith("hf:"):
        as_on_a_device()
    capture_schedule(loaded, trace.graph)


def _few_layers(target: str) -> tuple[tuple[str, str], ...]:
    """Settings that leave few layers of a configuration of transformers, of its parts too."""
    if not target.startswith("hf:"):
        return ()
    import transformers

    try:
        config = transformers.CONFIG_MAPPING[target.removeprefix("hf:")]()
    except Exception:
        return ()
    return tuple(_shallow(config, ""))


def _shallow(config: Any, path: str) -> Iterator[tuple[str, str]]:
    for key, value in vars(config).items():
        if LAYERS.search(key) and isinstance(value, int) and value > FEW:
            yield f"{path}{key}", str(FEW)
    for key in getattr(config, "sub_configs", {}):
        if getattr(config, key, None) is not None:
            yield from _shallow(getattr(config, key), f"{path}{key}.")


def apart(target: str, mode: str, seconds: float) -> Finding:
    """`capture` in a fork."""
    begun = time.perf_counter()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        _answer(write, target, mode)
    os.close(write)
    data = b""
    while (left := begun + seconds - time.perf_counter()) > 0 and select.select([read], [], [], left)[0]:
        piece = os.read(read, 65_536)
        if not piece:
            break
        data += piece
    else:
        os.kill(child, signal.SIGKILL)
    os.close(read)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    took = round(time.perf_counter() - begun, 1)
    if data and status == 0:
        return Finding(**{**json.loads(data), "seconds": took})
    verdict = "too long" if took >= seconds else "broken"
    return Finding(target=target, verdict=verdict, said=f"ended with status {status}", seconds=took)


def _answer(write: int, target: str, mode: str) -> None:
    """The fork: capture, say what came of it, end."""
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    try:
        found = capture(target, mode)
    except BaseException as error:
        where = error.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        place = f" ({Path(where.tb_frame.f_code.co_filename).name}:{where.tb_lineno})" if where else ""
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}{place}"
        found = Finding(target=target, verdict="broken", said=said)
    with os.fdopen(write, "w") as answer:
        json.dump(asdict(found), answer)
    os._exit(0)


def model_types() -> list[str]:
    """All model types of transformers."""
    import transformers

    return [f"hf:{name}" for name in transformers.CONFIG_MAPPING]


def families() -> list[str]:
    """A small model of each family of timm: of each first word of the names in each module."""
    import timm

    found: dict[tuple[str, str], list[str]] = {}
    for module in timm.list_modules():
        for name in timm.list_models(module=module):
            word = re.match(r"[a-z]+", name)
            if word and word[0] != "test":
                found.setdefault((module, word[0]), []).append(name)
    return [f"timm:{min(names, key=_size)}" for _, names in sorted(found.items())]


def _size(name: str) -> tuple[int, int, str]:
    """Order of sizes as names tell them."""
    words = re.split(r"[_.]", name)
    rank = min((place for place, word in enumerate(_SMALL) if word in words), default=len(_SMALL))
    return rank, int((re.findall(r"\d+", name) or ["0"])[0]), name


def walk(targets: Iterable[str], mode: str, seconds: float, out: Path | None) -> Iterator[Finding]:
    """Each target in turn; `out` keeps them as JSON lines, and a later call goes on behind those that it has."""
    lines = out.read_text().splitlines() if out is not None and out.exists() else []
    before = {found.target: found for found in (Finding(**json.loads(line)) for line in lines)}
    for target in targets:
        found = before.get(target)
        if found is None:
            found = apart(target, mode, seconds)
            if out is not None:
                with out.open("a") as file:
                    file.write(json.dumps(asdict(found)) + "\n")
        yield found


def _prepare(kind: str, mode: str) -> None:
    """Import what all forks share."""
    from hiersim.frontends.pytorch.torchvision_names import declare_torchvision

    importlib.import_module("benchmarks.torch_flops")
    importlib.import_module("hiersim.frontends.pytorch.huggingface")._library() if kind == "hf" else None
    declare_torchvision()
    shared = ("timm",) if kind == "timm" else (f"transformers.models.{name}" for name in _USUAL)
    for name in shared:
        importlib.import_module(name)
    if mode == "inductor":
        for name in importlib.import_module("hiersim.frontends.pytorch.child").WARM:
            importlib.import_module(name)


def main() -> int:
    """Print what is not as it should be as it comes, then the counts."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.libraries", description=__doc__.split("\n")[0])
    parser.add_argument("library", choices=["hf", "timm"])
    parser.add_argument("names", nargs="*", help="model types or models (default: all)")
    parser.add_argument("--mode", default="eager", choices=["eager", "inductor"])
    parser.add_argument("--seconds", type=float, default=120.0, help="of each model")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every Nth")
    parser.add_argument("--out", type=Path, help="JSON lines; what is there is not tried again")
    arguments = parser.parse_intermixed_args()
    _prepare(arguments.library, arguments.mode)
    names = [f"{arguments.library}:{name}" for name in arguments.names]
    targets = names or (families() if arguments.library == "timm" else model_types())[:: arguments.every]
    counts: Counter[str] = Counter()
    for found in walk(targets, arguments.mode, arguments.seconds, arguments.out):
        counts[found.verdict] += 1
        if found.verdict != "works" or found.opaque or names:
            figures = f"{found.flops} FLOPs, by torch {found.by_torch}" if found.operators else ""
            print(f"{found.target}: {found.verdict} {figures} {found.said} {found.opaque}".rstrip(), flush=True)
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.most_common()))
    return int(counts["broken"] + counts["differs"] > 0)


if __name__ == "__main__":
    sys.exit(main())
