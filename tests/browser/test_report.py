"""The report in a browser: on a desk and on a phone, light and dark, by mouse, by keyboard and to a screen reader."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import VIEWS

pytestmark = pytest.mark.browser
Open = Callable[..., Any]
KERNELS = "table[data-table='kernels']"


@pytest.fixture(params=VIEWS)
def view(request: pytest.FixtureRequest) -> dict[str, Any]:
    """A screen and a colour scheme."""
    return VIEWS[request.param]


@pytest.mark.parametrize("name", ["comparison", "several", "swept"])
def test_a_page_opens_quietly_and_fits(
    opened: Open, request: pytest.FixtureRequest, name: str, view: dict[str, Any]
) -> None:
    page = opened(request.getfixturevalue(name), **view)
    assert page.complaints == [] and page.requests == []
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width == view["viewport"]["width"], "nothing sticks out to the right"
    figures = page.query_selector_all("figure[data-figure]")
    names = [figure.get_attribute("data-figure") for figure in figures]
    assert {"time", "tornado", "roofline", "occupancy", "knees", "layers"} <= set(names)
    for figure in figures:
        shown = [svg for svg in figure.query_selector_all("svg.figure") if svg.is_visible()]
        assert len(shown) == 1
        box = shown[0].bounding_box()
        assert box is not None and box["width"] > 300 and box["height"] > 40
        scale = box["width"] / float(shown[0].get_attribute("viewBox").split()[2])
        assert scale * 12.5 > 9.5, "words of figures can be read"


def test_colours_follow_the_screen(opened: Open, comparison: Path) -> None:
    grounds = {
        scheme: opened(comparison, color_scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor")
        for scheme in ("light", "dark")
    }
    assert grounds["light"] != grounds["dark"]


@pytest.mark.parametrize(
    ("name", "view"),
    [
        ("comparison", "1280x800-light"),
        ("comparison", "1280x800-dark"),
        ("comparison", "390x844-light"),
        ("several", "390x844-dark"),
        ("swept", "1280x800-light"),
    ],
)
def test_axe_finds_nothing(opened: Open, axe: str, request: pytest.FixtureRequest, name: str, view: str) -> None:
    page = opened(request.getfixturevalue(name), **VIEWS[view])
    page.evaluate("document.querySelectorAll('details').forEach((node) => { node.open = true; })")
    page.evaluate(axe)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    told = [(item["id"], item["help"], item["nodes"][0]["html"][:200]) for item in found["violations"]]
    assert told == []


def column(page: Any, table: str, place: int) -> list[str]:
    """Cells of a column as they stand."""
    texts: list[str] = page.eval_on_selector_all(
        f"{table} tbody tr", f"(rows) => rows.map((row) => row.cells[{place}].textContent)"
    )
    return texts


def test_tables_sort_by_click_and_by_keyboard(opened: Open, comparison: Path) -> None:
    page = opened(comparison)
    table = page.locator("section.time table.sortable").first
    place = table.locator("th[scope=col]").all_inner_texts().index("time")
    head, rows = table.locator("th[scope=col]").nth(place), table.locator("tbody tr")

    def values() -> list[float]:
        found: list[float] = rows.evaluate_all(f"(all) => all.map((row) => Number(row.cells[{place}].dataset.value))")
        return found

    before = values()
    assert head.get_attribute("aria-sort") == "none"
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending" and values() == sorted(before, reverse=True)
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending" and values() == sorted(before)
    page.keyboard.press("Space")
    assert head.get_attribute("aria-sort") == "descending" and values() == sorted(before, reverse=True)
    assert page.complaints == []


def test_kernels_are_found_sorted_and_shown(opened: Open, comparison: Path) -> None:
    page = opened(comparison)
    status = page.locator("section.kernels .of-kernels [role=status]")
    assert status.inner_text().startswith("10 of 290 kernels")
    page.get_by_label("Find by name or module").fill("H.7. addmm")
    assert status.inner_text().startswith("4 of 4 kernels") and "% of all" in status.inner_text()
    assert all("addmm" in name for name in column(page, KERNELS, 1))
    assert all(module.startswith("h.7.") for module in column(page, KERNELS, 2))
    page.get_by_label("Find by name or module").fill("")
    page.get_by_role("button", name="Show 100 more").click()
    assert len(column(page, KERNELS, 0)) == 110
    page.locator(f"{KERNELS} thead button").nth(1).click()
    names = column(page, KERNELS, 1)
    assert names == sorted(names, key=str.lower)
    page.locator(f"{KERNELS} thead button").nth(0).click()
    page.locator(f"{KERNELS} thead button").nth(0).click()
    assert column(page, KERNELS, 0) == [str(number) for number in range(110)]


def test_long_tables_can_be_searched(opened: Open, swept: Path) -> None:
    page = opened(swept)
    rows = page.locator("table[data-table='points'] tbody tr:visible")
    assert rows.count() == 18
    page.get_by_label("Find in: All points").fill("mib INDUCTOR")
    assert rows.count() == 9 and all("inductor" in text for text in rows.all_inner_texts())
    assert page.locator("section.sweep [role=status]").inner_text() == "9 rows"
    assert page.complaints == [] and page.requests == []


def test_a_page_without_script_says_the_same(opened: Open, comparison: Path) -> None:
    with_script, without = (opened(comparison, java_script_enabled=on) for on in (True, False))
    for page in (with_script, without):
        assert page.locator(f"{KERNELS} tbody tr").count() == 10
    texts = [page.locator(f"{KERNELS} tbody").inner_text() for page in (with_script, without)]
    assert texts[0] == texts[1], "the script prints times as Python does"
    assert not without.locator("section.kernels .of-kernels").is_visible()


def test_words_explain_themselves(opened: Open, comparison: Path) -> None:
    page = opened(comparison)
    tip = page.locator("#tip")
    assert not tip.is_visible()
    page.locator("ul.legend .term").first.hover()
    assert tip.is_visible() and tip.inner_text().startswith("The engine does arithmetic")
    page.keyboard.press("Escape")
    assert not tip.is_visible()
    page.locator("dl.cards .term").first.focus()
    assert tip.inner_text().startswith("The makespan in seconds")
    box, width = tip.bounding_box(), page.viewport_size["width"]
    assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= width


def test_the_first_stop_of_the_keyboard_skips_to_the_report(opened: Open, comparison: Path) -> None:
    page = opened(comparison)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the report"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_paper_shows_all_and_no_controls(opened: Open, comparison: Path, tmp_path: Path) -> None:
    page = opened(comparison)
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("[...document.querySelectorAll('details')].every((node) => node.open)")
    assert not page.locator("nav").first.is_visible() and not page.locator(".tools").first.is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.pdf(path=tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").stat().st_size > 10_000


@pytest.mark.slow
def test_fifty_thousand_kernels_open_at_once(opened: Open, large: Path) -> None:
    assert large.stat().st_size < 15e6
    begin = time.perf_counter()
    page = opened(large)
    assert page.locator(f"{KERNELS} tbody tr").count() == 10
    assert time.perf_counter() - begin < 3
    assert page.complaints == []
