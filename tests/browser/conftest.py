"""Debian's Chromium through playwright, and axe-core fetched by npm into a folder that is thrown away."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import hiersim as hs
from hiersim.testing.synthetic import layered_trace

ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
VIEWS = {
    f"{width}x{height}-{scheme}": {"viewport": {"width": width, "height": height}, "color_scheme": scheme}
    for width, height in ((1280, 800), (390, 844))
    for scheme in ("light", "dark")
}
Open = Callable[..., Any]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser, for all tests."""
    playwright = pytest.importorskip("playwright.sync_api")
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no chromium here: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium: Any) -> Iterator[Open]:
    """`opened(path, **context)`: a page whose `complaints` and `requests` are lists that must stay empty."""
    contexts = []

    def open_page(path: Path, **options: Any) -> Any:
        context = chromium.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.complaints, page.requests = [], []
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("request", lambda request: page.requests.append(request.url))
        page.goto(path.as_uri())
        page.requests.remove(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core."""
    folder = tmp_path_factory.mktemp("axe")
    if shutil.which("npm") is None:
        pytest.skip("no npm here: axe-core cannot be fetched")
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "axe-core@4"]
    subprocess.run(command, cwd=folder, check=True, timeout=120)
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, eager and compiled, on two machines."""
    trace = hs.load_trace("gpt2-large-prefill")
    designs = [hs.load_design(name) for name in ("h100-sxm", "a100-80gb-sxm")]
    path = tmp_path_factory.mktemp("report") / "report.html"
    hs.write_report(hs.compare(trace, designs), path)
    return path


@pytest.fixture(scope="session")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models, one of them in training."""
    design = hs.load_design("h100-sxm")
    results = [
        *hs.compare(hs.load_trace("gpt2-train"), [design]),
        hs.simulate(hs.load_trace("llama3-8b-decode"), design),
    ]
    path = tmp_path_factory.mktemp("report") / "several.html"
    hs.write_report(results, path)
    return path


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with two policies and nine caches."""
    capacities = {"memory.l2.capacity": hs.geomspace("1 MiB", "256 MiB", 9)}
    sweep = hs.sweep(["gpt2-large-prefill"], ["h100-sxm"], fusion=["eager", "inductor"], vary=capacities, workers=1)
    path = tmp_path_factory.mktemp("report") / "sweep.html"
    hs.write_report(sweep, path)
    return path


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """50 000 kernels."""
    from hiersim.views.report.runs import of_results

    result = hs.simulate(layered_trace(3125), hs.load_design("h100-sxm"))
    assert len(result.program) >= 50_000
    path = tmp_path_factory.mktemp("report") / "large.html"
    hs.write_report(of_results([result], with_what_ifs=False), path)
    return path
