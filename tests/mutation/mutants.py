"""Mutants of a module: one small change each, by the operators of cosmic-ray and four that it lacks.

Declarations are left alone: annotations, docstrings, imports, decorators, how a hash spreads, and what runs only where
the module was compiled (it is interpreted here).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import parso
from cosmic_ray.ast import ast_nodes
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator

COSMIC_RAY: Final = (
    *(f"ReplaceBinaryOperator_{change}" for change in (
        "Add_Sub", "Sub_Add", "Mul_Add", "FloorDiv_Mul", "Mod_FloorDiv", "BitAnd_BitOr", "BitXor_BitAnd",
        "RShift_LShift", "LShift_RShift",
    )),
    *(f"ReplaceComparisonOperator_{change}" for change in (
        "Eq_NotEq", "NotEq_Eq", "Lt_LtE", "Lt_GtE", "LtE_Lt", "LtE_Gt", "Gt_GtE", "Gt_LtE", "GtE_Gt", "GtE_Lt",
        "Is_IsNot", "IsNot_Is",
    )),
    "ReplaceUnaryOperator_Delete_USub", "ReplaceUnaryOperator_Delete_Not", "NumberReplacer", "AddNot",
    "ReplaceAndWithOr", "ReplaceOrWithAnd", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue",
    "ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "ZeroIterationForLoop",
)  # fmt: skip
"""The others would replace + by each of eleven operators, == by `is`, and so on: easily killed or hardly ever wrong."""
FAMILIES: Final = {
    "ReplaceBinaryOperator": "arithmetic", "ReplaceComparisonOperator": "comparison", "ReplaceUnaryOperator": "sign",
    "NumberReplacer": "number ± 1", "AddNot": "condition negated", "ReplaceAndWithOr": "and / or",
    "ReplaceOrWithAnd": "and / or", "ReplaceTrueWithFalse": "True / False", "ReplaceFalseWithTrue": "True / False",
    "ReplaceBreakWithContinue": "break / continue", "ReplaceContinueWithBreak": "break / continue",
    "ZeroIterationForLoop": "loop without iterations", "DeleteStatement": "statement deleted",
    "OffsetIndex": "index + 1", "ReplaceAugmented": "+= / -=", "SwapExtremes": "min / max",
}  # fmt: skip


class DeleteStatement(Operator):
    """`pass` instead of an assignment, a call or an early return."""

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        if node.type != "simple_stmt":
            return
        kind, inside = node.children[0].type, node.parent.type == "suite"
        early = inside and node.parent.parent.type != "funcdef"
        if kind in ("expr_stmt", "atom_expr") or (early and kind == "return_stmt"):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        first = node.get_first_leaf().prefix
        node.children[0] = parso.parse(f"{first}pass")
        return node

    @classmethod
    def examples(cls) -> tuple[()]:
        return ()


class OffsetIndex(Operator):
    """`a[i + 1]` instead of `a[i]`; numbers are changed by NumberReplacer."""

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        if node.type == "trailer" and node.children[0].value == "[" and node.children[1].type not in (
            "number", "string", "subscript", "subscriptlist",
        ):  # fmt: skip
            yield node.children[1].start_pos, node.children[1].end_pos

    def mutate(self, node: Any, index: int) -> Any:
        node.children[1] = parso.parse(f"{node.children[1].get_code()} + 1")
        return node

    @classmethod
    def examples(cls) -> tuple[()]:
        return ()


class ReplaceAugmented(Operator):
    """`-=` instead of `+=` and the other way round."""

    CHANGES: Final = {"+=": "-=", "-=": "+=", "^=": "|=", "&=": "|="}

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        if node.type == "operator" and node.value in self.CHANGES:
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        node.value = self.CHANGES[node.value]
        return node

    @classmethod
    def examples(cls) -> tuple[()]:
        return ()


class SwapExtremes(Operator):
    """`min` instead of `max` and the other way round."""

    CHANGES: Final = {"min": "max", "max": "min"}

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        called = node.get_next_leaf()
        if node.type == "name" and node.value in self.CHANGES and called is not None and called.value == "(":
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        node.value = self.CHANGES[node.value]
        return node

    @classmethod
    def examples(cls) -> tuple[()]:
        return ()


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of one module. `node` counts the nodes of its syntax tree, `index` the changes of that node."""

    module: str
    operator: str
    node: int
    index: int
    line: int
    column: int
    function: str

    @property
    def key(self) -> str:
        """What identifies it as long as the source does not change."""
        return f"{self.module}:{self.line}:{self.column}:{self.operator}:{self.index}"

    @property
    def family(self) -> str:
        """The row of the table in which it is counted."""
        return FAMILIES[self.operator.split("_")[0]]


@dataclass(frozen=True, slots=True)
class Change:
    """A function before and after; the whole module where the change is in none."""

    owner: str
    """Class of the function, if any."""
    function: str
    before: str
    after: str


