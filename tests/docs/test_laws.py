"""The page of laws names tests that exist, and all the tests that were written for it."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "laws.md").read_text()
NAMED = sorted(set(re.findall(r"`((?:tests|hiersim)/[\w/]+\.py(?:::\w+)+)`", PAGE)))
LAWS = 12


@cache
def names(path: str) -> frozenset[str]:
    """`function` and `Class::method` of a module."""
    found = set()
    for item in ast.parse((ROOT / path).read_text()).body:
        if isinstance(item, ast.FunctionDef):
            found.add(item.name)
        elif isinstance(item, ast.ClassDef):
            found |= {f"{item.name}::{part.name}" for part in item.body if isinstance(part, ast.FunctionDef)}
    return frozenset(found)


@pytest.mark.parametrize("test", NAMED)
def test_every_test_that_the_page_names_exists(test: str) -> None:
    path, _, name = test.partition("::")
    assert name in names(path)


def test_every_law_has_a_row_with_tests() -> None:
    rows = re.findall(r"^\| (\d+) \| \*\*.*$", PAGE, re.MULTILINE)
    assert rows == [str(number) for number in range(1, LAWS + 1)]
    for row in re.findall(r"^\| \d+ \| \*\*.*$", PAGE, re.MULTILINE):
        assert any(test in row for test in NAMED), row


@pytest.mark.parametrize("path", ["tests/properties/test_system_laws.py", "tests/properties/test_engines_agree.py"])
def test_no_law_is_missing_from_the_page(path: str) -> None:
    tests = {name for name in names(path) if name.startswith("test_")}
    tests.discard("test_the_square_root_bound_is_not_empty")  # a test of the test
    assert {f"{path}::{name}" for name in tests} <= set(NAMED)


@pytest.mark.parametrize("suite", ["EngineContract", "ResidencyContract", "PolicyContract"])
def test_the_page_leaves_no_suite_out(suite: str) -> None:
    assert any(f"::{suite}::" in test for test in NAMED)
