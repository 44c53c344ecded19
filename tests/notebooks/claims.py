"""What each notebook says, as assertions about the names that its cells leave and the data in its figures.

A notebook's text says "nearly all", "half", "none"; here is how much that has to be. Each function gets the names of the
notebook's kernel when its last cell has run, and is run there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Names = Mapping[str, Any]


def series(ax: Any) -> dict[str, list[float]]:
    """Lines of a figure with a name: their values."""
    return {line.get_label(): list(line.get_ydata()) for line in ax.lines if not line.get_label().startswith("_")}


def memory_wall(n: Names) -> None:
    """1: launches, then HBM; bandwidth is what to buy; decode gained least from the chips of eight years."""
    eager, compiled, gains = n["eager"], n["compiled"], n["gains"]
    assert eager.stall_fraction > 0.9, "hardly any of it is arithmetic"
    assert 0.4 < eager.share("dispatch") < 0.6, "about half is launching"
    assert len(eager.program) > 1000
    assert eager.share("dispatch") + eager.share(tier="hbm") > 0.85, "most of the rest is HBM"
    assert n["sum_of_ledger"] == eager.makespan
    assert 0.2 < compiled.share("dispatch") * compiled.time / (eager.share("dispatch") * eager.time) < 0.3, "a quarter"
    assert abs(eager.home_bytes / compiled.home_bytes - 1) < 0.01, "the bytes stay the same"
    assert compiled.share(tier="hbm") > 0.6
    bars = [container for container in n["both_ax"].containers if sum(bar.get_width() for bar in container)]
    drawn = [sum(container[place].get_width() for container in bars) for place in range(2)]
    assert abs(drawn[0] / drawn[1] - eager.time / compiled.time) < 0.01, "bars are as long as the runs"
    assert gains["2x HBM bandwidth"] > 1.5 > 1.02 > max(gains["2x FLOPS"], gains["4x L2"])
    years, balance = n["years"], n["balance"]
    assert all(balance[a] < balance[b] for a, b in zip(years[:3], years[1:4], strict=True))
    assert balance[2017] / balance[2016] > max(
        balance[b] / balance[a] for a, b in zip(years[1:], years[2:], strict=False)
    )
    assert balance[2024] < balance[2022]
    wall, waiting, speedup = n["wall"], n["waiting"], n["speedup"]
    prompt, word = n["models"]
    assert (waiting.loc[2017:, word] > 0.8).all()
    assert waiting.loc[2016, prompt] < 0.1 < 0.2 < waiting.loc[2017, prompt] > waiting.loc[2020, prompt]
    assert list(waiting[prompt].loc[2020:]) == sorted(waiting[prompt].loc[2020:])
    intensity = wall.groupby("trace")["FLOP per byte"]
    assert 0.8 < intensity.min()[word] and intensity.max()[word] < 1.5
    assert intensity.min()[prompt] > 100
    assert 68 < speedup.loc[2024, prompt] < 77 and speedup.loc[2024, word] < 10
    assert series(n["waiting_ax"]) == {name: list(waiting[name]) for name in waiting}
    assert series(n["speedup_ax"]) == {name: list(speedup[name]) for name in speedup}


def sram_sizing(n: Names) -> None:
    """2: knees with names, decoding gains nothing, SRAM is cheap in dollars and dear in area."""
    chip, curve, now = n["chip"], n["curve"], n["now"]
    assert (chip.name, chip.tier("l2").capacity) == ("my-chip", 32 * 2**20)
    assert now.home_bytes > 2 * now.bounds.compulsory_bytes
    best = curve.knees[0]
    assert best.held
    assert all(knee.after < knee.before for knee in curve.knees)
    assert [bool(knee.held) for knee in curve.knees].count(False) <= 1
    assert best.saved == max(knee.saved for knee in curve.knees)
    (drawn,) = [line for line in n["curve_ax"].lines if len(line.get_xdata()) > 2]
    assert list(drawn.get_ydata()) == [point.ticks for point in curve.points]
    labels = series(n["curve_ax"])
    assert sum(label[0].isdigit() for label in labels) == len(curve.knees)
    assert 2**20 * 64 < n["enough"].capacity < n["largest"].capacity / 2
    saved = n["saved"]
    assert (saved.loc["llama3-8b-decode"] < 2).all()
    others = saved.drop("llama3-8b-decode")
    assert (others.iloc[:, -1] > 7).all()
    assert all(row.is_monotonic_increasing for _, row in others.iterrows())
    assert series(n["saved_ax"]) == {name: list(row) for name, row in saved.iterrows()}
    table = n["table"]
    assert abs(table["$"].iloc[0] - 32 * n["per_mib"]) < 0.1
    assert 0.3 < table["mm2"].iloc[-1] / 814 < 0.37, "a third of the die"
    assert table["$"].iloc[-1] < 200 and n["now"].cost["capital_usd"] is not None
    before, after = n["before"], n["after"]
    sram, hbm = "memory.l2.bandwidth", "memory.hbm.bandwidth"
    assert [row.resource.path for row in before.rows[:2]] == [sram, hbm]
    assert before["memory.l2.capacity"].speed < before[sram].speed
    assert 0.4 < after[hbm].speed / before[hbm].speed < 0.6


def waiting_kernels(n: Names) -> None:
    """3: the host of the recording is slow; products are predicted best, attention and sums worst; GELU is bound by HBM."""
    short, long = n["runs"].values()
    assert short.measured["device"] == "NVIDIA H200"
    assert short.measured["idle_share"] > 0.85 > short.share("dispatch") > 0.6
    assert long.measured["idle_share"] < 0.1 and long.share("dispatch") < 0.1
    fitted = n["fitted"]
    assert abs(fitted.time / n["span"] - 1) < 0.05
    assert abs(fitted.share("dispatch") - fitted.measured["idle_share"]) < 0.1
    table = n["table"]
    ratio = table["predicted ÷ measured"]
    assert table["measured ms"].idxmax() == ratio.idxmax() == "aten::addmm"
    furthest = ratio.nsmallest(2)
    assert ratio.max() < 1 and set(furthest.index) == {"aten::_scaled_dot_product_flash_attention", "aten::add"}
    assert ((furthest > 0.5) & (furthest < 0.62)).all(), "nearly twice"
    assert 0.85 < ratio["aten::addmm"]
    assert len(n["bars"].patches) == 2 * len(table)
    widths = [patch.get_width() for patch in n["bars"].patches]
    assert widths == [*table["measured ms"], *table["predicted ms"]]
    shares = n["shares"]
    assert shares.loc["aten::addmm", "useful_ticks"] > 0.6
    assert 0.4 < shares.loc["aten::_scaled_dot_product_flash_attention", "useful_ticks"] < 0.6
    assert (shares.loc[["aten::add", "aten::native_layer_norm"], "useful_ticks"] < 0.1).all()
    assert 0.1 < shares.loc["aten::gelu", "useful_ticks"] < 0.4
    assert (shares.loc[["aten::add", "aten::native_layer_norm"], "bandwidth_ticks"] > 0.5).all()
    gelu = shares.loc["aten::gelu"]
    assert gelu["padding_ticks"] > 0.15, "library code around the special function"
    assert 0.4 < gelu["useful_ticks"] + gelu["padding_ticks"] < 0.65
    assert gelu["bandwidth_ticks"] < shares.loc["aten::add", "bandwidth_ticks"]
    assert n["gelu"]["bound"] == "hbm" and 0.9e8 < n["gelu"]["traffic_bytes"]["hbm"]["read"] < 1.1e8
    assert n["fused"].time < n["busy"].time and n["fused"].home_bytes < n["busy"].home_bytes


def eager_and_compiled(n: Names) -> None:
    """4: who gains, on what, and which part of the time went away."""
    speedup, saved, chips = n["speedup"], n["saved"], list(n["chips"])
    gpus, others = ["h100-sxm", "mi300x"], ["tpu-v4", "dojo-d1", "m1-max"]
    decode = speedup["llama3-8b-decode"]
    assert (decode[gpus] > 1.7).all() and (decode[others] < 1.15).all()
    training = speedup["gpt2-train"]
    assert (training.drop("m1-max") > 1.3).all() and training["m1-max"] == training.min()
    assert (speedup["bert-large-prefill"] < 1.08).all()
    assert list(speedup.index) == chips
    drawn = [[bar.get_height() for bar in container] for container in n["bars"].containers]
    assert drawn == [list(speedup[model]) for model in speedup]
    total = saved.sum(axis=1)
    for (model, chip), share in total.items():
        assert abs(share - (1 - 1 / speedup.loc[chip, model])) < 1e-9, "what was saved is the speed-up"
    assert (saved.loc["gpt2-train"]["memory"] > saved.loc["gpt2-train"]["host"] + 0.05).all()
    h100 = saved.loc[("gpt2-train", "h100-sxm")]
    assert abs(h100["work"] - h100["memory"]) < 0.05
    eager, compiled = n["h100"]
    padding = eager.share("padding") - compiled.share("padding") * compiled.time / eager.time
    assert padding > 0.9 * h100["work"], "work is mostly padding"
    assert (saved.loc["llama3-8b-decode"]["host"][gpus] > 0.3).all()
    assert (saved.drop("llama3-8b-decode", level="trace")["host"] < 0.03).all()
    shown = saved.loc["gpt2-train"].loc[chips]
    drawn = [[bar.get_height() for bar in container] for container in n["saved_ax"].containers]
    pairs = zip((height for bars in drawn for height in bars), shown.to_numpy().T.ravel(), strict=True)
    assert all(abs(height - share) < 1e-9 for height, share in pairs)
    assert n["intensity"][1] > 2 * n["intensity"][0], "fusion moves the run to the right"


def decoding(n: Names) -> None:
    """5: a batch shares the weights and not the caches; what does not fit waits for PCIe."""
    step, tokens, spilled = n["step"], n["tokens"], n["spilled"].to_pandas()
    table = next(row.bytes for row in n["runs"]["BF16 on H200"].placement if row.tier == "dram")
    assert 0.9 < step.home_bytes / n["weights"] < 1, "all but the embedding table"
    assert 13.5 < tokens.loc[16, 1024] / tokens.loc[1, 1024] < 15
    assert tokens.loc[16, 16384] / tokens.loc[1, 16384] < 8
    assert tokens.loc[64, 16384] < tokens.loc[1, 16384], "the curve breaks down"
    assert (spilled > 0).sum().sum() == 1 and spilled.loc[64, 16384] > 50
    assert series(n["tokens_ax"]) == {str(context): list(tokens[context]) for context in tokens}
    assert n["worst_share"] > 0.9
    links = {link.name: link for link in n["h100"].links}
    slower = n["h100"].home.bandwidth / links["pcie"].read_bandwidth
    assert 45 < slower < 60, "fifty times as slowly"
    runs, times = n["runs"], n["times"]
    homes = n["homes"].set_index(["run", "tier", "role"])["GB"]
    assert 0.4 < homes["BF16 on H100", "dram", "weight"] / 141.1 < 0.5 and times["BF16 on H100"] > 1000
    assert 2.0 < table / 1e9 < 2.2 and runs["BF16 on H200"].share(tier="pcie") < 0.001
    assert not any((name, "dram", "weight") in homes.index for name in ("FP8 on H100", "FP8 on H200"))
    assert 0 < n["free"]["FP8 on H100"] < 10 and n["free"]["FP8 on H200"] > 60
    assert [bar.get_height() for bar in n["times_ax"].patches] == list(times)


def own_parts(n: Names) -> None:
    """6: the stack takes over from HBM; a few lines are a policy; contracts hold and are told when they do not."""
    assert [tier.name for tier in n["stacked"].shared_tiers] == ["l2", "stack", "hbm"]
    assert n["taller"].home_bytes < 0.1 * n["plain"].home_bytes and n["taller"].time < n["plain"].time
    eager, mine, pointwise, compiled = n["mine"]
    assert mine.fusion == "runs" and mine.makespan == pointwise.makespan < eager.makespan
    assert abs(mine.time / compiled.time - 1) < 0.05
    assert "wait for each other" in n["refusal"]
    assert len(n["mlp"].graph.operators) == 2
    assert len(n["kept"]) >= 2 and len(n["promises"]) == 4


CLAIMS = {
    "1-memory-wall": memory_wall,
    "2-sram-sizing": sram_sizing,
    "3-why-is-this-kernel-waiting": waiting_kernels,
    "4-eager-and-compiled": eager_and_compiled,
    "5-decode-and-the-kv-cache": decoding,
    "6-your-own-parts": own_parts,
}
