"""`python -m benchmarks.leave_one_out --data DIR …`: what a GPU's own measurements add to its predictions, as Markdown.

The few constants that all designs of GPUs share are fitted to the operators of all measured devices, and once more for
each device without it; the device is then scored with both. Devices that are never fitted to (`BLIND`) are left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from hiersim.calibration.observations import Observations, observe
from hiersim.calibration.shared import ROUNDS, SHARED, Device, LeftOut, Shared, SharedProblem, leave_one_out
from hiersim.config.load import load_design
from hiersim.errors import HiersimError
from hiersim.frontends.measured import Measured, load_measured
from hiersim.frontends.published.recognize import published
from hiersim.measure.constants import stated_constants
from hiersim.validation.devices import BLIND, DEVICES
from hiersim.validation.model_traces import ModelTraces
from hiersim.validation.sample import sampled
from hiersim.validation.validate import measured_files

SISTERS = {"h100-sxm": ("h200-sxm", "h200-sxm-2026-11-27")}
"""Design -> that of a card with the same cores, and the folder of its measurements."""
ROWS = 150
"""Measured times of a device that are fitted to and scored, about: as many of each, so that each counts alike."""
MOST = 64
MEASUREMENTS = Path(__file__).parents[1] / "measurements"


def measured_in(paths: Sequence[str], blind: bool = False) -> Iterator[Measured]:
    """What the files hold of devices with a design, single operators only; those that are fitted to, or the others."""
    for path in measured_files(paths):
        load = published(path)
        for found in load(path) if load else (load_measured(path),):
            name = str(found.header.device.get("name", ""))
            chosen = name in DEVICES and (name in BLIND) == blind
            if chosen and any(case.rows for case in found.cases.values()):
                yield found


def device_of(design: str, found: Sequence[Measured], rows: int) -> Device:
    """A device with about `rows` of its rows: a larger and larger sample of each class, until there are enough."""
    for count in range(1, MOST):
        observations = Observations()
        for measured in found:
            operators = replace(sampled(measured, count), summaries=())
            part = observe(operators, ModelTraces(), host=stated_constants(measured))
            observations.rows += part.rows
            observations.parts += part.parts
        if len(observations.rows) >= rows:
            break
    return Device(name=design, design=load_design(design), observations=observations)


def devices(paths: Sequence[str], rows: int) -> list[Device]:
    """One for each design."""
    by_design: dict[str, list[Measured]] = {}
    for found in measured_in(paths):
        by_design.setdefault(DEVICES[str(found.header.device["name"])], []).append(found)
    return [device_of(design, found, rows) for design, found in sorted(by_design.items())]


def page(everything: Shared, rows: Sequence[LeftOut]) -> str:
    """Both tables."""
    lines = [
        "| left out | rows | as shipped | fitted to all | to all others | change, points | not told by the others |",
        "|---|--:|--:|--:|--:|--:|---|",
    ]
    for row in rows:
        errors = " | ".join(f"{100 * item.mape:.1f}" for item in (row.shipped, row.seen, row.unseen))
        left = ", ".join(path.rpartition(".")[2] for path in row.others.left) or "–"
        lines.append(f"| {row.name} | {row.n} | {errors} | {100 * row.change:+.1f} | {left} |")
    lines += ["", "| value, times what ships | all | " + " | ".join(f"without {row.name}" for row in rows) + " |"]
    lines.append("|---|" + "--:|" * (len(rows) + 1))
    for path in SHARED:
        cells = [_cell(path, everything), *(_cell(path, row.others) for row in rows)]
        lines.append(f"| `{path}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def sister_lines(known: Sequence[Device], rows: int, rounds: int) -> Iterator[str]:
    """Devices with constants that only a sister card tells beside them: scored with the sister's, and their own fit."""
    yield "| scored | rows | as shipped | fitted to itself | fitted to its sister | change, points | not told by it |"
    yield "|---|--:|--:|--:|--:|--:|---|"
    for device in known:
        if device.name not in SISTERS:
            continue
        design, folder = SISTERS[device.name]
        found = list(measured_in([str(MEASUREMENTS / folder)], blind=True))
        told = SharedProblem([device_of(design, found, rows)]).fit(rounds=rounds)
        scored = SharedProblem([device])
        own = scored.fit(rounds=rounds)
        errors = [scored.accuracy(device, factors).mape for factors in ({}, own.factors, told.factors)]
        left = ", ".join(path.rpartition(".")[2] for path in told.left) or "–"
        cells = " | ".join(f"{100 * error:.1f}" for error in errors)
        yield f"| {device.name} | {len(device.measured)} | {cells} | {100 * (errors[2] - errors[1]):+.1f} | {left} |"
        yield ""
        yield f"| value, times what ships | by {device.name} | by {design} |"
        yield "|---|--:|--:|"
        yield from (f"| `{path}` | {_cell(path, own)} | {_cell(path, told)} |" for path in SHARED)


def _cell(path: str, shared: Shared) -> str:
    if path not in shared.between:
        return "–"
    low, high = shared.between[path]
    return f"{shared.factors[path]:.2f} ({low:.2f} to {high:.2f})"


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.leave_one_out", description=__doc__)
    parser.add_argument("--sister", action="store_true", help="only what a card of the same kind tells")
    parser.add_argument("--data", action="append", help="file or folder of measured times; repeatable")
    parser.add_argument("--rows", type=int, default=ROWS, help="measured times of each device, about")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="points at which derivatives are taken")
    options = parser.parse_args()
    if not options.sister and not options.data:
        parser.error("needs --data: measured times of other devices")
    bundled = MEASUREMENTS / "h100-sxm-2026-11-27"
    try:
        known = devices([str(bundled), *(options.data or ())], options.rows)
        if options.sister:
            print("\n".join(sister_lines(known, options.rows, options.rounds)))
            return 0
        problem = SharedProblem(known, tell=lambda text: print(text, file=sys.stderr))
        print(page(*leave_one_out(problem, options.rounds)))
    except HiersimError as error:
        print(f"leave_one_out: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
