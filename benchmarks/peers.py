"""Installable peers on the same workload: Llama-3-70B, prefill of 1 x 2048 tokens, in BF16, one design after the other.

Runs under the interpreter of a throw-away environment that has the peers, and needs nothing of hiersim:

    python -m venv peers && peers/bin/pip install genz-llm transformers
    git clone https://github.com/hahnyuan/LLM-Viewer
    HIERSIM_PEERS_PYTHON=peers/bin/python HIERSIM_LLM_VIEWER=LLM-Viewer make bench

Peers answer a smaller question (rooflines: no order, no caches, no waiting), so that seconds beside seconds compare the
price of an answer and not its worth. Prints one JSON object.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPEATS = 5
LLAMA = {
    "model_type": "llama",
    "hidden_size": 8192,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "num_hidden_layers": 80,
    "intermediate_size": 28_672,
    "vocab_size": 128_256,
}


def timed(name: str, rows: int, task: Callable[[int], float], number: int, began: float) -> dict[str, Any]:
    """Seconds of `task(design index)`; `rows` is how many operator estimates one call makes."""
    start = time.process_time()
    predicted = task(0)
    first = time.process_time() - start
    seconds = []
    for turn in range(REPEATS):
        start = time.process_time()
        for index in range(number):
            task(turn * number + index)
        seconds.append((time.process_time() - start) / number)
    return {
        "name": name, "rows": rows, "import_s": began, "first_s": first, "cpu_s": seconds,
        "designs_per_s": 1 / statistics.median(seconds), "rows_per_s": rows / statistics.median(seconds),
        "predicted_s": predicted,
    }  # fmt: skip


def genz() -> dict[str, Any]:
    """GenZ, from PyPI (`genz-llm`)."""
    began = time.process_time()
    from GenZ import System, prefill_moddeling  # type: ignore[import-not-found]

    spent = time.process_time() - began

    def run(index: int) -> Any:
        system = System(
            flops=989.4, offchip_mem_bw=3350 + index, off_chip_mem_size=160 * 1024, on_chip_mem_size=50, bits="bf16"
        )
        return prefill_moddeling(
            model="meta-llama/Llama-3.1-70B", batch_size=1, input_tokens=2048, system_name=system, bits="bf16"
        )

    rows = len(run(0)["model_df"])
    return timed("GenZ", rows, lambda index: float(run(index)["Latency"]) / 1e3, 5, spent)


def llm_viewer() -> dict[str, Any]:
    """LLM-Viewer, from a checkout named by HIERSIM_LLM_VIEWER."""
    folder = os.environ.get("HIERSIM_LLM_VIEWER", "")
    if not (Path(folder) / "model_analyzer.py").is_file():
        raise ImportError("HIERSIM_LLM_VIEWER does not name a checkout")
    began = time.process_time()
    sys.path.insert(0, folder)
    os.chdir(folder)
    from hardwares.hardware_params import hardware_params  # type: ignore[import-not-found]
    from model_analyzer import ModelAnalyzer  # type: ignore[import-not-found]

    spent = time.process_time() - began
    with tempfile.TemporaryDirectory() as model:
        (Path(model) / "config.json").write_text(json.dumps(LLAMA))
        analyzer = ModelAnalyzer(model, "nvidia_H100", "configs/Llama.py")

    def run(index: int) -> Any:
        hardware_params["nvidia_H100"]["bandwidth"] = 3.35e12 + index * 1e9
        return analyzer.analyze(seqlen=2048, batchsize=1, use_flashattention=True)

    first = run(0)
    rows = len(first["prefill"]) + len(first["decode"])
    return timed(
        "LLM-Viewer (prefill and decode)", rows,
        lambda index: float(run(index)["total_results"]["prefill"]["inference_time"]), 500, spent,
    )  # fmt: skip


def main() -> None:
    """Run what can be imported; say what was not there."""
    found, missing = [], {}
    for name, peer in (("GenZ", genz), ("LLM-Viewer", llm_viewer)):
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                found.append(peer())
        except Exception as error:  # a peer that is not there or breaks must not break the benchmark
            missing[name] = f"{type(error).__name__}: {error}".splitlines()[0]
    sys.stdout.write(json.dumps({"found": found, "missing": missing, "python": sys.version.split()[0]}) + "\n")


if __name__ == "__main__":
    main()
