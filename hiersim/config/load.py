"""Find, read, extend and check a design; all faults of a file at once."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from hiersim import bundled
from hiersim.config import bundled_files
from hiersim.config.document import Document, PathKey, read_document, walk
from hiersim.errors import DesignError, HiersimError, nearest
from hiersim.model.design import Design

MAX_EXTENDS: Final = 8
MISSING: Final = "is missing"
VALUES: Final = ("compute", "memory", "links", "host", "placement", "device", "constants")
"""Tables whose values have sources."""
OWN: Final = ("year", "family", "price", "price_as_of")
"""What is known of one product alone: a design that extends it is another one."""
NAMES: Final = ("price", "price_as_of", "family", "kind", "scope", "management", "to")
"""Values that get no source in passing: a price needs one that says who, the others are no figures."""


def load_design(name: str | Path) -> Design:
    """The design of a bundled name (`h100-sxm`) or of a YAML file.

    Raises
    ------
    DesignError
        With file, line and key of the first fault; `others` holds the rest.
    """
    return design_of(read_extended(resolve(str(name)), ()))


def resolve(name: str) -> tuple[Path, str]:
    """Path of a design file and how to call it in messages."""
    known = bundled.designs()
    name = bundled.ALIASES.get(name, name)
    if name in known:
        return known[name], name if bundled.is_installed() else f"configs/{known[name].name}"
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or os.path.exists(path):
        return path, name
    shown = name if len(name) <= 64 else f"{name[:64]}…"
    raise DesignError(f"'{shown}' is neither a bundled design nor a file", expected=nearest(shown, known))


def read_extended(place: tuple[Path, str], chain: tuple[Path, ...]) -> Document:
    """A design document with what it extends merged under it."""
    path, file = place
    document = read_document(path, file)
    base = document.data.get("extends")
    if base is None:
        return document
    line = document.line(("extends",))
    if not isinstance(base, str):
        raise DesignError("is not a name", file=file, line=line, key="extends", expected="a design's name or file")
    if path.resolve() in chain or len(chain) >= MAX_EXTENDS:
        expected = "a chain that ends"
        raise DesignError("extends itself in a circle", file=file, line=line, key="extends", expected=expected)
    local = path.parent / base
    is_file = local.suffix in (".yaml", ".yml")
    if not (os.path.isfile(local) if is_file else base in bundled.designs()):
        problem, expected = f"'{base}' is neither a bundled design nor a YAML file", nearest(base, bundled.designs())
        raise DesignError(problem, file=file, line=line, key="extends", expected=expected)
    parent = read_extended((local, str(local)) if is_file else resolve(base), (*chain, path.resolve()))
    data = own_identity(merge(parent.data, document.data, ()), document, path)
    both = document.bundled and parent.bundled
    return Document(file=file, data=data, lines=document.lines, base=parent, bundled=both)


def own_identity(data: dict[str, Any], document: Document, path: Path) -> dict[str, Any]:
    """Merged `data` with a name, a title and sources of its own: a changed value never keeps its parent's source."""
    own = document.data
    if "name" not in own:
        data["name"] = re.sub(r"[^a-z0-9_.-]+", "-", path.stem.lower()).strip("-._") or "design"
    if "title" not in own and isinstance(data.get("title"), str):
        data["title"] = f"{data['title']}, changed in {path.name}"
    device, kept = own.get("device") or {}, data.get("device")
    lost = [key for key in OWN if isinstance(device, dict) and key not in device]
    if isinstance(kept, dict):
        data["device"] = {key: value for key, value in kept.items() if key not in lost}
    given, sources = own.get("sources") or {}, data.get("sources") or {}
    if isinstance(given, dict) and isinstance(sources, dict):
        data["sources"] = {
            path: text for path, text in sources.items() if path in given or _still(path.split("."), data, own)
        }
        for steps, value in walk({key: own[key] for key in VALUES if key in own}):
            named = steps[-1] in NAMES or "stand_in" in steps or value is None
            if not named and not covered(".".join(steps), given):
                data["sources"][".".join(steps)] = f"set in {path.name}, no source given"
    return data


def _still(steps: list[str], data: Mapping[str, Any], own: Mapping[str, Any]) -> bool:
    """True where a value that the parent gave a source is there, and is not a price that `own` gives anew."""
    if steps[-1] == "price" and _value(steps, own) is not None:
        return False
    return steps[0] not in VALUES or _value(steps, data) is not None


def _value(steps: list[str], data: Any) -> Any:
    for step in steps:
        data = data.get(step) if isinstance(data, Mapping) else None
    return data


def covered(path: str, sources: Mapping[str, Any]) -> bool:
    """True where `path`, or a prefix of it, has a source."""
    steps = path.split(".")
    return any(".".join(steps[:end]) in sources for end in range(1, len(steps) + 1))