class Source:
    """The syntax tree of one module."""

    def __init__(self, module: str, path: Path) -> None:
        self.module, self.path = module, path
        self.text = path.read_text()
        self.tree: Any = parso.parse(self.text)
        self.nodes: list[Any] = list(ast_nodes(self.tree))

    def mutants(self) -> list[Mutant]:
        """All mutants, in order of place."""
        operators = all_operators()
        found = []
        skipped = frozenset(id(node) for start in self.nodes if is_declaration(start) for node in ast_nodes(start))
        for number, node in enumerate(self.nodes):
            if id(node) in skipped:
                continue
            for name, operator in operators.items():
                for index, ((line, column), _) in enumerate(operator.mutation_positions(node)):
                    found.append(Mutant(self.module, name, number, index, line, column, function_of(node)))
        return sorted(found, key=lambda mutant: (mutant.line, mutant.column, mutant.operator, mutant.index))

    def mutate(self, mutant: Mutant) -> Change:
        """The change as text. The tree is changed too: call this in a process that does nothing else with it."""
        node = self.nodes[mutant.node]
        parent, scope = node.parent, method_of(node) or self.tree
        before = scope.get_code(include_prefix=False)
        place = next(index for index, child in enumerate(parent.children) if child is node)
        parent.children[place] = all_operators()[mutant.operator].mutate(node, mutant.index)
        after = scope.get_code(include_prefix=False)
        if scope is self.tree:
            return Change("", "", before, after)
        owner = scope.parent.parent if scope.parent.type == "suite" else None
        function = scope if scope.type == "funcdef" else scope.children[-1]
        return Change(owner.name.value if owner else "", function.name.value, before, after)


@cache
def all_operators() -> dict[str, Operator]:
    """Operators by name."""
    own = (DeleteStatement, OffsetIndex, ReplaceAugmented, SwapExtremes)
    return {
        **{name: get_operator(f"core/{name}")() for name in COSMIC_RAY},
        **{operator.__name__: operator() for operator in own},
    }


def function_of(node: Any) -> str:
    """Name of the function that a node lies in, with its class."""
    names = []
    while node is not None:
        if node.type in ("funcdef", "classdef"):
            names.append(node.name.value)
        node = node.parent
    return ".".join(reversed(names)) or "module"


def is_declaration(node: Any) -> bool:
    """Nodes that no mutant touches, nor anything inside them."""
    if node.type in ("import_name", "import_from", "decorator", "decorators", "string", "tfpdef"):
        return True
    parent = node.parent
    if parent is None:
        return False
    if node.type == "simple_stmt" and node.children[0].type in ("string", "import_name", "import_from"):
        return True
    if node.type == "simple_stmt" and is_bare_annotation(node.children[0]):
        return True
    if parent.type == "annassign" and node is parent.children[1]:
        return True
    if node.type == "simple_stmt" and node.get_code(include_prefix=False).partition(" = ")[0].endswith(": TypeAlias"):
        return True
    if parent.type == "funcdef" and node is parent.annotation:
        return True
    if parent.type == "return_stmt" and is_without_a_result(function_node(node)):
        return True
    return is_room(node) or is_for_the_compiler(node) or is_hashing(node)


def is_hashing(node: Any) -> bool:
    """How a hash spreads: keys are compared in full, so that only the time to find one can depend on it."""
    if node.type == "funcdef":
        return bool(node.name.value == "spread")
    return node.type == "simple_stmt" and node.get_first_leaf().value in ("FNV_BASIS", "FNV_PRIME", "ALL_BITS")


def is_room(node: Any) -> bool:
    """The number in `column(64)`: how much room an array has at first, before it grows."""
    trailer = node.parent if node.parent.type == "trailer" else node.parent.parent
    return (
        node.type == "number"
        and trailer.type == "trailer"
        and trailer.children[0].value == "("
        and node.get_previous_leaf() is trailer.children[0]
        and trailer.get_previous_leaf().value == "column"
    )


def method_of(node: Any) -> Any:
    """The outermost function around a node, with its decorators; None where there is none."""
    found = None
    while node is not None:
        if node.type == "funcdef":
            found = node.parent if node.parent.type == "decorated" else node
        node = node.parent
    return found


def function_node(node: Any) -> Any:
    """The function that a node lies in."""
    while node.type != "funcdef":
        node = node.parent
    return node


def is_without_a_result(function: Any) -> bool:
    """True for `return 0` everywhere: C functions return a number to pass exceptions on, and nobody reads it."""
    return all(statement.get_code().split() == ["return", "0"] for statement in function.iter_return_stmts())


def is_bare_annotation(statement: Any) -> bool:
    """`name: type`, without a value."""
    return (
        statement.type == "expr_stmt"
        and statement.children[1].type == "annassign"
        and len(statement.children[1].children) == 2
    )


def is_for_the_compiler(node: Any) -> bool:
    """What never runs where the module is interpreted."""
    parent = node.parent
    if parent.type == "test" and node is parent.children[0]:
        return bool(parent.children[2].get_code().strip() == "cython.compiled")
    if parent.type == "if_stmt" and len(parent.children) > 3 and node is parent.children[3]:
        return bool(parent.children[1].get_code().strip() == "cython.compiled")
    if parent.type == "suite":
        earlier = parent.children[: next(i for i, child in enumerate(parent.children) if child is node)]
        return any(
            child.type == "if_stmt" and child.children[1].get_code().strip() == "not cython.compiled"
            for child in earlier
        )
    return False
