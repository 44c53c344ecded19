"""What-if changes of a design: dotted paths, and values read from text by the type of the field that they are for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from enum import Enum
from functools import cache
from operator import attrgetter
from types import UnionType
from typing import Any, Final, NamedTuple, Union, get_args, get_origin, get_type_hints

from hiersim import units
from hiersim.errors import DesignError, HiersimError, UnitError, nearest
from hiersim.model.design import Design, Link, Tier
from hiersim.model.design_faults import check
from hiersim.model.operators import DType
from hiersim.units import FlopsPerSecond

_BOOKED: Final = ("kind", "process", "die_area")
"""What prices were looked up by when the file was read."""
_MACHINE: Final = ("compute", "memory", "links")
"""Tables that make a device what it is sold as."""
_FIGURES: Final = ("price", "price_as_of", "energy", "efficiency")
"""Values in them that say something about the device and change nothing of it."""
_TIERS: Final[Any] = tuple[Tier, ...]
_LINKS: Final[Any] = tuple[Link, ...]
_DTYPES: Final = {dtype.name.lower(): dtype for dtype in DType}


def changed(design: Design, changes: Mapping[str, Any]) -> Design:
    """`design` with the values at these dotted paths changed, and checked again; see `Design.replace`."""
    sources = dict(design.sources)
    design = _copied(design, sources=sources)  # which nobody else has yet
    for path, value in changes.items():
        name, new = _field(design, path.split("."), path, value)
        object.__setattr__(design, name, new)
    if design.device.price is not None and "device.price" not in changes and any(map(_makes_another, changes)):
        object.__setattr__(design, "device", _copied(design.device, price=None, price_as_of=None))
        sources.pop("device.price", None)
    for path, value in changes.items():
        if "name" not in path and "title" not in path:
            sources.pop(path, None)  # the last change comes last
            sources[path] = f"set to {value}"
    check(design)
    presets = [path for path in changes if path.endswith(".dram")]
    names = [tier.name for tier in design.memory if f"memory.{tier.name}.dram" in presets]
    return _with_models(design, [name for name in names if f"memory.{name}.efficiency" not in changes])


def _makes_another(path: str) -> bool:
    """True where a change leaves a device that nobody sells at the known price."""
    steps = path.split(".")
    return steps[0] in _MACHINE and steps[-1] not in _FIGURES


class Leaf(NamedTuple):
    """One value of a design: the type that its field has, and what it is."""

    kind: Any
    value: Any


def leaf(design: Design, path: str, value: Any) -> Leaf:
    """What `path` of `design` is when it is set to `value`; whether the whole then makes sense is not asked.

    Raises
    ------
    DesignError
        Unknown path, wrong unit, or out of range.
    """
    steps = path.split(".")
    owner: Any = _replaced(design, steps, path, value)
    while True:
        of: Any = type(owner)
        kind, owner = field_types(of)[steps[0]], getattr(owner, steps[0])
        if kind in (_TIERS, _LINKS):
            owner, steps = next(place for place in owner if place.name == steps[1]), steps[1:]
        elif isinstance(owner, Mapping) and len(steps) > 1:
            name = steps[0]
            if name == "pins":
                return Leaf(str, owner[".".join(steps[1:])])
            return Leaf(DType if name == "stand_in" else FlopsPerSecond, owner[read_dtype(steps[1], path)])
        elif len(steps) == 1:
            return Leaf(kind, owner)
        steps = steps[1:]


def _with_models(design: Design, names: Collection[str]) -> Design:
    """`design` with the efficiency of these tiers' presets."""
    if not names:
        return design
    from hiersim.model.dram_tiers import with_models

    return with_models(design, names)


def _copied(value: Any, **new: Any) -> Any:
    """`value` with fields changed, as `dataclasses.replace` does; nothing of a design is made from its fields."""
    owner: Any = type(value)
    copy = object.__new__(owner)
    read, writes = _slots(owner)
    for write, present in zip(writes, read(value), strict=True):
        write(copy, present)
    for name, item in new.items():
        object.__setattr__(copy, name, item)
    return copy


@cache
def _slots(owner: Any) -> tuple[Callable[[Any], tuple[Any, ...]], list[Callable[[Any, Any], None]]]:
    """How all fields of a design dataclass, which has several, are read, and each is written, also where frozen."""
    names = [field.name for field in dataclasses.fields(owner)]
    return attrgetter(*names), [getattr(owner, name).__set__ for name in names]


@cache
def field_types(owner: Any) -> dict[str, Any]:
    """Field name → type of a design dataclass, with `| None` removed."""
    hints = get_type_hints(owner)
    return {field.name: _without_none(hints[field.name]) for field in dataclasses.fields(owner)}


def _without_none(hint: Any) -> Any:
    if get_origin(hint) in (Union, UnionType):
        return next(part for part in get_args(hint) if part is not type(None))
    return hint


