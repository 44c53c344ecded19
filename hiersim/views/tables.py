"""Tables for terminals and notebooks, from results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from hiersim.lowering.host import region_ticks
from hiersim.model.operators import Kind
from hiersim.model.timeline import WORK, Entry
from hiersim.results import MAIN_ENGINE, Result
from hiersim.units import TICKS_PER_SECOND, Ticks, show_bytes, show_ticks

if TYPE_CHECKING:
    from rich.table import Table

WORK_NAMES = tuple(entry.name.lower() for entry in WORK)
NOTICED = 1.01
"""Memory that a run needs, in that of the first column: below, nothing is said."""
Row = tuple[str, tuple[str, ...]]


def plain_table(title: str | None = None) -> Table:
    """A table with a rule under its head and no other lines; the first line of the title never wraps."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    return Table(
        title=escape(title) if title else None,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        min_width=len((title or "").partition("\n")[0]),
    )


def shares(result: Result) -> dict[tuple[str, str | None], float]:
    """(entry, tier) → share of the makespan on the main engine, phases added up."""
    totals: dict[tuple[str, str | None], float] = {}
    for row in result.ledger:
        if row.engine == MAIN_ENGINE:
            key = (row.entry, row.tier)
            totals[key] = totals.get(key, 0.0) + row.ticks / max(result.makespan, 1)
    return totals


def percent(share: float) -> str:
    """A share with one decimal; a trace of something is not shown as nothing."""
    if 0 < share < 0.0005:
        return "<0.1 %"
    return f"{100 * share:.1f} %"


def dollars(amount: float | None) -> str:
    """A price, or a dash where it is unknown."""
    if amount is None:
        return "–"
    return f"{amount:,.0f} $" if amount >= 100 else f"{amount:.2f} $"


def stall_keys(results: Sequence[Result]) -> list[tuple[str, str | None]]:
    """Waiting entries of any of the results, largest first."""
    best: dict[tuple[str, str | None], float] = {}
    for result in results:
        for key, share in shares(result).items():
            if key[0] not in WORK_NAMES:
                best[key] = max(best.get(key, 0.0), share)
    return sorted(best, key=lambda key: (-best[key], key[0], key[1] or ""))


def cause(key: tuple[str, str | None]) -> str:
    """A waiting entry in words: `hbm bandwidth`, `launch and set-up`."""
    entry, tier = key
    name = "launch and set-up" if entry == "dispatch" else entry
    return f"{tier} {name}" if tier else name


_WRITTEN = {"nvme": "NVMe", "pcie": "PCIe", "nvlink": "NVLink", "registers": "registers"}
"""Names of places whose capitals are not all or none."""


def written(name: str) -> str:
    """A tier or link as prose writes it: HBM, L2, PCIe. Longer names are words of the design's author."""
    return _WRITTEN.get(name, name.upper() if len(name) <= 5 and name.isalnum() else name)


def written_cause(key: tuple[str, str | None]) -> str:
    """`cause` as prose writes it: `HBM bandwidth`."""
    return cause((key[0], written(key[1]) if key[1] else key[1]))


def comparison_rows(results: Sequence[Result]) -> list[Row]:
    """Label and one cell per result: what `compare` prints."""
    base = results[0]
    found = [shares(result) for result in results]

    def row(label: str, cells: Sequence[str]) -> Row:
        return label, tuple(cells)

    rows = [
        row("time", [show_ticks(result.makespan) for result in results]),
        *_band_rows(results),
        *(
            [row("speed-up", [f"{base.makespan / max(result.makespan, 1):.2f} x" for result in results])]
            if len(results) > 1
            else []
        ),
        row("kernels", [f"{len(result.program):,}" for result in results]),
        row("stalled", [percent(result.stall_fraction) for result in results]),
    ]
    for key in stall_keys(results):
        if max(share.get(key, 0.0) for share in found) >= 0.001:
            rows.append(row(f"  {cause(key)}", [percent(share.get(key, 0.0)) for share in found]))
    rows.append(row("working", [percent(1 - result.stall_fraction) for result in results]))
    for name in WORK_NAMES:
        rows.append(row(f"  {name}", [percent(share.get((name, None), 0.0)) for share in found]))
    rows.append(row("utilization", [percent(result.utilization["overall"]) for result in results]))
    rows.append(row("  matrix unit", [percent(result.utilization["matrix"]) for result in results]))
    rows.extend(_memory_rows(results))
    return rows


