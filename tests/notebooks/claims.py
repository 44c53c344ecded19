"""What each notebook says, as assertions about the names that its cells leave and the data in its figures.

A notebook's text says "nearly all", "half", "none"; here is how much that has to be. Each function gets the names of the
notebook's kernel when its last cell has run, and is run there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Names = Mapping[str, Any]


def heights(ax: Any) -> list[float]:
    """Lengths of the bars of a figure."""
    return [max(patch.get_width(), patch.get_height()) for patch in ax.patches]


def series(ax: Any) -> dict[str, list[float]]:
    """Lines of a figure with a name: their values."""
    return {line.get_label(): list(line.get_ydata()) for line in ax.lines if not line.get_label().startswith("_")}


def memory_wall(n: Names) -> None:
    """1: the host, then HBM; bandwidth is what to buy; decode gained least from the chips of eight years."""
    eager, compiled, gains = n["eager"], n["compiled"], n["gains"]
    assert eager.stall_fraction > 0.95, "hardly any of it is arithmetic"
    assert 0.4 < eager.share("dispatch") < 0.6, "about half is the host"
    assert len(eager.program) > 1000
    assert eager.share("dispatch") + eager.share(tier="hbm") > 0.85, "most of the rest is HBM"
    assert n["sum_of_ledger"] == eager.makespan
    assert compiled.share("dispatch") < 0.15
    assert abs(eager.home_bytes / compiled.home_bytes - 1) < 0.01, "the bytes stay the same"
    assert compiled.share(tier="hbm") > 0.7
    bars = [container for container in n["both_ax"].containers if sum(bar.get_width() for bar in container)]
    drawn = [sum(container[place].get_width() for container in bars) for place in range(2)]
    assert abs(drawn[0] / drawn[1] - eager.time / compiled.time) < 0.01, "bars are as long as the runs"
    assert gains["2x HBM bandwidth"] > 1.5 > 1.02 > max(gains["2x FLOPS"], gains["4x L2"])
    years, balance = n["years"], n["balance"]
    assert all(balance[a] < balance[b] for a, b in zip(years[:3], years[1:4], strict=True))
    assert balance[2017] / balance[2016] > max(balance[b] / balance[a] for a, b in zip(years[1:], years[2:], strict=False))
    assert balance[2024] < balance[2022]
    wall, waiting, speedup = n["wall"], n["waiting"], n["speedup"]
    prompt, word = n["models"]
    assert (waiting.loc[2017:, word] > 0.9).all()
    assert list(waiting[prompt].loc[:2020]) == sorted(waiting[prompt].loc[:2020], reverse=True)
    assert list(waiting[prompt].loc[2020:]) == sorted(waiting[prompt].loc[2020:])
    intensity = wall.groupby("trace")["FLOP per byte"]
    assert 0.8 < intensity.min()[word] and intensity.max()[word] < 1.5
    assert intensity.min()[prompt] > 100
    assert speedup.loc[2024, prompt] > 100 and speedup.loc[2024, word] < 10
    assert series(n["waiting_ax"]) == {name: list(waiting[name]) for name in waiting}
    assert series(n["speedup_ax"]) == {name: list(speedup[name]) for name in speedup}


CLAIMS = {"1-memory-wall": memory_wall}
