"""`explain` in words and tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hiersim.explanation import Explanation
from hiersim.lowering.working_sets import WorkingSet
from hiersim.units import show_bytes, show_flops, show_ticks
from hiersim.views.tables import cause, percent, plain_table, where

if TYPE_CHECKING:
    from rich.table import Table

MOST_SETS = 12


def capacity(size: int) -> str:
    """A size of a cache, in the binary unit that its size is given in, rounded up to what holds it."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB")):
        if size >= unit:
            return f"{-(-size * 10 // unit) / 10:.1f} {name}"
    return f"{-(-size * 10 // 2**10) / 10:.1f} KiB"


def largest_part(item: WorkingSet) -> str:
    """The part of a working set that saves most, in words, and how many there are besides."""
    part = item.parts[0]
    count = f"{len(part.kernels)} x " if len(part.kernels) > 1 else ""
    named = f" ({part.tensors[0]})" if len(part.tensors) == 1 else ""
    rest = f", and {len(item.parts) - 1} more" if len(item.parts) > 1 else ""
    return f"{part.reuse.value} of {part.role}{named} by {count}{part.kernel}{rest}"


def served_word(share: float) -> str:
    """How much of a working set a cache holds."""
    if share >= 1:
        return "held"
    return percent(min(share, 0.999)) if share > 0 else "-"


def sets_table(explanation: Explanation, most: int = MOST_SETS) -> Table:
    """The working sets, the one that saves most first, and what each shared cache holds of them."""
    caches = tuple(explanation.served)
    result = explanation.result
    table = plain_table(title=f"working sets of {result.trace.name}, {result.fusion}, on {where(result)}")
    table.add_column("held from", justify="right", no_wrap=True)
    table.add_column("begins at", justify="right", no_wrap=True)
    table.add_column("saves", justify="right", no_wrap=True)
    for cache in caches:
        table.add_column(cache, justify="right", no_wrap=True)
    table.add_column("what", overflow="fold")
    for place, item in enumerate(explanation.sets[:most]):
        shares = [served_word(explanation.served[cache][place]) for cache in caches]
        table.add_row(
            capacity(item.held_bytes),
            capacity(item.begin_bytes),
            show_bytes(item.saved_bytes),
            *shares,
            largest_part(item),
        )
    return table


def sets_summary(explanation: Explanation, most: int = MOST_SETS) -> list[str]:
    """What the table does not show: smaller sets, and the two ends of the curve."""
    result, home = explanation.result, explanation.result.design.home.name
    rest = explanation.sets[most:]
    lines = []
    if rest:
        lines.append(f"{len(rest)} smaller working sets save {show_bytes(sum(item.saved_bytes for item in rest))}")
    saved = sum(item.saved_bytes for item in explanation.sets)
    least = result.bounds.compulsory_bytes
    here = f"{show_bytes(result.home_bytes)} on this design" + ("" if explanation.served else ", which has no cache")
    lines.append(
        f"{home} traffic: {show_bytes(least + saved)} behind a shared cache that holds none of them, "
        f"{show_bytes(least)} (compulsory) behind one that holds all; {here}"
    )
    return lines


def estimate_table(estimate: dict[str, Any], design: str, most: int = MOST_SETS) -> Table:
    """Predicted cycles beside those that the compiler expected, the longest kernels first."""
    table = plain_table(title=f"cycles predicted ({design}) against those that {estimate['compiler']} expected")
    for heading in ("kernel", "count", "expected", "predicted", "predicted ÷ expected"):
        table.add_column(heading, justify="left" if heading == "kernel" else "right", overflow="fold")
    rows = [*estimate["rows"][:most], {**estimate, "name": "all kernels with an expectation"}]
    for row in rows:
        expected, predicted = row["estimated_cycles"], row["predicted_cycles"]
        ratio = f"{predicted / expected:.2f}" if expected and predicted is not None else "-"
        shown = "-" if predicted is None else f"{predicted:,}"
        table.add_row(row["name"], f"{row['kernels']:,}", f"{expected:,}", shown, ratio)
    return table


