"""A sweep as it is asked for in files: YAML for people, the manifest of a folder, and what both stand for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from hiersim import bundled
from hiersim.errors import HiersimError, nearest
from hiersim.sweeps.axes import DESIGN, FUSION, TRACE, WORKLOAD, Dimensions, normalized

EAGER: Final = ("eager",)
"""The policy when none is named."""
KEYS: Final = ("traces", "designs", "fusion", "vary", "zip", "set", "launch", "engine", *WORKLOAD)
"""Keys of a spec file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What to run. Traces and designs are bundled names or files."""

    traces: tuple[str, ...]
    designs: tuple[str, ...]
    fusion: tuple[str, ...] = EAGER
    vary: Dimensions = ()
    """Per dimension of the grid: axis → values; several axes are paired."""
    changes: Mapping[str, str] = field(default_factory=dict)
    """Values of the designs that are set at every point."""
    variant: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of `hiersim.variant`, of every trace."""
    launch: str = "stream"
    engine: str = "compiled"


def read_spec(path: str | Path) -> Spec:
    """The spec of a YAML file; names of files in it are relative to its folder.

    Raises
    ------
    HiersimError
        With file, line and key of what is wrong.
    """
    from hiersim.config.document import read_document

    document = read_document(Path(path), str(path), what="sweep", largest=LARGEST_FILE, most=LARGEST_FILE)
    data = document.data
    folder = Path(path).parent

    def wrong(problem: str, key: str, expected: str) -> HiersimError:
        return HiersimError(
            problem, file=str(path), line=document.line(tuple(key.split("."))), key=key, expected=expected
        )

    for key in data:
        if key not in KEYS:
            raise wrong("is not a key of a sweep", str(key), nearest(str(key), KEYS))
    for key in ("traces", "designs"):
        if not _names(data.get(key)):
            raise wrong("is missing" if key not in data else "is no list of names", key, "a name, or a list of names")
    for key in ("vary", "set"):
        if not isinstance(data.get(key, {}), Mapping):
            raise wrong("is not a table", key, "PATH: VALUES below it")
    fusion = _names(data.get("fusion", "eager"))
    if not fusion:
        raise wrong("is no list of names", "fusion", "a policy, or a list of policies")
    try:
        vary = _paired(normalized(data.get("vary") or {}), data.get("zip", False))
    except HiersimError as error:
        keys = ("vary", str(error.key)) if error.key else ("zip",)
        raise HiersimError(
            error.problem, file=str(path), line=document.line(keys), key=error.key or "zip", expected=error.expected
        ) from None
    return Spec(
        traces=tuple(_beside(folder, name, bundled.traces()) for name in _names(data["traces"])),
        designs=tuple(
            _beside(folder, name, {**bundled.designs(), **bundled.ALIASES}) for name in _names(data["designs"])
        ),
        fusion=tuple(fusion),
        vary=tuple(vary),
        changes={str(key): str(value) for key, value in (data.get("set") or {}).items()},
        variant={key: data[key] for key in WORKLOAD if key in data},
        launch=str(data.get("launch", "stream")),
        engine=str(data.get("engine", "compiled")),
    )


LARGEST_FILE: Final = 2**24
"""Bytes, and values, of a spec file."""


def _names(value: Any) -> list[str]:
    """A name, or a list of names; empty where it is neither."""
    names = [value] if isinstance(value, str) else value
    return list(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else []


def _beside(folder: Path, name: str, known: Iterable[str]) -> str:
    """A bundled name as it is; a file as seen from here."""
    return name if name in known or not (folder / name).exists() else os.path.normpath(folder / name)


def _paired(dimensions: list[dict[str, list[Any]]], pairs: Any) -> list[dict[str, list[Any]]]:
    """Dimensions, of which some are paired: all (`zip: true`), or those of each list of names."""
    if pairs in (False, None):
        return dimensions
    names = [name for dimension in dimensions for name in dimension]
    groups = [names] if pairs is True else pairs
    if not isinstance(groups, list) or not all(isinstance(group, list) for group in groups):
        raise HiersimError("is neither true nor lists of axes", expected="zip: true, or zip: [[AXIS, AXIS]]")
    merged: list[dict[str, list[Any]]] = []
    values = {name: column for dimension in dimensions for name, column in dimension.items()}
    group_of = {name: number for number, group in enumerate(groups) for name in group}
    for name in group_of:
        if name not in values:
            raise HiersimError(f"'{name}' is not varied", expected=nearest(str(name), names))
    placed: set[int] = set()
    for name in names:
        number = group_of.get(name)
        if number is None:
            merged.append({name: values[name]})
        elif number not in placed:
            placed.add(number)
            merged.extend(normalized({member: values[member] for member in groups[number]}, zipped=True))
    return merged


def written(spec: Spec, folder: Path) -> str:
    """The spec as YAML, every value spelled out; files as seen from `folder`."""
    import io

    from ruamel.yaml import YAML

    paired = [list(dimension) for dimension in spec.vary if len(dimension) > 1]
    data: dict[str, Any] = {
        "traces": [_from(folder, name, bundled.traces()) for name in spec.traces],
        "designs": [_from(folder, name, bundled.designs()) for name in spec.designs],
        "fusion": list(spec.fusion),
        "vary": {name: list(values) for dimension in spec.vary for name, values in dimension.items()},
        "zip": paired or None,
        "set": dict(spec.changes) or None,
        "launch": spec.launch,
        "engine": spec.engine,
        **spec.variant,
    }
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = None
    yaml.width = 100
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    stream = io.StringIO()
    yaml.dump({key: value for key, value in data.items() if value is not None and value != {}}, stream)
    return stream.getvalue()


def _from(folder: Path, name: str, known: Iterable[str]) -> str:
    return name if name in known or not os.path.exists(name) else os.path.relpath(name, folder)


def spec_of(manifest: Mapping[str, Any], folder: Path) -> Spec:
    """The spec of a sweep that was begun.

    Raises
    ------
    HiersimError
        When a trace or design came from Python, so that no file holds it.
    """
    sweep, sources = manifest["sweep"], manifest.get("sources", {})
    given = {name: axis["given"] for axes in sweep["grid"] for name, axis in axes.items()}
    fusion = given.get(FUSION) if any(set(axes) == {FUSION} for axes in sweep["grid"]) else None
    fixed = {TRACE, DESIGN} | ({FUSION} if fusion else set())
    names: dict[str, list[str]] = {}
    for what in ("traces", "designs"):
        known = bundled.traces() if what == "traces" else bundled.designs()
        for name in given[what[:-1]]:
            source = sources.get(what, {}).get(name)
            if source is None:
                raise HiersimError(
                    f"its {what[:-1]} '{name}' was given from Python", file=str(folder),
                    expected="the same call of hiersim.sweep, which goes on with it",
                )  # fmt: skip
            names.setdefault(what, []).append(_beside(folder, source, known))
    return Spec(
        traces=tuple(names["traces"]),
        designs=tuple(names["designs"]),
        fusion=tuple(fusion or EAGER),
        vary=tuple(
            {name: axis["given"] for name, axis in axes.items()} for axes in sweep["grid"] if not set(axes) & fixed
        ),
        changes=sweep["set"],
        variant=sweep["variant"],
        launch=sweep["launch"],
        engine=sweep["engine"],
    )
