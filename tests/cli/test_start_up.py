"""Starting is quick: nothing heavy is imported before it is needed."""

from __future__ import annotations

import subprocess
import sys
import time

HEAVY = ("numpy", "pydantic", "ruamel.yaml", "rich", "click", "simpy", "pandas", "torch", "networkx", "matplotlib")


NOT_FOR_A_RUN = (
    "simpy", "pandas", "torch", "networkx", "matplotlib", "pyarrow", "scipy", "IPython", "asyncio", "multiprocessing",
    "hiersim.calibration", "hiersim.decisions", "hiersim.engines.reference", "hiersim.explanation", "hiersim.measure",
    "hiersim.movement", "hiersim.sweeps", "hiersim.testing", "hiersim.validation", "hiersim.views.report",
    "hiersim.zoo", "hiersim.frontends.pytorch", "hiersim.frontends.variants", "hiersim.model.dram_presets",
    "pydantic", "ruamel.yaml",
)  # fmt: skip
"""What a plain run with a bundled design and trace has no use for."""


def modules_after(statement: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {statement}; print(' '.join(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_importing_the_package_imports_nothing_heavy() -> None:
    assert modules_after("import hiersim").isdisjoint(HEAVY)


def test_the_command_line_starts_with_click_alone() -> None:
    assert modules_after("import hiersim.cli.main").isdisjoint(set(HEAVY) - {"click"})


def test_a_plain_run_imports_what_it_uses() -> None:
    """Most of the second that `hiersim run` takes is imports: counted, where a time would be noise."""
    arguments = ["hiersim", "run", "bert-large-prefill", "--design", "h100-sxm", "-q"]
    run = f"import contextlib, hiersim.cli.main as m; sys.argv = {arguments}"
    loaded = modules_after(f"{run}; exec('with contextlib.suppress(SystemExit): m.run()')")
    assert "hiersim.engines.compiled" in loaded, "it ran"
    assert loaded.isdisjoint(NOT_FOR_A_RUN)
    assert len([name for name in loaded if name.startswith("hiersim.")]) <= 156


def test_importing_costs_no_more_than_numpy_and_100_ms() -> None:
    def best(statement: str) -> float:
        times = []
        for _ in range(3):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", statement], check=True)
            times.append(time.perf_counter() - start)
        return min(times)

    assert best("import hiersim") <= best("import numpy") + 0.1