def _replaced(value: Any, steps: list[str], path: str, text: Any) -> Any:
    """`value` with the leaf at `steps` changed; frozen values are copied along the way."""
    name, new = _field(value, steps, path, text)
    return _copied(value, **{name: new})


def _field(value: Any, steps: list[str], path: str, text: Any) -> tuple[str, Any]:
    """The field of `value` that the leaf at `steps` is in, and what it is when the leaf is changed."""
    name, rest = steps[0], steps[1:]
    owner: Any = type(value)
    kinds = field_types(owner)
    if name not in kinds or name == "sources":
        done = path.split(".")[: -len(steps)]
        valid = [".".join([*done, key]) for key in kinds if key != "sources"]
        raise DesignError("is not a value of a design", key=path, expected=nearest(path, valid))
    kind, present = kinds[name], getattr(value, name)
    if kind in (_TIERS, _LINKS):
        return name, _replaced_place(name, present, rest, path, text)
    if rest and dataclasses.is_dataclass(kind):
        if present is None:
            raise DesignError(f"this design has no {name}", key=path)
        return name, _replaced(present, rest, path, text)
    if rest and name == "pins":  # patterns have dots of their own
        pattern = ".".join(rest)
        if not pattern:
            raise DesignError("names no tensors", key=path, expected="placement.pins.PATTERN: a role or a name pattern")
        return name, {**present, pattern: str(text)}
    if rest and get_origin(kind) is not None and len(rest) == 1 and name in ("peak", "stand_in"):
        return name, _replaced_entry(name, present, rest[0], path, text)
    if rest:
        raise DesignError(f"'{name}' has nothing inside", key=path)
    if name in _BOOKED:
        raise DesignError("decides prices, which are looked up when a file is read", key=path, expected="a file")
    return name, read_leaf(kind, text, path, present)


def _replaced_place(kind: str, places: tuple[Any, ...], rest: list[str], path: str, text: Any) -> tuple[Any, ...]:
    """Tiers (`memory`) or `links` with one value changed."""
    names, one = [place.name for place in places], "tier" if kind == "memory" else "link"
    if len(rest) < 2 or rest[0] not in names:
        wanted = nearest(rest[0], names) if rest and names else f"a {one}: {', '.join(names) or 'there is none'}"
        form = f"{kind}.{one.upper()}.VALUE with {one.upper()} {wanted}"
        raise DesignError(f"names no value of a {one}", key=path, expected=form)
    return tuple(_replaced(place, rest[1:], path, text) if place.name == rest[0] else place for place in places)


def _replaced_entry(name: str, present: Mapping[DType, Any], key: str, path: str, text: Any) -> dict[DType, Any]:
    dtype = read_dtype(key, path)
    if name == "stand_in":
        return {**present, dtype: read_dtype(text, path)}
    return {**present, dtype: read_leaf(FlopsPerSecond, text, path, present.get(dtype))}


def read_dtype(text: Any, path: str) -> DType:
    """A dtype by its name in lower case."""
    if not isinstance(text, str) or text not in _DTYPES:
        raise DesignError(f"{text!r} is not a dtype", key=path, expected=nearest(str(text), _DTYPES))
    return _DTYPES[text]


def read_leaf(kind: Any, value: Any, path: str, present: Any = None) -> Any:
    """One value of a design, from text with a unit or from a number in base units."""
    try:
        if kind in units.QUANTITIES:
            number = isinstance(value, int | float) and not isinstance(value, bool)
            bare = number and not units.QUANTITIES[kind].bare
            return units.parse_change(kind, f"{value} {_base_unit(kind)}" if bare else value, present)
        if isinstance(kind, type) and issubclass(kind, Enum):
            if value in [item.value for item in kind]:
                return kind(value)
            raise UnitError(f"{value!r} is not valid", expected=" or ".join(item.value for item in kind))
        if kind == tuple[int, int, int]:
            return read_tile(value)
        if kind is bool:
            return read_switch(value)
        if kind is str and isinstance(value, str):
            return value
    except HiersimError as error:
        raise DesignError(error.problem, key=path, expected=error.expected) from None
    raise DesignError(f"{value!r} cannot be set here", key=path)


def _base_unit(kind: Any) -> str:
    """The unit that a bare number from Python stands for."""
    return units.QUANTITIES[kind].base


def read_switch(value: Any) -> bool:
    """True or false."""
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return bool(value == "true")
    raise UnitError(f"{value!r} is neither true nor false", expected="true or false")


def read_tile(value: Any) -> tuple[int, int, int]:
    """A native matrix tile (m, n, k)."""
    good = isinstance(value, list | tuple) and len(value) == 3
    if not good or not all(type(side) is int and 0 < side <= 65536 for side in value):
        raise UnitError(f"{value!r} is not a tile", expected="three whole numbers [m, n, k] of at least 1")
    return (value[0], value[1], value[2])
