"""Pages that are made from the source are current, and what they show runs."""

from __future__ import annotations

import doctest
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from hiersim.model.metrics import METRICS
from hiersim.views import reference

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_glossary_is_current() -> None:
    assert (ROOT / "docs" / "glossary.md").read_text() == reference.glossary(), "run 'make docs'"


def test_the_example_of_the_readme_is_current() -> None:
    assert reference.readme(README) == README, "run 'make docs'"


def test_what_the_page_of_models_that_do_not_fit_says_is_current() -> None:
    """Its warning, its times and how far they are from the sum by hand."""
    page = (ROOT / "docs" / "spilling.md").read_text()
    assert page.count(":begin -->") == 3
    assert reference.spilling(page) == page, "run 'make docs'"


def test_the_python_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert blocks
    for block in blocks:
        names: dict[str, Any] = {}
        exec(compile(block, "README.md", "exec"), names)
        assert names["result"].time > 0
    assert "Result(gpt2-large-prefill on h100-sxm, inductor (captured)" in capsys.readouterr().out


@pytest.mark.parametrize("name", reference.EXECUTED)
def test_what_a_page_shows_is_what_its_python_prints(name: str) -> None:
    page = (ROOT / "docs" / name).read_text()
    assert "<!-- output:begin -->\n\n    " in page
    assert reference.executed(page, name) == page, "run 'make docs'"


@pytest.mark.parametrize(
    "module",
    [
        "hiersim",
        "hiersim.frontends.operator_list.build",
        "hiersim.frontends.variants.variant",
        "hiersim.fusion.build",
        "hiersim.modules",
        "hiersim.results.result",
    ],
)
def test_examples_in_docstrings_hold(module: str) -> None:
    seen = doctest.testmod(import_module(module))
    assert seen.attempted
    assert not seen.failed


def test_links_lead_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_words_of_the_glossary_are_complete() -> None:
    for metric in METRICS.values():
        assert metric.meaning.endswith(".")
        assert metric.unit
        assert metric.better in ("", "lower", "higher")


@pytest.mark.parametrize(
    "command",
    re.findall(
        r"^    (hiersim (?:run|compare|sweep|results|designs|traces|define) .+?)(?:  +#.*)?$", README, re.MULTILINE
    ),
)
def test_commands_of_the_readme_are_spelled_right(command: str) -> None:
    """Every option exists; the runs themselves are tested elsewhere."""
    import click

    from hiersim.cli.main import main

    words = command.split()[1:]
    context = click.Context(main)
    group = main.get_command(context, words[0])
    assert group is not None
    rest = words[1:]
    if isinstance(group, click.Group) and rest:
        group = group.get_command(context, rest.pop(0))
        assert group is not None
    group.make_context(words[0], rest, resilient_parsing=False)


def test_every_label_of_the_tables_is_in_the_glossary() -> None:
    from hiersim.model.metrics import find
    from hiersim.views.tables import comparison_rows

    results = reference.example()
    tiers = {tier.name for result in results for tier in result.design.memory}
    for label, _ in comparison_rows(results):
        assert find(label, tiers) is not None, label
    for word in ("smem capacity", "hbm contention", "dependency", "tick", "captured"):
        assert find(word, tiers) is not None, word
