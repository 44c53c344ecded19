"""The form of a design file: pydantic models whose fields read quantities exactly.

`DesignModel.model_json_schema()` is what editors use. The models mirror `hiersim.model.design`; a test
holds the two together.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from hiersim import units
from hiersim.errors import UnitError, nearest
from hiersim.model import design as value
from hiersim.model.compute import Blocking, Compute, Dataflow, MatrixUnit, Systolic, VectorUnit
from hiersim.model.constants import Constants
from hiersim.model.design_changes import read_tile
from hiersim.model.operators import DType

_KNOWN = Constants()
DTYPES = tuple(dtype.name.lower() for dtype in DType)
DTypeName = Literal[
    "fp64", "fp32", "tf32", "fp16", "bf16", "fp8", "fp4", "int64", "int32", "int16", "int8", "bool", "complex64"
]


def reads(kind: Any) -> BeforeValidator:
    """Reads text with the units of `kind`."""

    def read(text: object) -> int | float:
        try:
            return units.parse(kind, text)
        except UnitError as error:
            raise _pydantic(error) from None

    return BeforeValidator(read)


def _pydantic(error: UnitError) -> PydanticCustomError:
    """`error` in the form that pydantic collects."""
    return PydanticCustomError("quantity", "{problem}", {"problem": error.problem, "expected": error.expected})


def _shown(kind: Any) -> WithJsonSchema:
    """How editors see a value of `kind`."""
    form = units.QUANTITIES[kind]
    return WithJsonSchema({"type": "number" if form.bare else "string", "description": form.example})


Ticks = Annotated[int, reads(units.Ticks), _shown(units.Ticks)]
Bytes = Annotated[int, reads(units.Bytes), _shown(units.Bytes)]
BytesPerSecond = Annotated[int, reads(units.BytesPerSecond), _shown(units.BytesPerSecond)]
FlopsPerSecond = Annotated[int, reads(units.FlopsPerSecond), _shown(units.FlopsPerSecond)]
Hertz = Annotated[int, reads(units.Hertz), _shown(units.Hertz)]
Count = Annotated[int, reads(units.Count), _shown(units.Count)]
Share = Annotated[float, reads(units.Share), _shown(units.Share)]
Factor = Annotated[float, reads(units.Factor), _shown(units.Factor)]
Usd = Annotated[float, reads(units.Usd), _shown(units.Usd)]
SquareMillimetres = Annotated[float, reads(units.SquareMillimetres), _shown(units.SquareMillimetres)]
UsdPerGB = Annotated[float, reads(units.UsdPerGB), _shown(units.UsdPerGB)]
PicojoulesPerByte = Annotated[float, reads(units.PicojoulesPerByte), _shown(units.PicojoulesPerByte)]
PicojoulesPerFlop = Annotated[float, reads(units.PicojoulesPerFlop), _shown(units.PicojoulesPerFlop)]


def _tile(entry: object) -> tuple[int, int, int]:
    try:
        return read_tile(entry)
    except UnitError as error:
        raise _pydantic(error) from None


Tile = Annotated[tuple[int, int, int], BeforeValidator(_tile)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
TierName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
Date = Annotated[
    str,
    StringConstraints(pattern=r"^\d{4}(-\d{2}){0,2}$"),
    BeforeValidator(lambda entry: str(entry) if type(entry) is int else entry),  # a year alone
]
Text = Annotated[str, StringConstraints(max_length=400)]


def _dram(entry: object) -> str:
    """The name of a DRAM preset."""
    from hiersim.model.dram_presets import PRESETS

    if isinstance(entry, str) and entry in PRESETS:
        return entry
    error = UnitError(f"{str(entry)[:64]!r} is not a DRAM preset", expected=nearest(str(entry)[:64], PRESETS))
    raise _pydantic(error)


Dram = Annotated[str, BeforeValidator(_dram), WithJsonSchema({"type": "string", "description": "a DRAM preset"})]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)  # build one validator, that of the whole


class SystolicModel(_Strict):
    """Systolic arrays: fill and drain cost cycles."""

    rows: Count
    columns: Count
    dataflow: Literal["weight_stationary", "output_stationary", "input_stationary"]
    arrays: Count = 1
    overlap: StrictBool = False


class MatrixModel(_Strict):
    """Tensor cores or systolic arrays, all cores together."""

    peak: Annotated[dict[DTypeName, FlopsPerSecond], Field(min_length=1, description="dense peak per dtype")]
    tile: Annotated[Tile, Field(description="native tile [m, n, k]")]
    efficiency: Share = 1.0
    asynchronous: StrictBool = False
    stand_in: dict[DTypeName, DTypeName] = {}
    systolic: SystolicModel | None = None


class VectorModel(_Strict):
    """Scalar and SIMD arithmetic, all cores together."""

    peak: Annotated[dict[DTypeName, FlopsPerSecond], Field(min_length=1)]
    special: FlopsPerSecond
    efficiency: Share = 1.0
    batched_side: Count | None = None


class ComputeModel(_Strict):
    """Cores and their units."""

    cores: Count
    clock: Hertz
    vector: VectorModel
    matrix: MatrixModel | None = None
    load_bandwidth: BytesPerSecond = units.UNLIMITED
    buffer_depth: Count = 2
    blocking: Annotated[Literal["cores", "shared"], Field(description="of matrix products")] = "cores"
    threads: Count | None = None
    start_up: Ticks = 0
    exchange: Ticks = 0
    window_set_up: Ticks = 0
    energy: PicojoulesPerFlop | None = None


class TierModel(_Strict):
    """One level of the memory hierarchy."""

    scope: Literal["core", "shared", "host"]
    management: Literal["cache", "scratchpad", "pool"]
    capacity: Bytes
    bandwidth: BytesPerSecond | None = None
    read_bandwidth: BytesPerSecond | None = None
    write_bandwidth: BytesPerSecond | None = None
    efficiency: Share = 1.0
    dram: Dram | None = None
    latency: Ticks = 0
    usable: Share = 1.0
    granularity: Bytes = 1
    replacement: Annotated[Literal["lru", "belady"], Field(description="of a shared cache")] = "lru"
    start: Annotated[Literal["cold", "warm"], Field(description="of a shared cache")] = "cold"
    arbitration: Annotated[Literal["fifo", "fair"], Field(description="of kernels that wait at a port")] = "fifo"
    kind: Annotated[Name | None, Field(description="of the price book: 'hbm3', 'sram', …")] = None
    process: Annotated[Name | None, Field(description="node of its SRAM, where it is not the device's")] = None
    price: UsdPerGB | None = None
    price_as_of: Date | None = None
    energy: PicojoulesPerByte | None = None


class LinkModel(_Strict):
    """What lies between two tiers: PCIe, NVLink-C2C."""

    to: Annotated[TierName, Field(description="the farther one of the two tiers")]
    bandwidth: BytesPerSecond | None = None
    read_bandwidth: BytesPerSecond | None = None
    write_bandwidth: BytesPerSecond | None = None
    efficiency: Share = 1.0
    latency: Ticks = 0
    arbitration: Annotated[Literal["fifo", "fair"], Field(description="of kernels that wait at a port")] = "fifo"
    energy: PicojoulesPerByte | None = None


class PlacementModel(_Strict):
    """How tensors find their home tier, and how those beyond the device come to the kernels."""

    order: Literal["density", "first-touch", "spread"] = "density"
    prefetch: Count = 2
    chunk: Bytes = 2**20
    pins: dict[Annotated[str, StringConstraints(min_length=1, max_length=200)], TierName] = {}


class HostModel(_Strict):
    """The one thread that dispatches kernels."""

    launch_eager: Ticks = 0
    launch_compiled: Ticks = 0
    launch_view: Ticks = 0
    library_call: Ticks = 0
    latency: Ticks = 0
    start: Ticks = 0
    queue: Count = 1024
    launch_graph: Ticks | None = None
    graph_start: Ticks | None = None
    region_entry: Ticks | None = None
    guard: Ticks | None = None
    recompile: Ticks | None = None
    recompile_operator: Ticks | None = None


class DeviceModel(_Strict):
    """The product: nothing here decides a time."""

    year: Annotated[StrictInt, Field(ge=1950, le=2100)] | None = None
    family: Text | None = None
    process: Annotated[Name | None, Field(description="node of the price book: '5nm'")] = None
    die_area: SquareMillimetres | None = None
    dies: Count = 1
    price: Usd | None = None
    price_as_of: Date | None = None


class ConstantsModel(_Strict):
    """What kernels of GPU libraries cost beyond all that a datasheet says; the same for all designs unless given."""

    dependent_load: Factor = _KNOWN.dependent_load
    wait_bytes: Bytes = _KNOWN.wait_bytes
    address: Factor = _KNOWN.address
    lookup: Factor = _KNOWN.lookup
    special_function: Factor = _KNOWN.special_function
    link: Factor = _KNOWN.link
    access: Factor = _KNOWN.access
    handling: Factor = _KNOWN.handling
    narrow_loads: Factor = _KNOWN.narrow_loads
    prologue: Factor = _KNOWN.prologue
    table_waits: Factor = _KNOWN.table_waits


class DesignModel(_Strict):
    """One machine: compute, memory tiers (nearest first), links, host, placement, constants and sources."""

    name: Name
    title: Text
    extends: Text | None = None
    notes: Text | None = None
    compute: ComputeModel
    memory: Annotated[dict[TierName, TierModel], Field(min_length=1, max_length=16)]
    links: Annotated[dict[TierName, LinkModel], Field(max_length=16)] = {}
    host: HostModel = HostModel()
    placement: PlacementModel = PlacementModel()
    device: DeviceModel = DeviceModel()
    constants: ConstantsModel = ConstantsModel()
    references: dict[str, Text] = {}
    sources: dict[str, Text] = {}


def to_design(model: DesignModel) -> value.Design:
    """The frozen value of a validated file."""
    compute = model.compute
    matrix = None
    if compute.matrix is not None:
        matrix = MatrixUnit(
            peak=_by_dtype(compute.matrix.peak),
            tile=compute.matrix.tile,
            efficiency=units.Share(compute.matrix.efficiency),
            asynchronous=compute.matrix.asynchronous,
            stand_in={_dtype(name): _dtype(target) for name, target in compute.matrix.stand_in.items()},
            systolic=_systolic(compute.matrix.systolic),
        )
    vector = VectorUnit(
        peak=_by_dtype(compute.vector.peak),
        special=units.FlopsPerSecond(compute.vector.special),
        efficiency=units.Share(compute.vector.efficiency),
        batched_side=None if compute.vector.batched_side is None else units.Count(compute.vector.batched_side),
    )
    names = (
        "cores",
        "clock",
        "load_bandwidth",
        "buffer_depth",
        "threads",
        "start_up",
        "exchange",
        "window_set_up",
        "energy",
    )
    plain = {name: getattr(compute, name) for name in names}
    design = value.Design(
        name=model.name,
        title=model.title,
        compute=Compute(vector=vector, matrix=matrix, blocking=Blocking(compute.blocking), **plain),
        memory=tuple(_tier(name, tier) for name, tier in model.memory.items()),
        host=value.Host(**model.host.model_dump()),
        links=tuple(_link(name, link) for name, link in model.links.items()),
        device=value.Device(**model.device.model_dump()),
        constants=Constants(**model.constants.model_dump()),
        placement=value.Placement(**{**model.placement.model_dump(), "order": value.Order(model.placement.order)}),
        sources={path: model.references.get(text, text) for path, text in model.sources.items()},
    )
    streamed = [
        name
        for name, tier in model.memory.items()
        if tier.dram is not None and "efficiency" not in tier.model_fields_set
    ]
    if not streamed:
        return design
    from hiersim.model.dram_tiers import with_models

    return with_models(design, streamed)


def _systolic(model: SystolicModel | None) -> Systolic | None:
    if model is None:
        return None
    fields = model.model_dump()
    fields["dataflow"] = Dataflow(fields["dataflow"])
    return Systolic(**fields)


def _dtype(name: str) -> DType:
    return DType[name.upper()]


def _by_dtype(rates: dict[Any, Any]) -> dict[DType, Any]:
    return {_dtype(name): rate for name, rate in sorted(rates.items(), key=lambda item: _dtype(item[0]))}


def _tier(name: str, model: TierModel) -> value.Tier:
    fields = model.model_dump()
    fields["scope"] = value.Scope(fields["scope"])
    fields["management"] = value.Management(fields["management"])
    fields["replacement"] = value.Replacement(fields["replacement"])
    fields["start"] = value.Start(fields["start"])
    fields["arbitration"] = value.Arbitration(fields["arbitration"])
    return value.Tier(name=name, **fields)


def _link(name: str, model: LinkModel) -> value.Link:
    return value.Link(name=name, **{**model.model_dump(), "arbitration": value.Arbitration(model.arbitration)})


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a design file, for editors."""
    schema = DesignModel.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "hiersim-design-1", **schema}
