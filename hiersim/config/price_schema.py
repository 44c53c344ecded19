"""The form of the price book: pydantic models. A figure without a source or a date is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from hiersim import units
from hiersim.config.document import Document, read_document
from hiersim.config.load import combined, fault_of
from hiersim.config.schema import Bytes, Date, reads
from hiersim.errors import DesignError
from hiersim.model import prices as value

PRICES: Final = "prices.yaml"
HISTORY: Final = "history.yaml"

Source = Annotated[str, StringConstraints(min_length=8, max_length=600, pattern=r"\S \S")]
Title = Annotated[str, StringConstraints(min_length=1, max_length=100)]
Positive = Annotated[float, Field(gt=0, lt=1e9)]
Price = Annotated[float, reads(units.UsdPerGB)]
Money = Annotated[float, reads(units.Usd)]
Area = Annotated[float, reads(units.SquareMillimetres)]
PerByte = Annotated[float, reads(units.PicojoulesPerByte)]
PerFlop = Annotated[float, reads(units.PicojoulesPerFlop)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)  # build one validator for each file


class _Dated(_Strict):
    as_of: Date
    source: Source


class _Price(_Dated):
    value: Price


class _Money(_Dated):
    value: Money


class _Area(_Dated):
    value: Area


class _PerByte(_Dated):
    value: PerByte


class _PerFlop(_Dated):
    value: PerFlop


class _Number(_Dated):
    value: Positive


class _Kind(_Strict):
    title: Title
    price: _Price | None = None
    energy: _PerByte | None = None


class _Node(_Strict):
    title: Title
    bit_cell: _Area
    wafer: _Money
    defects: _Number
    sram_energy: _PerByte | None = None
    arithmetic: _PerFlop | None = None


class _Silicon(_Strict):
    wafer_diameter: _Number
    reticle: _Area
    clustering: _Number
    block_capacity: Bytes
    block_node: str
    block_area: _Area


class _Book(_Strict):
    memory: dict[str, _Kind]
    nodes: dict[str, _Node]
    silicon: _Silicon
    electricity: _Number
    lifetime: _Number


class _Series(_Dated):
    title: Title
    unit: Title
    points: Annotated[
        dict[Annotated[int, BeforeValidator(int), Field(ge=1950, le=2100)], Positive], Field(min_length=2)
    ]


class _Histories(_Strict):
    history: dict[str, _Series]


def read_prices(folder: Path, shown: str, history: Mapping[str, value.History]) -> value.PriceBook:
    """The book of a folder, which messages call `shown`.

    Raises
    ------
    DesignError
        With file, line and key of the first fault; `others` holds the rest.
    """
    book = _validated(_Book, read_document(folder / PRICES, f"{shown}/{PRICES}"))
    if book.silicon.block_node not in book.nodes:
        key = "silicon.block_node"
        raise DesignError(
            "is not a node of this file", file=f"{shown}/{PRICES}", key=key, expected=" or ".join(book.nodes)
        )
    return value.PriceBook(
        memory={name: _kind(name, entry) for name, entry in book.memory.items()},
        nodes={name: _node(name, entry) for name, entry in book.nodes.items()},
        silicon=_silicon(book.silicon),
        electricity=_figure(book.electricity),
        lifetime=_figure(book.lifetime),
        history=history,
    )


def read_history(folder: Path, shown: str) -> dict[str, value.History]:
    """The histories of a folder, which messages call `shown`."""
    series = _validated(_Histories, read_document(folder / HISTORY, f"{shown}/{HISTORY}"))
    return {name: _history(name, entry) for name, entry in series.history.items()}


def _validated(model: Any, document: Document) -> Any:
    """The data of `document` as `model`, or one error that holds every fault."""
    try:
        return TypeAdapter(model).validate_python(document.data)
    except ValidationError as error:
        faults = [fault_of(entry, document, "the price book") for entry in error.errors(include_url=False)]
        raise combined(faults) from None


def _figure(entry: Any) -> value.Figure:
    return value.Figure(value=entry.value, as_of=entry.as_of, source=entry.source)


def _perhaps(entry: Any) -> value.Figure | None:
    return None if entry is None else _figure(entry)


def _kind(name: str, entry: _Kind) -> value.MemoryKind:
    return value.MemoryKind(name=name, title=entry.title, price=_perhaps(entry.price), energy=_perhaps(entry.energy))


def _node(name: str, entry: _Node) -> value.ProcessNode:
    known = {key: _figure(getattr(entry, key)) for key in ("bit_cell", "wafer", "defects")}
    unsure = {key: _perhaps(getattr(entry, key)) for key in ("sram_energy", "arithmetic")}
    return value.ProcessNode(name=name, title=entry.title, **known, **unsure)  # type: ignore[arg-type]


def _silicon(entry: _Silicon) -> value.Silicon:
    figures = {key: _figure(getattr(entry, key)) for key in ("wafer_diameter", "reticle", "clustering", "block_area")}
    return value.Silicon(block_capacity=units.Bytes(entry.block_capacity), block_node=entry.block_node, **figures)


def _history(name: str, entry: _Series) -> value.History:
    points = _points(entry.points)
    return value.History(
        name=name, title=entry.title, unit=entry.unit, as_of=entry.as_of, source=entry.source, points=points
    )


def _points(entries: Mapping[int, float]) -> tuple[value.Point, ...]:
    return tuple(value.Point(year, entries[year]) for year in sorted(entries))