def merge(base: Mapping[str, Any], own: Mapping[str, Any], path: PathKey) -> dict[str, Any]:
    """`base` with the values of `own` over it, table by table; a null removes a tier, a link or a dtype's rate.

    A new tier stands behind the one that `own` writes before it or, written first, in front of the one that
    follows it; alone it becomes the farthest.
    """
    merged = dict(base)
    for key, value in own.items():
        present = merged.get(key)
        if isinstance(value, Mapping) and isinstance(present, Mapping):
            merged[key] = merge(present, value, (*path, key))
        elif value is None and (path in (("memory",), ("links",)) or path[-1:] == ("peak",)) and key in merged:
            del merged[key]
        else:
            merged[key] = value
    if len(path) == 2 and path[0] == "memory" and "dram" in own and "efficiency" not in own:
        merged.pop("efficiency", None)  # a new preset brings its own
    if len(path) == 2 and path[0] == "memory" and "kind" in own:
        for key in ("price", "price_as_of", "energy"):  # another memory has others
            merged = {name: value for name, value in merged.items() if name != key or key in own}
    if path == ("memory",):
        return {key: merged[key] for key in _tier_order(list(base), list(own)) if key in merged}
    return merged


def _tier_order(order: list[str], own: list[str]) -> list[str]:
    """Names of all tiers, nearest first."""
    for index, name in enumerate(own):
        if name in order:
            continue
        follower = next((key for key in own if key in order), None)
        if index:
            order.insert(order.index(own[index - 1]) + 1, name)
        else:
            order.insert(order.index(follower) if follower else len(order), name)
    return order


def design_of(document: Document) -> Design:
    """The checked `Design` of a document."""
    from hiersim.config.pricing import priced

    if document.bundled:
        try:
            return priced(bundled_files.design(document.data).checked())
        except bundled_files.FAULTS:
            pass  # which of them, and where, the validator tells
    from pydantic import ValidationError

    from hiersim.config.schema import DesignModel, to_design

    try:
        model = DesignModel.model_validate(document.data)
    except ValidationError as error:
        raise combined([fault_of(entry, document) for entry in error.errors(include_url=False)]) from None
    try:
        return priced(to_design(model).checked())
    except DesignError as error:
        raise combined([_placed(fault, document) for fault in (error, *error.others)]) from None


def combined(faults: Iterable[HiersimError]) -> DesignError:
    """One error that carries all faults by line; what is missing comes last, since a typo often explains it."""
    ordered = sorted(faults, key=lambda fault: (fault.problem == MISSING, fault.line or 0, fault.key or ""))
    first = ordered[0]
    return DesignError(
        first.problem, file=first.file, line=first.line, key=first.key, expected=first.expected, others=ordered[1:]
    )


def _placed(fault: HiersimError, document: Document) -> DesignError:
    """`fault` with the file and line of its key."""
    file, line = document.place(tuple((fault.key or "").split(".")))
    return DesignError(fault.problem, file=file, line=line, key=fault.key, expected=fault.expected)


def fault_of(entry: Any, document: Document, what: str = "a design") -> DesignError:
    """One pydantic fault in the words of this project; `what` is what the file should be."""
    loc = tuple(str(step) for step in entry["loc"] if step != "[key]")
    kind, context = entry["type"], entry.get("ctx") or {}
    expected: str | None = None
    if kind == "extra_forbidden":
        problem = f"is not a key of {what}"
        expected = nearest(loc[-1], valid_keys(loc[:-1])) if what == "a design" else None
    elif kind == "missing":
        problem, expected = MISSING, "a value here"
    elif kind == "quantity":
        problem, expected = str(context["problem"]), context["expected"]
    elif kind in ("literal_error", "enum"):
        problem, expected = f"{entry['input']!r} is not valid", str(context.get("expected"))
    elif kind in ("string_too_short", "string_pattern_mismatch") and loc[-1] == "source":
        problem, expected = f"{entry['input']!r} says nothing", "who said so, where and when"
    elif kind == "string_pattern_mismatch":
        problem, expected = f"{entry['input']!r} is not a valid name or date", f"the pattern {context['pattern']}"
    elif kind in ("model_type", "dict_type", "model_attributes_type"):
        problem, expected = "is not a table", "keys and values below it"
    else:
        problem = str(entry["msg"])
    return _placed(DesignError(problem, key=".".join(loc), expected=expected), document)


def valid_keys(path: PathKey) -> list[str]:
    """Keys that may stand in the table at `path`."""
    from hiersim.config import schema

    tables: dict[str, Any] = {
        "compute": schema.ComputeModel, "host": schema.HostModel, "placement": schema.PlacementModel,
        "device": schema.DeviceModel, "constants": schema.ConstantsModel,
    }  # fmt: skip
    inner: dict[str, Any] = {"matrix": schema.MatrixModel, "vector": schema.VectorModel}
    if path == ("compute", "matrix", "systolic"):
        return list(schema.SystolicModel.model_fields)
    if not path:
        return list(schema.DesignModel.model_fields)
    if path[0] == "memory":
        return list(schema.TierModel.model_fields)
    if path[0] == "links":
        return list(schema.LinkModel.model_fields)
    model = inner.get(path[1]) if len(path) > 1 else tables.get(path[0])
    return list(model.model_fields) if model else []