def _band_rows(results: Sequence[Result]) -> list[Row]:
    """The error band, where any run has one."""
    bands = [result.error_band for result in results]
    if not any(bands):
        return []
    return [("  error band", tuple(f"± {100 * band.relative:.0f} %" if band else "–" for band in bands))]


def band_lines(results: Sequence[Result]) -> list[str]:
    """What of the error bands is extrapolated, each reason once, and runs that a slow host would decide."""
    bands = [(result, band) for result in results if (band := result.error_band)]
    lines = [f"error band extrapolated: {text}" for _, band in bands for text in band.extrapolated]
    for (result, band), heading in zip(bands, headings([result for result, _ in bands]), strict=True):
        if band.host_s is not None and band.host_s > result.time:
            host, each = (
                show_ticks(round(seconds * TICKS_PER_SECOND))
                for seconds in (band.host_s, band.host_s / len(result.graph))
            )
            lines.append(
                f"{heading.replace(chr(10), ', ')}: launches alone would take {host}, {each} each, on hosts like "
                "those of the measured models, and decide the time"
            )
    return list(dict.fromkeys(lines))


def _memory_rows(results: Sequence[Result]) -> list[Row]:
    homes = {result.design.home.name for result in results}
    home = homes.pop() if len(homes) == 1 else "far memory"
    cost = [result.memory_cost for result in results]
    prices = [f"{dollars(entry['total'])}" for entry in cost]
    parts = [dollars(entry[result.design.home.name]) for entry, result in zip(cost, results, strict=True)]
    return [
        (f"{home} traffic", tuple(show_bytes(result.home_bytes) for result in results)),
        ("  at least", tuple(show_bytes(result.bounds.compulsory_bytes) for result in results)),
        (f"{home} occupied", tuple(show_bytes(result.peak[result.design.home.name]) for result in results)),
        *_rows_beside(results),
        ("memory cost", tuple(prices)),
        (f"  of it {home}", tuple(parts)),
        *_device_rows(results),
    ]


def _device_rows(results: Sequence[Result]) -> list[Row]:
    """What the devices cost and what their waiting does, where any has a price."""
    bills = [result.cost if result.design.device.price is not None else {} for result in results]
    if not any(bills):
        return []
    waiting = [bill.get("stalled_usd_per_hour") for bill in bills]
    return [
        ("device price", tuple(dollars(bill.get("capital_usd")) for bill in bills)),
        ("  waiting", tuple("–" if cost is None else f"{cost:.3f} $/h" for cost in waiting)),
    ]


def _beside(result: Result) -> list[str]:
    """Places other than the last tier of the device that tensors live in or pass on their way to it."""
    program = result.program
    pools = [program.tiers[index] for index in program.pool_tiers]
    return pools + list(program.tiers[program.home_tier :][1:])


def _rows_beside(results: Sequence[Result]) -> list[Row]:
    """What pools beside the last tier, and the places behind the device, moved and hold, where any run used them."""
    moved = [result.traffic for result in results]
    names = {place.name: None for result in results for place in result.design.places}
    tiers = {tier.name for result in results for tier in result.design.homes}
    rows: list[Row] = []
    for name in names:
        if any(name in _beside(result) for result in results):
            bytes_moved = [sum(traffic.get(name, {}).values()) for traffic in moved]
            rows.append((f"{name} traffic", tuple(show_bytes(size) for size in bytes_moved)))
            if name in tiers:
                rows.append((f"{name} occupied", tuple(show_bytes(result.peak.get(name, 0)) for result in results)))
    return rows


