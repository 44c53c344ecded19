"""Captures bundled traces again: `python -m hiersim.zoo NAME … FOLDER` or `python -m hiersim.zoo --all FOLDER`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from hiersim.errors import HiersimError, TraceError, nearest
from hiersim.frontends.archive import save_trace
from hiersim.frontends.torch_capture import capture_torch
from hiersim.zoo import BUILDERS


def main(arguments: list[str]) -> int:
    """Capture eager operators and Inductor's schedule of the named models into a folder."""
    if len(arguments) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    *names, folder = arguments
    try:
        for name in [item.name for item in BUILDERS.values() if item.bundled] if names == ["--all"] else names:
            if name not in BUILDERS:
                raise TraceError(f"'{name}' is not a bundled model", expected=nearest(name, BUILDERS))
            start = time.monotonic()
            trace = capture_torch(name, "inductor")
            path = Path(folder) / f"{name}.npz"
            save_trace(trace, path)
            print(f"{path}: {path.stat().st_size} bytes in {time.monotonic() - start:.0f} s", file=sys.stderr)
    except HiersimError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
