"""The process in which TorchInductor schedules a model: a new one, or a fork of one that has its imports behind it.

A capture of a schedule patches PyTorch for good, so that it has a process of its own. Most of the time of a small
capture is that process's imports (some 8 s of processor time for TorchInductor against 2 s of work).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

from hiersim.errors import TraceError

MODULE: Final = "hiersim.frontends.pytorch.child"


def run_once(words: Sequence[str], folder: Path) -> tuple[int, str]:
    """Exit status and standard error of `child` with these words, in a new process."""
    command = [sys.executable, "-m", MODULE, *words]
    done = subprocess.run(command, env=_environment(folder), capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


class CaptureProcess:
    """A process that forks for each capture: `with CaptureProcess() as process: capture_torch(…, process=process)`.

    It starts at the first capture. Nothing of one capture reaches the next. Needs `os.fork`.
    """

    def __init__(self) -> None:
        self._server: subprocess.Popen[str] | None = None

    def __enter__(self) -> CaptureProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        if self._server is not None:
            self._server.communicate()
            self._server = None

    def run(self, words: Sequence[str], folder: Path) -> tuple[int, str]:
        """As `run_once`, in a fork."""
        if self._server is None:
            self._server = subprocess.Popen(
                [sys.executable, "-m", MODULE], env=_environment(None), text=True, stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        request = {"words": list(words), "folder": str(folder), "cwd": str(Path.cwd()), "path": _path()}
        try:
            self._server.stdin.write(json.dumps(request) + "\n")
            self._server.stdin.flush()
            status = int(self._server.stdout.readline())
        except (OSError, ValueError):
            raise TraceError("the process of captures ended", expected="one capture at a time") from None
        said = folder / "stderr"
        return status, said.read_text() if said.exists() else ""


def _path() -> list[str]:
    """Where modules are found here."""
    return list(dict.fromkeys([str(Path(__file__).parents[3]), str(Path.cwd()), *filter(None, sys.path)]))


def _environment(folder: Path | None) -> Mapping[str, str]:
    """Hash seeds must not order sets of nodes differently from run to run."""
    found = {**os.environ, "PYTHONPATH": os.pathsep.join(_path()), "PYTHONHASHSEED": "0"}
    return found if folder is None else {**found, "TORCHINDUCTOR_CACHE_DIR": str(folder)}