def pattern_rows(results: Sequence[Result]) -> list[Row]:
    """Share of each tier's bandwidth that was taken as achievable: in order, and at worst."""
    found = [result.bandwidth_share for result in results]
    rows: list[Row] = []
    for tier in dict.fromkeys(name for shares in found for name in shares):
        for label, key in ((f"{tier} bandwidth used in order", "streaming"), ("  at worst", "worst")):
            cells = tuple(percent(shares[tier][key]) if tier in shares else "–" for shares in found)
            rows.append((label, cells))
    return rows


def pattern_table(results: Sequence[Result]) -> Table:
    """`pattern_rows` with a column per result."""
    table = plain_table(title="share of the bandwidth by access pattern")
    for heading in ("", *headings(results)):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for label, cells in pattern_rows(results):
        table.add_row(f"[dim]{label}[/]" if label.startswith(" ") else f"[bold]{label}[/]", *cells)
    return table


def where(result: Result) -> str:
    """The design of a result with what was changed in it."""
    changes = ", ".join(f"{path}={value}" for path, value in result.changes.items())
    return result.design.title + (f" with {changes}" if changes else "")


def headings(results: Sequence[Result]) -> list[str]:
    """What tells the columns of a comparison apart: design, policy, changes."""
    several = len({result.design.name for result in results}) > 1
    changed = len({tuple(result.changes.items()) for result in results}) > 1
    names = []
    for result in results:
        parts = [result.design.name] if several else []
        parts.append(result.fusion)
        if changed:
            parts.append("changed" if result.changes else "as it is")
        names.append("\n".join(parts))
    return names


def comparisons(results: Sequence[Result], width: int) -> Iterator[Table]:
    """The tables of `compare`, as many columns in each as fit `width`; the first result is the baseline of all."""
    rows, heads = comparison_rows(results), headings(results)
    last = max(results, key=lambda result: len(result.changes))
    one = len({result.design.name for result in results}) == 1
    header = results[0].trace.header
    title = f"{header.name}" + (f" on {where(last)}" if one else "")
    title += ", graph replay" if last.launch == "graph" else ""
    title += f"\n{header.workload}" if header.workload else ""
    label = max(len(name) for name, _ in rows)
    columns = [
        max(len(text) for text in (*heads[i].split("\n"), *(cells[i] for _, cells in rows))) for i in range(len(heads))
    ]
    start = 0
    while start < len(results):
        end, used = start + 1, label + columns[start] + 4
        while end < len(results) and used + columns[end] + 2 <= width:
            used += columns[end] + 2
            end += 1
        table = plain_table(title=title)
        table.add_column("", no_wrap=True)
        for head in heads[start:end]:
            table.add_column(head, justify="right", no_wrap=True)
        for name, cells in rows:
            table.add_row(f"[dim]{name}[/]" if name.startswith(" ") else f"[bold]{name}[/]", *cells[start:end])
        yield table
        start = end


def identity(result: Result) -> str:
    """The ledger as the sum that it is: its entries add up to the makespan, tick for tick."""
    totals: dict[tuple[str, str | None], int] = {}
    for row in result.ledger:
        if row.engine == MAIN_ENGINE:
            key = (row.entry, row.tier)
            totals[key] = totals.get(key, 0) + row.ticks
    names = {entry.name.lower(): int(entry) for entry in Entry}
    ordered = sorted(totals.items(), key=lambda item: (names[item[0][0]], item[0][1] or ""))
    terms = " + ".join(f"{ticks:,} {cause(key)}" for key, ticks in ordered)
    return f"{terms} = {result.makespan:,} ps"


