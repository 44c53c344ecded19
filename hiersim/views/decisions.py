"""Decisions in words and tables: what to buy, what moves a run, where a curve bends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hiersim.bill import silicon_warnings
from hiersim.decisions.elasticity import Advice, Elasticity, Shape
from hiersim.decisions.knees import Curve, Knee, Point
from hiersim.decisions.rank import Ranking, Standing
from hiersim.decisions.resources import Resource, Sense
from hiersim.decisions.target import Candidate, Target
from hiersim.decisions.tornado import Bar, End, Tornado
from hiersim.results import Result
from hiersim.units import show_bytes, show_capacity, show_ticks
from hiersim.views.explanation import capacity, largest_part
from hiersim.views.tables import dollars, percent, plain_table, where

if TYPE_CHECKING:
    from rich.table import Table

_WORDS: Final = {
    "compute.cores": "cores",
    "compute.matrix.peak": "FLOPS of the matrix unit",
    "compute.vector.peak": "FLOPS of the vector unit",
    "compute.vector.special": "special functions",
    "compute.clock": "core clock",
    "compute.load_bandwidth": "load bandwidth of the cores",
    "compute.start_up": "start-up of kernels",
    "compute.exchange": "exchange between threads",
    "compute.buffer_depth": "buffers",
    "host.launch_eager": "eager launches",
    "host.launch_compiled": "compiled launches",
    "host.launch_view": "views",
    "host.library_call": "calls of libraries",
    "host.launch_graph": "graph launches",
    "host.latency": "launch latency",
    "host.start": "gaps between kernels",
    "host.graph_start": "gaps between kernels of a graph",
    "host.queue": "launch queue",
    "placement.prefetch": "prefetch",
}
LITTLE: Final = 0.001
"""A gain or loss below this is not shown unless asked for."""
BAR_WIDTH: Final = 32


def word(item: Resource) -> str:
    """A resource as one says it: `hbm bandwidth`, `eager launches`."""
    if item.path in _WORDS:
        return _WORDS[item.path]
    _, place, value = item.path.split(".")
    return f"{place} {value.replace('_', ' ')}"


def can_be_bought(item: Resource) -> bool:
    """False for what a program chooses: buffers in flight, queue, prefetch."""
    return item.sense is not Sense.COUNT or item.path == "compute.cores"


def verdict(advice: Advice) -> str:
    """One sentence: what to buy, and what not; every number in it is in the table."""
    bought = [row for row in advice.rows if can_be_bought(row.resource)]
    best = max(bought, key=lambda row: (row.gain, row.resource.path))
    run = f"{advice.case.trace.name} on {advice.case.design.name}, {advice.result.fusion}"
    if best.gain < LITTLE:
        rest = f"10 % more of any one returns less than {percent(LITTLE)}"
        return f"{run}: no single resource helps: {rest}{_tied(advice)}"
    other = _contrast(advice, best)
    but = "" if other is None else f", not {word(other.resource)}"
    tail = "" if other is None else f", of {word(other.resource)} {percent(other.gain)}"
    verb = "shorten" if best.resource.sense is Sense.TIME else "buy"
    amount = "10 % less of it" if best.resource.sense is Sense.TIME else "10 % more"
    return f"{run}: {verb} {word(best.resource)}{but}: {amount} returns {percent(best.gain)}{tail}{_tied(advice)}"


def _contrast(advice: Advice, best: Elasticity) -> Elasticity | None:
    """What people buy first instead: FLOPS, or where those are best, bandwidth of the last tier."""
    home = advice.case.design.home.name
    rows = {row.resource.path: row for row in advice.rows}
    compute = ("compute.matrix.peak", "compute.vector.peak", "compute.cores", "compute.vector.special")
    memory = (f"memory.{home}.bandwidth", f"memory.{home}.read_bandwidth")
    wanted = memory if best.resource.path.startswith("compute.") else compute
    found = [rows[path] for path in wanted if path in rows and rows[path] is not best]
    return found[0] if found and found[0].gain < best.gain else None


def _tied(advice: Advice) -> str:
    """What only several resources together would return, where kinks hide a part of the speed."""
    missing = 1 - advice.scaling_sum
    return (
        f"; {percent(missing)} of the speed moves only when several of them get better together"
        if missing > 0.02
        else ""
    )


def advice_table(advice: Advice, everything: bool = False) -> Table:
    """What every resource is worth, the one that returns most first."""
    result = advice.result
    table = plain_table(f"{result.trace.name} on {where(result)}, {result.fusion}: {show_ticks(result.makespan)}")
    table.add_column("resource", no_wrap=True)
    for heading in ("now", "elasticity", "10 % better", "for", "10 % worse", "energy"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("shape", no_wrap=True)
    for row in advice.rows:
        if everything or _matters(row):
            now = row.resource.show(row.resource.of(result.trace.header.dtype))
            table.add_row(row.resource.path, now, *_elasticity_cells(row))
    return table


def _matters(row: Elasticity) -> bool:
    return row.shape is not Shape.FLAT and max(abs(row.gain), abs(row.loss or 1.0), abs(row.speed)) >= LITTLE


def _elasticity_cells(row: Elasticity) -> tuple[str, ...]:
    sides = row.shape in (Shape.KINK, Shape.STEP) and row.down is not None
    worth = f"{row.up.elasticity:.3f} | {_short(row.down.elasticity)}" if sides and row.down else f"{row.speed:.3f}"
    price = "–" if row.price is None else f"{row.price.usd:+,.2f} $"
    return worth, _signed(row.gain), price, _signed(row.loss), _number(row.joules), row.shape.value


def _short(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else "step"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _signed(value: float | None) -> str:
    """A share with its sign; what does not fit has none."""
    return "does not fit" if value is None else f"{100 * value:+.1f} %"


def advice_notes(advice: Advice) -> list[str]:
    """How to read the table, and the law that its rates and times are held against."""
    hidden = sum(not _matters(row) for row in advice.rows)
    lines = [
        "elasticity: per cent of speed per per cent of the resource (more | less where they differ); 10 % better and "
        "worse are replays (of counts, one more or less, brought to 10 %), for: what that much more memory costs",
        "energy: its elasticity, over what has figures; cores come with their units; "
        f"rates and times add up to {advice.scaling_sum:.3f} (1 by the scaling law where nothing is at a kink)",
        "a capacity may pay further out than 10 %: `hiersim knees` looks for the sizes at which it does",
    ]
    return lines + (
        [f"{hidden} more resources move the speed by less than {percent(LITTLE)} (-v shows them)"] if hidden else []
    )


def tornado_table(tornado: Tornado, most: int = 15) -> Table:
    """The longest bars: speed at both ends of each resource's range, and a drawing of it."""
    result = tornado.result
    table = plain_table(f"{result.trace.name} on {where(result)}, {result.fusion}: {show_ticks(result.makespan)}")
    table.add_column("resource", no_wrap=True)
    for heading in ("from", "to", "speed", "speed ", "span"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("slower | faster", no_wrap=True)
    shown = tornado.bars[:most]
    widest = max((abs(speed - 1) for bar in shown for speed in _speeds(bar)), default=0.0)
    for bar in shown:
        ends = [bar.resource.show(end.value) for end in (bar.low, bar.high)]
        speeds = [
            "does not fit" if speed is None else f"{speed:.3f} x" for speed in map(bar.speed, (bar.low, bar.high))
        ]
        table.add_row(bar.resource.path, *ends, *speeds, f"{bar.span:.2f} x", drawing(bar, widest))
    return table


def _speeds(bar: Bar) -> list[float]:
    return [speed for speed in map(bar.speed, (bar.low, bar.high)) if speed is not None]


def drawing(bar: Bar, widest: float) -> str:
    """The bar in characters: to the left what is slower than now, to the right what is faster."""
    half = BAR_WIDTH // 2
    speeds = _speeds(bar)
    scale = half / widest if widest else 0.0
    slower = round(max([0.0, *(1 - speed for speed in speeds)]) * scale)
    faster = round(max([0.0, *(speed - 1 for speed in speeds)]) * scale)
    return f"{'█' * slower:>{half}}|{'█' * faster:<{half}}".rstrip()


def tornado_note(tornado: Tornado) -> str:
    """The tornado in one sentence."""
    top = tornado.bars[0]
    ends: list[tuple[End, str]] = [(top.low, "from"), (top.high, "to")]
    span = " ".join(f"{name} {top.resource.show(end.value)}" for end, name in ends)
    return f"{word(top.resource)} moves this run most: {span} the time changes by {top.span:.2f} x"


def curve_table(curve: Curve) -> Table:
    """The knees of a curve, the one that saves most first."""
    table = plain_table(_curve_title(curve.result, curve.tier))
    for heading in ("knee at", "time", "saves", "per doubling", "beyond", "far traffic", "price"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("what is held then", overflow="fold")
    cached = curve.result.design.tier(curve.tier).is_shared_cache
    for knee in curve.knees:
        table.add_row(*_knee_cells(knee, cached))
    return table


def _curve_title(result: Result, tier: str) -> str:
    now = show_capacity(int(result.design.tier(tier).capacity))
    return f"{result.trace.name} on {where(result)}, {result.fusion}: size of {tier}, now {now}"


def _knee_cells(knee: Knee, cached: bool) -> tuple[str, ...]:
    point = knee.point
    steep = "at once" if knee.before > 1 else percent(knee.before)
    held = largest_part(knee.held[0]) if knee.held else "a part of larger sets" if cached else "–"
    rest = f" (and {len(knee.held) - 1} more sets)" if len(knee.held) > 1 else ""
    return (
        capacity(point.capacity), show_ticks(point.ticks), percent(knee.saved), steep, percent(knee.after),
        show_bytes(point.home_bytes), dollars(point.usd), held + rest,
    )  # fmt: skip


def points_table(curve: Curve) -> Table:
    """Every size that was replayed."""
    table = plain_table("all sizes")
    for heading in ("size", "time", "far traffic", "price"):
        table.add_column(heading, justify="right", no_wrap=True)
    for point in curve.points:
        table.add_row(*_point_cells(point))
    return table


def _point_cells(point: Point) -> tuple[str, ...]:
    return capacity(point.capacity), show_ticks(point.ticks), show_bytes(point.home_bytes), dollars(point.usd)


def curve_note(curve: Curve) -> str:
    """The curve in one sentence."""
    first, last, enough = curve.points[0], curve.points[-1], curve.enough()
    now = curve.result.makespan
    best = min(point.ticks for point in curve.points)
    if first.ticks - best < LITTLE * now:
        ends = f"{capacity(first.capacity)} are as good as {capacity(last.capacity)}"
        return f"the size of {curve.tier} does not matter: {ends}"
    beside = f"{percent(abs(1 - enough.ticks / now))} {'less' if enough.ticks <= now else 'more'} than now"
    return (
        f"{capacity(enough.capacity)} of {curve.tier} give 95 % of what its size can save: {show_ticks(enough.ticks)} "
        f"({beside}); no size takes less than {show_ticks(best)}"
    )


def front_table(target: Target, most: int = 15) -> Table:
    """The front of price and time; points that are fast enough are marked."""
    result = target.result
    table = plain_table(
        f"{result.trace.name} on {where(result)}, {result.fusion}: {show_ticks(target.wanted_ticks)} wanted"
    )
    paths = list(target.candidates[0].changes)
    for heading in (*paths, "price", "beside now", "time", "fast enough"):
        table.add_column(heading, justify="right", overflow="fold")
    for item in target.front[:most]:
        values = [str(item.changes[path]) for path in paths]
        met = "yes" if item.ticks <= target.wanted_ticks else ""
        more = f"{item.usd - target.base_usd:+,.2f} $"
        table.add_row(*values, dollars(item.usd), more, show_ticks(item.ticks), met)
    return table


def target_note(target: Target) -> str:
    """The answer in one sentence."""
    count = len(target.candidates) + target.misfits
    tried = f"{len(target.met)} of {count} points are fast enough"
    tried += f", {target.misfits} do not fit" if target.misfits else ""
    if target.best is None:
        fastest = target.fastest
        return (
            f"none takes {show_ticks(target.wanted_ticks)} or less ({tried}); the fastest takes "
            f"{show_ticks(fastest.ticks)}: {_changes(fastest)}"
        )
    best = target.best
    more = f"{best.usd - target.base_usd:+,.2f} $ beside {dollars(target.base_usd)} now"
    return f"cheapest: {_changes(best)}: {show_ticks(best.ticks)} for {dollars(best.usd)} ({more}); {tried}"


def target_warnings(target: Target) -> list[str]:
    """What of the cheapest design cannot be made as it says."""
    return [] if target.best is None else silicon_warnings(target.case.design.replace(target.best.changes))


def _changes(item: Candidate) -> str:
    return ", ".join(f"{path}={value}" for path, value in item.changes.items())


def rank_table(ranking: Ranking, most: int | None = None) -> Table:
    """Devices by dollars per throughput; those of unknown price after them, by time."""
    unit = ranking.work.unit
    one = unit.removesuffix("s")
    table = plain_table(f"{ranking.trace.name}, {ranking.fusion}: dollars per {one} a second")
    table.add_column("design", no_wrap=True)
    for heading in ("year", "time", f"{unit}/s", "waits", "price", "as of", f"$ per {one}/s", "front"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in ranking.rows[:most]:
        if row.result is not None:
            table.add_row(*_standing_cells(row))
    return table


def _standing_cells(row: Standing) -> tuple[str, ...]:
    assert row.result is not None
    facts, worth = row.design.device, row.usd_per_throughput
    price = "unknown" if row.price is None else f"{row.price:,.0f} $"
    return (
        row.design.name, str(facts.year or "–"), show_ticks(row.result.makespan),
        f"{row.work.items / row.result.time:,.4g}", percent(row.result.stall_fraction), price,
        facts.price_as_of or "–", "unknown" if worth is None else f"{worth:,.4g}", "*" if row.on_front else "",
    )  # fmt: skip


def rank_notes(ranking: Ranking) -> list[str]:
    """How to read the ranking, and what did not run."""
    known = [row for row in ranking.rows if row.usd_per_throughput is not None]
    lines = [
        "front *: of the devices with a known price, none is both cheaper and faster; prices are those of their date"
    ]
    if known:
        best = known[0]
        unit = ranking.work.unit
        lines.append(
            f"{best.design.title} gives most for its price: {best.usd_per_throughput:,.4g} $ per {unit} a second"
        )
    missing = [row.design.name for row in ranking.rows if row.result is None]
    return lines + ([f"does not run on: {', '.join(missing)} (--json says why)"] if missing else [])
