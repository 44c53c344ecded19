"""Starting is quick: nothing heavy is imported before it is needed."""

from __future__ import annotations

import subprocess
import sys
import time

HEAVY = ("numpy", "pydantic", "ruamel.yaml", "rich", "click", "simpy", "pandas", "torch", "networkx", "matplotlib")


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


def test_importing_costs_no_more_than_numpy_and_100_ms() -> None:
    def best(statement: str) -> float:
        times = []
        for _ in range(3):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", statement], check=True)
            times.append(time.perf_counter() - start)
        return min(times)

    assert best("import hiersim") <= best("import numpy") + 0.1