def kernel_lines(facts: dict[str, Any]) -> list[str]:
    """One kernel in words: how it is cut, what bounds it, where its time went."""
    same = f", one of {facts['same_name']} of that name" if facts["same_name"] > 1 else ""
    title = f"kernel {facts['kernel']}: " if facts["kernel"] is not None else ""
    lines = [f"{title}{facts['name']}{same}, {show_ticks(facts['ticks'])}"]
    tile = facts["tile"]
    if tile:
        parts = f", inner dimension in {tile['split']} parts" if tile["split"] > 1 else ""
        kept = f", a panel of {show_bytes(tile['kept_bytes'])} stays in each core" if tile["kept_bytes"] else ""
        if tile["group_m"]:
            panels = f" in {tile['panels']:,} panels" if tile["panels"] > 1 else ""
            parts = f", {tile['group_m']:,} x {tile['group_n']:,} of the result at a time{panels}"
        lines.append(
            f"tile {tile['tile_m']} x {tile['tile_n']} x {tile['tile_k']}: {tile['blocks']:,} blocks in "
            f"{tile['waves']:,} waves of {tile['steps']:,} steps{parts}{kept}"
        )
    if facts["bound"]:
        behind = facts["behind_ticks"]
        after = f", and {show_ticks(behind)} or more of writing back behind its end" if behind else ""
        lines.append(f"busiest: {facts['bound']}, {percent(facts['bound_share'])} of the time{after}")
    for tier, point in facts["arithmetic_intensity"].items():
        ridge = facts["ridge_point"].get(tier)
        if point is not None and ridge is not None:
            side = "below" if point < ridge else "above"
            lines.append(f"{tier}: {point:,.1f} FLOP/B, {side} the ridge point of {ridge:,.1f}")
    if facts["window"]:
        slides = facts["window"]
        lines.append(
            f"slides in {slides['windows']:,} windows, halos {slides['halo']}: {show_bytes(slides['needs_bytes'])} of "
            f"{show_bytes(slides['room_bytes'])} in the cores"
        )
    if facts["regions"]:
        entered = facts["regions"]
        again = ", compiled again" if entered["recompiled"] else ""
        lines.append(f"the host enters a compiled region before it: {entered['guards']:,} guards{again}")
    waits: dict[str, int] = {}
    for row in facts["ledger"]:
        name = cause((row["entry"], row["tier"]))
        waits[name] = waits.get(name, 0) + row["ticks"]
    total = max(sum(waits.values()), 1)
    largest = sorted(waits.items(), key=lambda item: (-item[1], item[0]))
    if largest:
        lines.append("ledger: " + ", ".join(f"{percent(ticks / total)} {name}" for name, ticks in largest))
    return lines


def operators_table(facts: dict[str, Any]) -> Table:
    """The operators of a kernel in order."""
    table = plain_table(title="operators")
    for heading in ("operator", "module", "kind", "sizes", "matrix", "vector"):
        table.add_column(heading, justify="right" if heading in ("matrix", "vector") else "left", overflow="fold")
    for row in facts["operators"]:
        sizes = " ".join(f"{key}={value}" for key, value in row["dims"].items())
        flops = (show_flops(row["flops"]["matrix"]), show_flops(row["flops"]["vector"]))
        table.add_row(row["name"], row["module"], f"{row['kind']} {row['dtype']}", sizes, *flops)
    return table


def traffic_table(facts: dict[str, Any]) -> Table:
    """Bytes at each port, and how long the port serves them."""
    table = plain_table(title="traffic")
    for heading in ("tier", "read", "write"):
        table.add_column(heading, justify="left" if heading == "tier" else "right")
    for tier, ways in facts["traffic_bytes"].items():
        table.add_row(tier, show_bytes(ways["read"]), show_bytes(ways["write"]))
    return table


def pair_lines(answer: dict[str, Any]) -> list[str]:
    """Why two operators are apart, in words."""
    one, other = (_operator_words(item) for item in answer["pair"])
    where = f"under {answer['fusion']}"
    detail = f" ({answer['detail']})" if answer["detail"] else ""
    if answer["together"]:
        return [f"{one} and {other} share a kernel {where}{detail}"]
    return [
        f"{one} and {other} are in different kernels {where}",
        f"- {answer['reason']}: {answer['meaning']}{detail}",
        f"- to change it: {answer['remedy']}",
    ]


def _operator_words(item: dict[str, Any]) -> str:
    """An operator of a pair."""
    module = f" of {item['module']}" if item["module"] else ""
    return f"{item['operator']} {item['name']}{module}"
