"""A model's weights in SRAM: what would it cost, and what would it return?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final, NamedTuple

from hiersim.config.load import load_design
from hiersim.config.prices import load_prices
from hiersim.decisions.case import Case
from hiersim.decisions.studies import PLACES
from hiersim.decisions.studies.claims import Agreement, Claim, Study, Table
from hiersim.decisions.studies.figures import named, times
from hiersim.frontends.load import load_trace
from hiersim.model.design import Design, Management
from hiersim.model.operators import Role
from hiersim.model.prices import PriceBook
from hiersim.model.silicon import sram_area, sram_price
from hiersim.model.trace import Trace
from hiersim.results import Result
from hiersim.units import Bytes, Share

NAME: Final = "sram"
TRACES: Final = (
    "resnet50-infer", "bert-large-prefill", "gpt2-large-prefill", "llama3-8b-decode", "llama3-8b-decode-b32",
)  # fmt: skip
DESIGN, POOL, POLICY, NODE = "h100-sxm", "weights", "inductor", "5nm"
HBM: Final = ("hbm2e", "hbm3", "hbm3e")


class Held(NamedTuple):
    """One model, on the device as it is and with its weights in SRAM."""

    trace: Trace
    weights: int
    before: Result
    after: Result


def study() -> Study:
    """Weights of five workloads in SRAM beside the HBM of an H100, at the price of 5 nm silicon."""
    book = load_prices()
    held = [_held(name) for name in TRACES]
    return Study(
        name=NAME,
        question=PLACES[NAME],
        claims=(_prices(book), _worth(held, book), _built(held, book)),
        tables=(
            Table(title="one GB of SRAM by node, from silicon", rows=tuple(_nodes(book))),
            Table(
                title=f"weights in SRAM of {NODE} beside the HBM of {DESIGN}, {POLICY}",
                rows=tuple(_row(item, book) for item in held),
            ),
        ),
        notes=(
            "SRAM is priced at what its silicon costs: wafers, dies, yield (docs/sram-price.md); HBM at what buyers "
            "pay, the device at what it is sold for",
            "the SRAM is as fast as the L2; so much of it would really be many dies, farther away and slower",
        ),
    )


def _held(name: str) -> Held:
    """The run as it is, and with SRAM beside the HBM in which all weights live."""
    trace, design = load_trace(name), load_design(DESIGN)
    before = Case(trace=trace, design=design, fusion=POLICY).run()
    table = before.graph.tensors
    weights = int(table.storage_bytes[table.storage_role == Role.WEIGHT].sum())
    after = Case(trace=trace, design=with_sram(design, weights), fusion=POLICY).run()
    return Held(trace, weights, before, after)


def with_sram(design: Design, size: int) -> Design:
    """`design` with a pool of SRAM before its last tier, as fast as its last cache, that holds all weights."""
    cache = design.shared_tiers[-2]
    pool = replace(cache, name=POOL, management=Management.POOL, capacity=Bytes(size), usable=Share(1.0))
    memory = (*design.core_tiers, *design.shared_tiers[:-1], pool, design.home, *design.host_tiers)
    placement = replace(design.placement, pins={"weight": POOL})
    return replace(design, memory=memory, placement=placement).checked()


def _prices(book: PriceBook) -> Claim:
    sram = sram_price(book, NODE).usd_per_gb
    hbm = {name: price.value for name in HBM if (price := book.kind(name).price) is not None}
    return Claim(
        claim=f"at {NODE} 1 GB of SRAM costs hundreds of dollars, HBM 10 to 20 $/GB",
        found=f"SRAM {sram:.0f} $/GB (by node: {named(_all_nodes(book), '{:.0f} $')}); {named(hbm, '{:.1f} $/GB')}",
        agrees=Agreement.of([100 <= sram < 1000, *(10 <= price <= 20 for price in hbm.values())]),
    )


def _all_nodes(book: PriceBook) -> dict[str, float]:
    return {name: sram_price(book, name).usd_per_gb for name in book.nodes}


def _speed(item: Held) -> float:
    return item.before.makespan / item.after.makespan


def _worth(held: list[Held], book: PriceBook) -> Claim:
    """More speed per dollar than the device has as it is?"""
    price = load_design(DESIGN).device.price
    assert price is not None
    gain = {item.trace.name: _speed(item) for item in held}
    per_dollar = {item.trace.name: _speed(item) * price / (price + _usd(item, book)) for item in held}
    return Claim(
        claim="weights in SRAM are not worth their price",
        found=f"speed {times(gain)}; speed per dollar {times(per_dollar)} of that of {DESIGN}",
        agrees=Agreement.of(value < 1 for value in per_dollar.values()),
    )


def _built(held: list[Held], book: PriceBook) -> Claim:
    reticle = book.silicon.reticle.value
    fields = {item.trace.name: _area(item, book) / reticle for item in held}
    return Claim(
        claim="weights of a language model do not fit on a die",
        found=f"their SRAM takes {named(fields, '{:.1f}')} times the largest die that is exposed at once "
        f"({reticle:.0f} mm2)",
        agrees=Agreement.of(value > 1 for name, value in fields.items() if "llama" in name or "gpt2" in name),
    )


def _usd(item: Held, book: PriceBook) -> float:
    return item.weights / 1e9 * sram_price(book, NODE).usd_per_gb


def _area(item: Held, book: PriceBook) -> float:
    return sram_area(book, NODE, item.weights)


def _nodes(book: PriceBook) -> Iterator[dict[str, object]]:
    for name in book.nodes:
        price = sram_price(book, name)
        yield {
            "process": name,
            "price_as_of": price.as_of,
            "sram_mm2": price.area_mm2,
            "dies": price.dies_per_gb,
            "good_share": price.good_share,
            "usd_per_gb": price.usd_per_gb,
        }


def _row(item: Held, book: PriceBook) -> dict[str, object]:
    hbm = item.before.design.home.price
    return {
        "trace": item.trace.name,
        "weight_bytes": item.weights,
        "hbm_usd": None if hbm is None else item.weights / 1e9 * float(hbm),
        "sram_usd": _usd(item, book),
        "sram_mm2": _area(item, book),
        "time_s": item.before.time,
        "held_s": item.after.time,
        "speedup": _speed(item),
    }