def closing(result: Result) -> str:
    """`identity` with the entries of each tier, and of all work, added up."""
    totals: dict[str, int] = {}
    for row in result.ledger:
        if row.engine == MAIN_ENGINE:
            name = "working" if row.entry in WORK_NAMES else row.tier or cause((row.entry, None))
            totals[name] = totals.get(name, 0) + row.ticks
    return f"{' + '.join(f'{ticks:,} {name}' for name, ticks in totals.items())} = {result.makespan:,} ps"


def summary(result: Result) -> str:
    """One sentence about where the time went; every number in it is in the ledger."""
    found = shares(result)
    waits = {key: share for key, share in found.items() if key[0] not in WORK_NAMES}
    largest = sorted(waits.items(), key=lambda item: (-item[1], item[0][0], item[0][1] or ""))[:3]
    parts = ", ".join(f"{percent(share)} {cause(key)}" for key, share in largest)
    return (
        f"{result.trace.name} on {result.design.name}, {result.fusion}: {show_ticks(result.makespan)}; the cores wait "
        f"{percent(result.stall_fraction)} of the time" + (f" ({parts})" if parts else "")
    )


def waiting_for(result: Result, tier: str) -> float:
    """Share of the makespan in which the cores wait for `tier`, whatever the cause."""
    return sum(share for (entry, blamed), share in shares(result).items() if blamed == tier and entry not in WORK_NAMES)


def tier_summary(results: Sequence[Result]) -> list[str]:
    """How much of each run waits for its far memory and what changes against the first."""
    base = results[0]
    lines = []
    pairs = list(zip(results, headings(results), strict=True))
    for result, heading in pairs:
        home = result.design.home.name
        line = f"{heading.replace(chr(10), ', ')}: {percent(waiting_for(result, home))} of the time waits for {home}"
        if result is not base:
            saved = base.home_bytes - result.home_bytes
            line += f"; {base.makespan / max(result.makespan, 1):.2f} x the speed of the first column"
            line += f", {show_bytes(abs(saved))} {'less' if saved >= 0 else 'more'} {home} traffic"
        lines.append(line + copies_words(base, result) + peak_words(base, result))
    unsold = [
        result.design.name for result in results if result.design.device.price is None
        and any(other.design.device.price is not None for other in results)
    ]  # fmt: skip
    if unsold:
        names = " and ".join(dict.fromkeys(unsold))
        lines.append(f"{names}: no device is sold with these values at a known price; `device.price` gives one")
    return lines + [line for result, heading in pairs for line in region_words(result, heading)]


def copies_words(base: Result, result: Result) -> str:
    """Why a compiled run of the same trace launches more kernels: copies, mostly of layouts, that eager mode lacks."""
    more = len(result.graph) - len(base.graph)
    if more <= 0 or result.trace.name != base.trace.name or result.fusion == base.fusion:
        return ""
    copies = _copies(result) - _copies(base)
    return f", {more} more kernels" + (f" with {copies} more copies among them" if copies > 0 else "")


def _copies(result: Result) -> int:
    """Kernels that do nothing but copy."""
    graph = result.graph
    copying = np.concatenate(([0], np.cumsum(graph.operators.kind == Kind.COPY)))[graph.operator_ptr]
    return int((np.diff(copying) == np.diff(graph.operator_ptr)).sum())


def peak_words(base: Result, result: Result) -> str:
    """What fusion does to the memory that a model needs, where it needs more of the last tier than the baseline."""
    home = result.design.home.name
    if result.design is not base.design or result.peak[home] <= NOTICED * base.peak[home]:
        return ""
    more = result.peak[home] - base.peak[home]
    return f"; it needs {show_bytes(more)} more of {home} than the first column ({show_bytes(result.peak[home])})"


