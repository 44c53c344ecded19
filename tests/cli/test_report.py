"""`report` and `export html` from the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from hiersim.cli.main import status


def test_a_comparison_and_its_saved_results_give_one_page(hiersim: Any, tmp_path: Path, capsys: Any) -> None:
    assert status(["report", "bert-large-prefill", "-d", "l4", "-o", str(tmp_path / "a.html")]) == 0
    said = capsys.readouterr()
    assert re.search(r"report: .*a\.html \(2 runs, 0\.\d MB\)", said.err) and said.out == ""
    assert status(["compare", "bert-large-prefill", "-d", "l4", "--json", "-q"]) == 0
    saved = capsys.readouterr().out
    (tmp_path / "results.json").write_text(saved)
    again = hiersim("report", str(tmp_path), "-o", str(tmp_path / "b.html"), "-q", PYTHONHASHSEED="7")
    assert (again.returncode, again.stderr) == (0, "")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    rows = json.loads(saved)["rows"]
    figures = re.findall(r'<data value="([^"]+)" data-key="stall_fraction">', (tmp_path / "a.html").read_text())
    assert [float(value) for value in figures] == pytest.approx([row["stall_fraction"] for row in rows])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("gpt2-train", "-o", "r.html"), "is a trace, not a result"),
        (("gpt2-train", "-d", "tiny", "-o", "r.pdf"), "a name that ends in .html"),
        (("nowhere.json", "-o", "r.html"), "cannot be read"),
        (("results.json", "-f", "eager", "-o", "r.html"), "saved results are what they are"),
        (("results.json", "-o", "r.html"), "results.json:1: is not JSON"),
        (("gpt2-trian", "-d", "tiny", "-o", "r.html"), "'gpt2-train'"),
    ],
)
def test_wrong_words_are_one_line(
    arguments: tuple[str, ...], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results.json").write_text("no results\n")
    assert status(["report", *arguments]) == 2
    text = capsys.readouterr().err
    assert told in text and text.count("\n") == 1
    assert not list(tmp_path.glob("r.*"))


def test_the_other_name_of_the_command(tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    words = ["bert-large-prefill", "-d", "l4", "-f", "eager", "--no-what-if", "--title", "A <b>title</b>", "-q"]
    assert status(["export", "html", *words, "-o", str(page)]) == 0
    text = page.read_text()
    assert "<h1>A &lt;b&gt;title&lt;/b&gt;</h1>" in text and 'data-figure="tornado"' not in text
    other = tmp_path / "s.html"
    assert status(["report", *words, "-o", str(other)]) == 0
    assert other.read_text() == text
