# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Decoding: the batch, the KV cache, and where the weights live
#
# A language model writes one token at a time, and reads all of its weights for it. Three things decide how fast: how many
# sequences share that reading (the batch), how much each has to look back at (the context), and whether it all fits.

# %%
import hiersim as hs

trace = hs.load_trace("llama3-8b-decode")
h100 = hs.load_design("h100-sxm")
step = hs.simulate(trace, h100, "inductor")
weights = sum(row.bytes for row in step.placement if row.role == "weight")
print(f"{step.time * 1e3:.1f} ms a token; {weights / 1e9:.1f} GB of weights, {step.home_bytes / 1e9:.1f} GB from HBM")

# %% [markdown]
# The step reads the weights once, but for the embedding table, of which it needs one row. A second sequence could use the same
# weights while they are there.
#
# ## Batch and context
#
# Both can be varied without a new capture.

# %%
batches, contexts = [1, 4, 16, 64], [1024, 4096, 16384]
grid = hs.sweep(trace, h100, "inductor", vary={"batch": batches, "context": contexts}, workers=1)
data = grid.to_xarray()
tokens = (data["batch"] / data["time_s"]).to_pandas()
tokens_ax = tokens.plot(loglog=True, marker="o", ylabel="tokens per second")
tokens.round(0)

# %% [markdown]
# With a short context, 16 sequences give 14 times the tokens of one. A KV cache is read by its own sequence only: with a long
# context the gain is smaller, and at 64 sequences the curve breaks down. There the caches have outgrown HBM.

# %%
spilled = data["peak_bytes.dram"] / 1e9
print("GB in the memory of the host:")
spilled.to_pandas().round(1)

# %% [markdown]
# What has no room goes to the host, and comes back over PCIe for every token, fifty times as slowly as from HBM.

# %%
broken = grid.select(batch=64, context=16384).rows[0]
worst = sum(row["ticks"] for row in broken["ledger"] if row["engine"] == "cores" and row["tier"] == "pcie")
worst_share = worst / broken["makespan_ticks"]
print(f"{broken['time_s']:.1f} s a step, {worst_share:.0%} of it waiting for PCIe")

# %% [markdown]
# ## Weights that do not fit
#
# Llama-3-70B has 141 GB of weights, in two bytes each. That is more than an H100 holds, and a little more than an H200 has room for.

# %%
large = hs.load_trace("llama3-70b-decode")
small = hs.variant(large, weights="fp8")
h200 = hs.load_design("h200-sxm")
runs = {
    "BF16 on H100": hs.simulate(large, h100, "inductor"),
    "BF16 on H200": hs.simulate(large, h200, "inductor"),
    "FP8 on H100": hs.simulate(small, h100, "inductor"),
    "FP8 on H200": hs.simulate(small, h200, "inductor"),
}

# %%
import pandas as pd

rows = [(name, row.tier, row.role, row.bytes / 1e9) for name, run in runs.items() for row in run.placement]
homes = pd.DataFrame(rows, columns=["run", "tier", "role", "GB"]).query("GB > 0.1")
homes.pivot_table(index="run", columns=["tier", "role"], values="GB", fill_value=0).round(1)

# %%
times = pd.Series({name: run.time * 1e3 for name, run in runs.items()}, name="ms a token")
times_ax = times.plot.bar(logy=True, ylabel="ms a token", rot=0)
times.round(1)

# %% [markdown]
# On the H100 nearly half of the weights live in the host's memory, and a token takes over a second. On the H200 only the
# embedding table stays outside, of which a token reads one row: it costs nothing. In one byte each (FP8) the weights fit either
# device; the H100 is nearly full then, and the H200 has room for the KV caches of many sequences.

# %%
free = {name: runs[name].design.home.capacity / 1e9 - runs[name].peak["hbm"] / 1e9 for name in runs}
{name: f"{space:.0f} GB free" for name, space in free.items()}

# %% [markdown]
# Next: [parts of your own](6-your-own-parts.ipynb)
