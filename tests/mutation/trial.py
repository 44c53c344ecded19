"""One mutant, tried in a process of its own: the sources run interpreted, the changed one among them."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import signal
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from corpus import Case, check_compiled, check_reference
from gates import COMPILED, REFERENCE
from mutants import Change, Mutant, Source

CPU_SECONDS: Final = 3
"""For one program in all modes or one gate, which take at most a few tenths; then the mutant counts as hung."""
KEENEST: Final = 12
"""So many of the programs that have killed most go before the gates."""
MEMORY: Final = 3 << 30
ENGINE: Final = "hiersim.engines.compiled"
DEFINITION: Final = "hiersim.engines.reference"
OF_THE_DEFINITION: Final = ("hiersim.engines.ledger", DEFINITION)


class Bench:
    """Everything that is the same for all mutants; made once, then inherited by one forked process for each."""

    def __init__(self, root: Path, modules: Sequence[str], chain: Sequence[str], cases: Sequence[Case]) -> None:
        self.chain = [*dict.fromkeys([*chain, *modules]), ENGINE]
        self.sources = {name: Source(name, root / f"{name.replace('.', '/')}.py") for name in modules}
        self.codes = {}
        for name in self.chain:
            path = root / f"{name.replace('.', '/')}.py"
            self.codes[name] = compile(path.read_text(), str(path), "exec")
        self.cases = cases
        self.score = [0] * len(cases)
        self.gates = {ENGINE: COMPILED, DEFINITION: REFERENCE}

    def order(self) -> list[int]:
        """Cases that have killed most come first; of equals, the cheapest. The verdict does not depend on it."""
        return sorted(range(len(self.cases)), key=lambda index: (-self.score[index], index))

    def install(self, name: str, change: Change | None) -> Any:
        """Run the sources afresh with `change` in the module `name`; the engine that it belongs to."""
        for other in self.chain:
            code = self.codes[other]
            if change and other == name and not change.function:
                code = compile(change.after, code.co_filename, "exec")
            module = types.ModuleType(other)
            module.__file__ = code.co_filename
            package, _, short = other.rpartition(".")
            sys.modules[other] = module
            setattr(importlib.import_module(package), short, module)
            exec(code, module.__dict__)
            if change and other == name and change.function:
                replace(module, change)
        return sys.modules[engine_of(name)]


def replace(module: types.ModuleType, change: Change) -> None:
    """Put a changed function in its place; nothing else is compiled again."""
    flags = annotations.compiler_flag
    if not change.owner:
        exec(compile(change.after, "mutant", "exec", flags), module.__dict__)
        return
    code = compile(f"class Changed:\n    {change.after}", "mutant", "exec", flags)
    exec(code, module.__dict__)
    changed = vars(module.__dict__.pop("Changed"))[change.function]
    setattr(getattr(module, change.owner), change.function, changed)


def engine_of(module: str) -> str:
    """Which engine a module belongs to."""
    return DEFINITION if module in OF_THE_DEFINITION else ENGINE


def judge(bench: Bench, mutant: Mutant | None, pipe: int) -> None:
    """Try one mutant (none: the unchanged source) and write what came of it; ends the process."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    note: dict[str, Any] = {"verdict": "killed"}
    with contextlib.suppress(BaseException):
        try:
            note.update(trial(bench, mutant, pipe))
        except Exception as error:
            note["by"] = f"{type(error).__name__} {str(error)[:80]}".strip()
        os.write(pipe, (json.dumps(note) + "\n").encode())
        os._exit(0)
    os._exit(1)


def trial(bench: Bench, mutant: Mutant | None, pipe: int) -> dict[str, Any]:
    """The verdict of one mutant: killed by what, or survived."""
    name = mutant.module if mutant else next(iter(bench.sources))
    change = bench.sources[name].mutate(mutant) if mutant else None
    if change:
        os.write(pipe, (json.dumps(lines_of(change)) + "\n").encode())
    limit(CPU_SECONDS)
    try:
        engine = bench.install(name, change)
    except SyntaxError:
        return {"verdict": "no program"}
    order = bench.order()
    for group in (order[:KEENEST], bench.gates[engine_of(name)], order[KEENEST:]):
        for item in group:
            limit(CPU_SECONDS)
            found = in_gate(engine, item) if callable(item) else in_case(bench, name, engine, item)
            if found:
                return found
    return {"verdict": "survived"}


def in_case(bench: Bench, name: str, engine: Any, index: int) -> dict[str, Any]:
    """By which program a mutant was killed; nothing where it was not."""
    check = check_compiled if engine_of(name) == ENGINE else check_reference
    unequal = check(engine, bench.cases[index])
    return {"by": f"{bench.cases[index].name}: {unequal[0].split(':')[0]}", "case": index} if unequal else {}


def in_gate(engine: Any, gate: Callable[[Any], None]) -> dict[str, Any]:
    """By which gate a mutant was killed; nothing where it was not."""
    try:
        gate(engine)
    except AssertionError:
        return {"by": gate.__name__.replace("_", " ")}
    return {}


def limit(seconds: float) -> None:
    """Seconds of processor time from now on until the process is ended."""
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)


def lines_of(change: Change) -> dict[str, str]:
    """The lines that differ."""
    old, new = change.before.splitlines(), change.after.splitlines()
    while old and new and old[0] == new[0]:
        del old[0], new[0]
    while old and new and old[-1] == new[-1]:
        del old[-1], new[-1]
    return {"before": squeeze(old), "after": squeeze(new)}


def squeeze(lines: Sequence[str]) -> str:
    """Lines as one."""
    return " ".join(" ".join(lines).split())
