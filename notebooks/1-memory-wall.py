# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The memory wall in ten minutes
#
# Where does the time of a large model go, what is it waiting for, and what would help? Every figure here is a replay of a
# captured model on a described chip; nothing needs a GPU.

# %%
import hiersim as hs

trace = hs.load_trace("llama3-8b-decode")
h100 = hs.load_design("h100-sxm")
eager = hs.simulate(trace, h100)
eager

# %% [markdown]
# This is one decode step of Llama-3-8B, launched kernel by kernel, as PyTorch does it. The bar gives each moment of the run
# one name. Hardly any of it is arithmetic. About half is launching: the host, which has to launch over a thousand small kernels,
# and what each of them sets up; most of the rest is HBM.

# %%
print(f"waiting {eager.stall_fraction:.0%}: launching {eager.share('dispatch'):.0%}, HBM {eager.share(tier='hbm'):.0%}")
sum_of_ledger = sum(row.ticks for row in eager.ledger if row.engine == "cores")
print(f"the ledger says {sum_of_ledger:,} ps, the run took {eager.makespan:,} ps")

# %% [markdown]
# A compiler puts many operators into one kernel. The trace carries the kernels that TorchInductor made of the same model.

# %%
compiled = hs.simulate(trace, h100, fusion="inductor")
both = hs.compare(trace, [h100])
fig, both_ax = both.plot_stalls()

# %% [markdown]
# The orange part, launching, is a quarter of what it was. The blue part is as long as before: the weights have to be read once
# per token, whoever launches the kernels. Most of what waited for launches now waits for HBM.

# %%
print(f"{eager.time / compiled.time:.2f} x as fast, {len(compiled.program)} launches instead of {len(eager.program)}")
print(f"bytes from HBM: {eager.home_bytes / 1e9:.2f} GB eager, {compiled.home_bytes / 1e9:.2f} GB compiled")

# %% [markdown]
# ## What to buy
#
# Twice of one thing, the rest as it is. Each row is a replay.

# %%
changes = {
    "2x FLOPS": {"compute.matrix.peak.bf16": "2x"},
    "2x HBM bandwidth": {"memory.hbm.bandwidth": "2x"},
    "4x L2": {"memory.l2.capacity": "4x"},
}
gains = {name: compiled.time / hs.simulate(trace, h100.replace(it), "inductor").time for name, it in changes.items()}
gains

# %% [markdown]
# Twice the arithmetic returns nothing, and neither does more L2: no weight is read twice, so that there is nothing to keep.
# Bandwidth is what the money should go to.
#
# ## The wall, year by year
#
# Five chips, from the P100 of 2016 to the B200 of 2024, that differ in their datasheets only. First, how many operations each
# could do in the time that one byte takes to come from memory.

# %%
years = [2016, 2017, 2020, 2022, 2024]
walls = [hs.load_design(f"memory-wall-{year}") for year in years]
balance = {year: wall.ridge_point for year, wall in zip(years, walls)}
for year, wall in zip(years, walls):
    print(f"{year}: {wall.title:24} {balance[year]:4.0f} FLOP per byte")

# %% [markdown]
# Arithmetic grew faster than bandwidth, most of all when matrix units came in 2017, until HBM3e kept pace in 2024. Here is what
# became of two models: one that reads a long prompt (prefill), and one that writes a word (decode).

# %%
models = ["gpt2-large-prefill", "llama3-8b-decode"]
wall = hs.sweep(models, walls, "inductor", workers=1).to_pandas()
wall["year"] = wall["design"].str[-4:].astype(int)
arithmetic = wall["flops.matrix"] + wall["flops.vector"]
wall["FLOP per byte"] = arithmetic / (wall["traffic_bytes.hbm.read"] + wall["traffic_bytes.hbm.write"])
waiting = wall.pivot(index="year", columns="trace", values="stall_fraction")
waiting_ax = waiting.plot(marker="o", ylim=(0, 1), ylabel="share of the time in which the cores wait")
waiting

# %% [markdown]
# Decode has waited most of the time since 2017: it does about one operation per byte. The prompt, which does hundreds,
# kept the P100 busy; matrix units made it wait, the large cache of the A100 less so, and the chips that followed more again.

# %%
speed = wall.pivot(index="year", columns="trace", values="time_s")
speedup = speed.loc[2016] / speed
speedup_ax = speedup.plot(marker="o", logy=True, ylabel="times as fast as in 2016")
speedup

# %% [markdown]
# The prompt became seventy times as fast in these eight years, the word not even ten times. That is the memory wall.
#
# Next: [how large should your SRAM be?](2-sram-sizing.ipynb)
