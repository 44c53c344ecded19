"""`python -m benchmarks.sliders`: how long `hs.explore` takes from a key press in JupyterLab to the picture it changes.

Needs chromium, and jupyterlab, ipywidgets and playwright: `pip install -e ".[browser]"`. Each move is timed in the
page: from the key that moves the slider's handle to the second frame behind the change of the output, which has then
been painted. Every move goes to a place where the slider has not been before.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks.processes import cpu_seconds

TRACE, DESIGN = "gpt2-large-prefill", "h100-sxm"
AIM_MS: Final = 200
SLIDERS: Final = ("HBM bandwidth", "L2 capacity")
MOVES: Final = 10
"""Of each slider, away from the middle; its range has twelve steps on that side."""
PATIENCE_S: Final = 120
WATCH: Final = """() => {
  const shown = [...document.querySelectorAll('.widget-html-content')];
  const out = shown.find((node) => node.querySelector('svg[role=img]'));
  window.moves = [];
  let begun = null;
  document.addEventListener('keydown', () => { begun = performance.now(); }, true);
  new MutationObserver(() => {
    if (begun === null) return;
    const since = begun;
    begun = null;
    requestAnimationFrame(() => requestAnimationFrame(() => window.moves.push(performance.now() - since)));
  }).observe(out, {childList: true, subtree: true, characterData: true});
}"""
HANDLE: Final = """(name) => {
  const label = [...document.querySelectorAll('.widget-label')].find((node) => node.textContent === name);
  label.parentElement.querySelector('.noUi-handle').focus();
}"""


@contextmanager
def jupyter(folder: Path) -> Iterator[str]:
    """JupyterLab on a port of its own; gives the address of the notebook."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
        f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}", "--LabApp.news_url=None",
    ]  # fmt: skip
    environment = {**os.environ, "JUPYTER_CONFIG_DIR": str(folder / "config"), "JUPYTER_DATA_DIR": str(folder / "data")}
    with open(folder / "jupyter.log", "wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        _wait_for(f"http://127.0.0.1:{port}/api?token={token}", server, folder / "jupyter.log")
        yield f"http://127.0.0.1:{port}/lab/tree/explore.ipynb?token={token}"
    finally:
        server.terminate()
        server.wait(timeout=30)


def _wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.3)
    raise SystemExit(f"JupyterLab does not answer:\n{log.read_text()[-2000:]}")


def notebook() -> str:
    """One cell that shows the sliders."""
    source = f"import hiersim as hs\nhs.explore(hs.load_trace({TRACE!r}), hs.load_design({DESIGN!r}))"
    cell: dict[str, Any] = {
        "cell_type": "code",
        "id": "a",
        "metadata": {},
        "execution_count": None,
        "outputs": [],
        "source": source,
    }
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return json.dumps({"cells": [cell], "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5})


def moved(page: Any, slider: str) -> tuple[list[float], float]:
    """Milliseconds of each move of one slider, and processor seconds of all moves."""
    page.evaluate("window.moves.length = 0")
    page.evaluate(HANDLE, slider)
    before = cpu_seconds(os.getpid())
    for count in range(1, MOVES + 1):
        page.keyboard.press("ArrowRight")
        page.wait_for_function(f"window.moves.length === {count}", timeout=PATIENCE_S * 1000)
    used = cpu_seconds(os.getpid()) - before
    return [float(value) for value in page.evaluate("window.moves")], used


def measure(address: str, picture: str | None) -> dict[str, tuple[list[float], float]]:
    """Opens the notebook in Chromium, runs its cell and moves the sliders."""
    from playwright.sync_api import TimeoutError as Late
    from playwright.sync_api import sync_playwright

    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        raise SystemExit("no chromium here: apt-get install chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(PATIENCE_S * 1000)
        page.goto(address)
        page.locator(".jp-Notebook .jp-CodeCell .cm-content").first.click()
        try:
            page.locator(".jp-Notebook-ExecutionIndicator[data-status='idle']").wait_for()
            page.keyboard.press("Shift+Enter")
            page.locator(".widget-html-content svg[role=img]").first.wait_for()
        except Late:
            raise SystemExit(f"no picture in {PATIENCE_S} s: are ipykernel and ipywidgets beside jupyterlab?") from None
        page.evaluate(WATCH)
        taken = {slider: moved(page, slider) for slider in SLIDERS}
        if picture:
            page.screenshot(path=picture)
        browser.close()
    return taken


def main() -> None:
    """Prints a line per slider; exit status 1 where the median move takes longer than the aim."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--picture", help="write a screenshot to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "explore.ipynb").write_text(notebook())
        with jupyter(Path(name)) as address:
            taken = measure(address, options.picture)
    print(f"{TRACE} on {DESIGN}: from the key to the painted picture, {os.getloadavg()[0]:.1f} processes ready to run")
    for slider, (times, used) in taken.items():
        shown = ", ".join(f"{value:.0f}" for value in sorted(times))
        middle = statistics.median(times)
        print(f"{slider}: median {middle:.0f} ms, least {min(times):.0f} ms of {len(times)} ({shown})")
        print(f"  {1000 * used / len(times):.0f} ms of processor time a move: kernel, server and browser together")
    slow = any(statistics.median(times) > AIM_MS for times, _ in taken.values())
    raise SystemExit(int(slow))


if __name__ == "__main__":
    main()
