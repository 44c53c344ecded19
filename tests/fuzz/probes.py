"""Which branches of the readers ran: probes are put into their source when it is imported.

A probe is `__hit__[n] = 1` at the beginning of each function, branch (also an `else` that is not written), loop body,
`except` and `case`. It costs some 50 ns, where `sys.settrace` would cost microseconds a line, so that every case is
watched. On the way the words of the readers are collected: keys and values that a file may hold.
"""

from __future__ import annotations

import ast
import builtins
import re
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any, Final

hits: Final = bytearray(1 << 16)
"""One byte per probe: 1 where it ran since the process began."""
places: Final[list[tuple[str, int]]] = []
"""Module and line of each probe."""
words: Final[dict[str, set[str]]] = {}
"""Text constants by module that could stand in a file."""
WATCHED: Final = ("hiersim.frontends", "hiersim.wire", "hiersim.model")
WORD: Final = re.compile(r"[A-Za-z_][\w.:/\-]{0,39}")


def watch() -> None:
    """From now on modules of the readers are imported with probes."""
    vars(builtins)["__hit__"] = hits
    sys.meta_path.insert(0, _Finder())


def ran(module: str) -> tuple[int, int]:
    """Probes of a package that ran, and all of them."""
    mine = [number for number, (name, _) in enumerate(places) if name.startswith(module)]
    return sum(hits[number] for number in mine), len(mine)


class _Finder(MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if not name.startswith(WATCHED):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(name, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        """Compiled from source each time, so that no probe gets into a cache."""
        source = self.get_data(self.path)
        tree = ast.parse(source, self.path)
        words[fullname] = {
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and WORD.fullmatch(node.value)
        }
        code: CodeType = compile(_Placer(fullname).visit(tree), self.path, "exec", dont_inherit=True)
        return code


class _Placer(ast.NodeTransformer):
    def __init__(self, module: str) -> None:
        self.module = module
        self.inside = False

    def _probed(self, body: list[ast.stmt], at: ast.AST) -> list[ast.stmt]:
        number = len(places)
        assert number < len(hits)
        places.append((self.module, getattr(at, "lineno", 0)))
        store = ast.Assign(
            targets=[ast.Subscript(ast.Name("__hit__", ast.Load()), ast.Constant(number), ast.Store())],
            value=ast.Constant(1),
        )
        ast.copy_location(store, at)
        return [ast.fix_missing_locations(store), *body]

    def _function(self, node: Any) -> Any:
        outer, self.inside = self.inside, True
        self.generic_visit(node)
        self.inside = outer
        node.body = self._probed(node.body, node)
        return node

    def _branching(self, node: Any) -> Any:
        self.generic_visit(node)
        if self.inside:
            node.body = self._probed(node.body, node.body[0])
            node.orelse = self._probed(node.orelse, node)
        return node

    def _plain(self, node: Any) -> Any:
        self.generic_visit(node)
        if self.inside:
            node.body = self._probed(node.body, node.body[0])
        return node

    visit_FunctionDef = _function  # noqa: N815  # names of the standard library
    visit_If = visit_For = visit_While = _branching  # noqa: N815
    visit_ExceptHandler = visit_match_case = _plain  # noqa: N815
