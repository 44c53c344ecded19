"""Files that come with hiersim, read without the validator of other people's files: that takes a tenth of a second.

Every field is read by the type that it has in the value, with the units of that type. Tests read each of these files
both ways; what is not as it should be here is read again, by the validator, for the sake of its message.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from enum import Enum
from typing import Any, Final, get_args

from hiersim import units
from hiersim.errors import HiersimError
from hiersim.model import prices as value
from hiersim.model.design import Design, Link, Tier
from hiersim.model.design_changes import field_types, read_dtype
from hiersim.model.operators import DType

FAULTS: Final = (HiersimError, AttributeError, KeyError, TypeError, ValueError)
"""What a table of another form ends in."""
NOTES: Final = ("extends", "notes", "references")
"""Keys of a design file that a design does not have."""
FIGURES: Final[Mapping[str, Any]] = {
    "price": units.UsdPerGB, "energy": units.PicojoulesPerByte, "bit_cell": units.SquareMillimetres,
    "wafer": units.Usd, "defects": float, "sram_energy": units.PicojoulesPerByte,
    "arithmetic": units.PicojoulesPerFlop, "wafer_diameter": float, "reticle": units.SquareMillimetres,
    "clustering": float, "block_area": units.SquareMillimetres, "electricity": float, "lifetime": float,
}  # fmt: skip
"""Figures of the price book, and what they are."""


def design(data: Mapping[str, Any]) -> Design:
    """The design of a file, with the efficiencies of its DRAM presets."""
    table = {key: entry for key, entry in data.items() if key not in NOTES}
    references, sources = data.get("references", {}), data.get("sources", {})
    table["sources"] = {path: references.get(text, text) for path, text in sources.items()}
    found: Design = _record(Design, table)
    modelled = [
        name for name, tier in data["memory"].items() if tier.get("dram") is not None and "efficiency" not in tier
    ]
    if not modelled:
        return found
    from hiersim.model.dram_tiers import with_models

    return with_models(found, modelled)


def _record(kind: Any, table: Mapping[str, Any], **given: Any) -> Any:
    """A value of a design from the table of its fields."""
    types = field_types(kind)
    return kind(**given, **{key: _field(types[key], entry) for key, entry in table.items()})


def _field(kind: Any, entry: Any) -> Any:
    """One field by its type; None is unknown whatever the type."""
    if entry is None:
        return None
    if kind in units.QUANTITIES:
        return units.parse(kind, entry)
    if kind in (tuple[Tier, ...], tuple[Link, ...]):
        place = get_args(kind)[0]
        return tuple(_record(place, table, name=name) for name, table in entry.items())
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(entry)
    if is_dataclass(kind):
        return _record(kind, entry)
    if get_args(kind)[:1] == (DType,):
        rates = {read_dtype(name, name): rate for name, rate in entry.items()}
        if get_args(kind)[1] is DType:
            return {name: read_dtype(other, other) for name, other in rates.items()}
        return {name: units.parse(units.FlopsPerSecond, rates[name]) for name in sorted(rates)}
    if get_args(kind) == (int, int, int):
        return tuple(entry)
    return str(entry) if kind is str else entry


def price_book(data: Mapping[str, Any], history: Mapping[str, value.History]) -> value.PriceBook:
    """The price book of `prices.yaml`."""
    silicon = data["silicon"]
    return value.PriceBook(
        memory={name: value.MemoryKind(name=name, **_figures(table, ("price", "energy")))
                for name, table in data["memory"].items()},
        nodes={name: value.ProcessNode(name=name, **_figures(table, ("sram_energy", "arithmetic")))
               for name, table in data["nodes"].items()},
        silicon=value.Silicon(**_figures(silicon | {
            "block_capacity": units.Bytes(int(units.parse(units.Bytes, silicon["block_capacity"]))),
        })),
        electricity=_figure("electricity", data["electricity"]),
        lifetime=_figure("lifetime", data["lifetime"]),
        history=history,
    )  # fmt: skip


def _figures(table: Mapping[str, Any], unknown: tuple[str, ...] = ()) -> dict[str, Any]:
    """A table of figures and of other values; those of `unknown` that are not there are None."""
    read = {key: _figure(key, entry) if key in FIGURES else entry for key, entry in table.items()}
    return dict.fromkeys(unknown) | read


def _figure(name: str, entry: Mapping[str, Any] | None) -> Any:
    """One figure; None where nobody published it."""
    if entry is None:
        return None
    kind, number = FIGURES[name], entry["value"]
    read = float(number) if kind is float else float(units.parse(kind, number))
    return value.Figure(value=read, as_of=str(entry["as_of"]), source=entry["source"])