def region_words(result: Result, heading: str) -> list[str]:
    """What entering compiled regions costs the host; nothing where a run enters none."""
    entries = result.graph.entries
    if entries is None:
        return []
    ticks = region_ticks(result.graph, result.design)
    counts = {"region_entry": entries.calls, "guard": entries.guards, "recompile": entries.recompiled}
    words = {"region_entry": "entries", "guard": "guards", "recompile": "recompilations"}
    ticks["recompile"] += ticks.pop("recompile_operator")
    parts = [
        f"{int(counts[key].sum()):,} {words[key]} {show_ticks(Ticks(time))}" for key, time in ticks.items() if time
    ]
    name = heading.replace(chr(10), ", ")
    return [f"{name}: compiled regions take {show_ticks(Ticks(sum(ticks.values())))} of the host: {', '.join(parts)}"]


def conclusion(results: Sequence[Result]) -> str:
    """A comparison of two runs in one sentence; every number in it is in the table."""
    first, second = results[0], results[-1]
    name = second.fusion.split()[0]
    return (
        f"{first.trace.name} on {first.design.name}: {first.fusion} waits {percent(first.stall_fraction)} of its "
        f"{show_ticks(first.makespan)} ({largest_wait(first)}); {name} is {first.makespan / second.makespan:.2f} x as "
        f"fast and waits {percent(second.stall_fraction)} ({largest_wait(second)})"
    )


def largest_wait(result: Result) -> str:
    """The largest waiting entry: `39.1 % hbm bandwidth`."""
    waits = {key: share for key, share in shares(result).items() if key[0] not in WORK_NAMES}
    key = max(waits, key=lambda item: (waits[item], item[0], item[1] or ""), default=("dispatch", None))
    return f"{percent(waits.get(key, 0.0))} {cause(key)}"


def markdown(results: Sequence[Result]) -> str:
    """The comparison as a Markdown table."""
    heads = [heading.replace("\n", ", ") for heading in headings(results)]
    lines = ["| | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(heads)]
    for label, cells in comparison_rows(results):
        shown = label if not label.startswith(" ") else f"&nbsp;&nbsp;{label.strip()}"
        lines.append(f"| {shown} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def kernel_table(result: Result, most: int = 15) -> Table:
    """The kernels that take longest, with the main engine's ledger of each."""
    rows = sorted(result.kernel_rows, key=lambda row: (row["start_ticks"] - row["end_ticks"], row["kernel"]))[:most]
    table = plain_table(title=f"longest kernels: {result.design.name}, {result.fusion}")
    for heading in ("kernel", "module", "time", "working", "dispatch", "bandwidth", "latency", "other waiting"):
        table.add_column(heading, justify="left" if heading in ("kernel", "module") else "right", overflow="fold")
    for row in rows:
        time = row["end_ticks"] - row["start_ticks"]
        table.add_row(row["name"], row["module"], *_ticks(row, time))
    return table


def module_table(result: Result, most: int = 15) -> Table:
    """The parts of all layers together that account for most of the makespan, by the main engine's ledger."""
    rows = [(sum(v for k, v in row.items() if k.endswith("_ticks")), row) for row in result.module_rows(1, True)]
    rows = sorted(rows, key=lambda item: (-item[0], item[1]["module"]))[:most]
    table = plain_table(title=f"by module: {result.design.name}, {result.fusion}")
    for heading in ("module", "kernels", "time", "working", "dispatch", "bandwidth", "latency", "other waiting"):
        table.add_column(heading, justify="left" if heading == "module" else "right", overflow="fold")
    for time, row in rows:
        table.add_row(row["module"] or "(root)", str(row["kernels"]), *_ticks(row, time))
    return table


def _ticks(row: Mapping[str, int], time: int) -> tuple[str, ...]:
    work = sum(row[f"{name}_ticks"] for name in WORK_NAMES)
    other = row["dependency_ticks"] + row["capacity_ticks"] + row["contention_ticks"]
    cells = (time, work, row["dispatch_ticks"], row["bandwidth_ticks"], row["latency_ticks"], other)
    return tuple(show_ticks(ticks) for ticks in cells)
