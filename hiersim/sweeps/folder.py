"""The folder of a sweep: what was asked for, finished points in parts, and the results as one file at the end.

    manifest.json      what is run, with the hashes of all inputs: two sweeps with equal ones give equal bytes
    sweep.yaml         the same for people, to be run again
    parts/             finished points, FIRST-LAST-CHECKSUM.parquet; gone when all are done
    results.parquet    all points

Files appear whole or not at all, and are on the disk when a point is reported done. One process at a time holds the
folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from hiersim.errors import HiersimError
from hiersim.sweeps.columns import Columns, joined
from hiersim.sweeps.parquet import decoded, encoded
from hiersim.sweeps.rows import POINT

MANIFEST, SPEC, PARTS, RESULTS = "manifest.json", "sweep.yaml", "parts", "results.parquet"
DIGITS: Final = 16
"""Hexadecimal digits of a part's SHA-256 in its name."""
_PART: Final = re.compile(rf"([0-9]{{9}})-([0-9]{{9}})-([0-9a-f]{{{DIGITS}}})\.parquet", re.ASCII)
Report = Callable[[str], None]


class Span(NamedTuple):
    """Points from `first` up to `end`, which is not one of them."""

    first: int
    end: int


class Folder:
    """A sweep's folder, held by this process: `with Folder(path, manifest) as folder: …`."""

    def __init__(self, path: Path, manifest: Mapping[str, Any], spec: str, report: Report = lambda _: None) -> None:
        self.path = path
        self._manifest = manifest
        self._spec = spec
        self._report = report
        self._parts: dict[Span, Path] = {}
        self._held: int | None = None

    def __enter__(self) -> Self:
        """Take hold of the folder, and find what is finished.

        Raises
        ------
        HiersimError
            When it holds something else, is held by another process, or cannot be written.
        """
        _check_foreign(self.path)
        guarded(self.path, lambda: (self.path / PARTS).mkdir(parents=True, exist_ok=True))
        self._held = _locked(self.path)
        try:
            self._match()
            self._find_parts()
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._release()

    def _release(self) -> None:
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def _match(self) -> None:
        """The folder holds this sweep, or none yet."""
        there = read_manifest(self.path) if (self.path / MANIFEST).exists() else None
        if there is not None and there["sweep"] != self._manifest["sweep"]:
            raise HiersimError(
                f"holds another sweep: {difference(there['sweep'], self._manifest['sweep'])}", file=str(self.path),
                expected="another folder, or the same sweep to go on with it",
            )  # fmt: skip
        if there is None:
            write_whole(self.path / SPEC, self._spec.encode())
            write_whole(self.path / MANIFEST, (json.dumps(self._manifest, sort_keys=True, indent=1) + "\n").encode())

    def _find_parts(self) -> None:
        """Note the parts that are whole; remove what a killed run left, and report and remove what is damaged."""
        covered: list[Span] = []
        for path in sorted((self.path / PARTS).iterdir()):
            match = _PART.fullmatch(path.name)
            if match is None:
                path.unlink()  # a file that was being written
                continue
            span = Span(int(match.group(1)), int(match.group(2)) + 1)
            if _digest(path.read_bytes()) != match.group(3):
                self._report(f"{path}: damaged, its checksum is wrong; points {span.first} to {span.end - 1} run again")
                path.unlink()
            elif any(other.first < span.end and span.first < other.end for other in covered):
                path.unlink()
            else:
                covered.append(span)
                self._parts[span] = path

    @property
    def finished(self) -> list[Span]:
        """Points that need not be run again, in order."""
        return sorted(self._parts)

    def add(self, columns: Columns) -> None:
        """Keep the rows of neighbouring points, for good when this returns."""
        span = Span(int(columns[POINT][0]), int(columns[POINT][-1]) + 1)
        data = encoded(columns)
        path = self.path / PARTS / f"{span.first:09d}-{span.end - 1:09d}-{_digest(data)}.parquet"
        write_whole(path, data)
        self._parts[span] = path

    def columns(self) -> Columns:
        """All finished points."""
        found = [decoded(path, str(path))[0] for _, path in sorted(self._parts.items())]
        return joined(found)

    def close(self, data: bytes) -> None:
        """Put the results in place of the parts."""
        write_whole(self.path / RESULTS, data)
        shutil.rmtree(self.path / PARTS)
        self._parts.clear()


def _check_foreign(path: Path) -> None:
    """What is there is a sweep's folder, or nothing."""
    if path.exists() and not path.is_dir():
        raise HiersimError("is a file", file=str(path), key="--out", expected="a folder")
    names = [item.name for item in path.iterdir() if item.name[0] != "."] if path.exists() else []
    if names and MANIFEST not in names and set(names) - {PARTS, SPEC}:
        raise HiersimError("holds other things than a sweep", file=str(path), expected="a new or an empty folder")


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a sweep's folder.

    Raises
    ------
    HiersimError
        When there is none, or it cannot be read.
    """
    try:
        found = json.loads((path / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise HiersimError("holds no sweep", file=str(path), expected=f"a folder with a {MANIFEST}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no JSON"
        raise HiersimError(f"cannot be read: {reason}", file=str(path / MANIFEST)) from None
    if not isinstance(found, dict) or not isinstance(found.get("sweep"), dict):
        raise HiersimError("is no manifest of a sweep", file=str(path / MANIFEST))
    return found


def difference(there: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """The first thing in which two sweeps differ, in words."""
    for key in asked:
        if there.get(key) != asked[key]:
            was, now = _short(there.get(key)), _short(asked[key])
            return f"its {key} is {was}, not {now}" if was and now else f"its '{key}' differs"
    return "it says more than is known here"


def _short(value: Any) -> str:
    return str(value) if isinstance(value, str | int) and len(str(value)) < 60 else ""


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:DIGITS]


def _locked(path: Path) -> int | None:
    """A hold on the folder that ends with this process, however that ends; None where the system has no such locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    held = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        raise HiersimError("is in use by another process", file=str(path), expected="one sweep at a time") from None
    except OSError:  # a file system without locks
        os.close(held)
        return None
    return held


def guarded(path: Path, action: Callable[[], object]) -> None:
    """Do it; what the system refuses is an error of one line."""
    try:
        action()
    except OSError as error:
        problem = f"cannot be written: {error.strerror}"
        raise HiersimError(problem, file=str(path), expected="room, and a folder to write in") from None


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it is complete and on the disk, or not there.

    Raises
    ------
    HiersimError
        When the system refuses: no room, no permission.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")

    def write() -> None:
        with open(draft, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
        _sync_folder(path.parent)

    try:
        guarded(path, write)
    except HiersimError:
        with suppress(OSError):
            draft.unlink()
        raise


def _sync_folder(path: Path) -> None:
    """Names in a folder reach the disk as well, where the system knows how."""
    if os.name == "posix":
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
