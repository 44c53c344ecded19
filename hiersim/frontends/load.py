"""Find and read a trace, whatever its form."""

from __future__ import annotations

from pathlib import Path

from hiersim import bundled
from hiersim.errors import TraceError, nearest
from hiersim.frontends.archive import load_archive
from hiersim.model.trace import Trace

ARCHIVES = (".npz",)
ROWS = (".jsonl", ".gz", ".json")


def load_trace(name: str | Path) -> Trace:
    """The trace of a bundled name (`gpt2-large-prefill`) or of a file.

    Raises
    ------
    TraceError
        Unknown name or form, or a file that breaks a law of traces.
    """
    text = str(name)
    known = bundled.traces()
    if text in known:
        return load_archive(known[text])
    path = Path(text)
    if path.suffix in ARCHIVES:
        return load_archive(path)
    if path.suffix in ROWS:
        from hiersim.frontends.rows import load_rows

        return load_rows(path)
    if _exists(path):
        raise TraceError("has an unknown form", file=text, expected="a name that ends in .npz, .jsonl or .jsonl.gz")
    raise TraceError(f"'{text[:100]}' is neither a bundled trace nor a file", expected=nearest(text, known))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that no file can have
        return False
