# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Eager against compiled, on five chips
#
# A compiler puts many operators into one kernel. That saves two things: launches, and trips to memory between operators. Which
# of the two matters depends on the chip.

# %%
import hiersim as hs

chips = {"h100-sxm": "NVIDIA", "mi300x": "AMD", "tpu-v4": "Google", "dojo-d1": "Tesla", "m1-max": "Apple"}
designs = [hs.load_design(name) for name in chips]
for design in designs:
    print(f"{chips[design.name]:7} {design}")

# %% [markdown]
# Large caches, small ones, none at all: Dojo has only the SRAM of its cores in front of its memory.
#
# The kernels are the same on every chip: those that PyTorch launches, and those that TorchInductor makes of them for an NVIDIA
# GPU. Compilers of others would group a little otherwise; nobody runs a TPU or Dojo eagerly, and what a launch costs there is an
# assumption. So read this as: the same work, on five memory hierarchies.

# %%
models = ["gpt2-train", "llama3-8b-decode", "bert-large-prefill"]
grid = hs.sweep(models, designs, ["eager", "inductor"], workers=1)
table = grid.to_pandas().pivot(index="design", columns=["trace", "fusion"], values="time_s").loc[list(chips)]
(table * 1e3).round(2)

# %%
speedup = table.xs("eager", axis=1, level="fusion") / table.xs("inductor", axis=1, level="fusion")
bars = speedup.plot.bar(ylabel="times as fast as eager", rot=0)
speedup.round(2)

# %% [markdown]
# No chip gains the same. The H100 and the MI300X gain on decoding, where their fast memory waits for the host; the others,
# whose memory is slower, hardly do. All gain on training, the M1 least: it has long chains of small operators on large tensors.
# BERT is mostly matrix products, and its attention is one kernel already: little is left to gain.
#
# ## Where the gain comes from
#
# The ledger of each run says what the cores did and waited for. Here is what fusion took away of each, as a share of the eager
# time.

# %%
frame = grid.to_pandas().set_index(["fusion", "trace", "design"]).sort_index()
frame["host"] = frame["ledger.cores.dispatch"].astype(float)
frame["memory"] = frame["stall_fraction"] * frame["makespan_ticks"] - frame["host"]
frame["work"] = (1 - frame["stall_fraction"]) * frame["makespan_ticks"]
parts = frame[["host", "memory", "work"]]
saved = (parts.loc["eager"] - parts.loc["inductor"]).div(frame.loc["eager", "makespan_ticks"], axis=0)
colours = {"host": "#E69F00", "memory": "#0072B2", "work": "#999999"}
saved_ax = saved.loc["gpt2-train"].loc[list(chips)].plot.bar(stacked=True, rot=0, color=colours, title="saved by fusion")
(saved * 100).round(1)

# %% [markdown]
# *Memory* is bytes that no longer travel between kernels: in training, on every chip. *Work* is padding, which many small kernels
# leave more of than a few large ones; on the H100 it is as much as memory. *Host* is launches, and matters only where
# kernels are short: in decoding, on the two fast GPUs.
#
# ## One chip, closely

# %%
h100 = hs.compare(hs.load_trace("gpt2-train"), [designs[0]])
fig, roof = h100.plot_roofline()

# %% [markdown]
# Each kernel is a point: the further to the right, the more it computes per byte. Arrows lead from the eager run to the
# compiled one: fusion moves the run to the right.

# %%
intensity = [sum(run.program.flops) / run.home_bytes for run in h100]
print(f"FLOP per byte of HBM: {intensity[0]:.0f} eager, {intensity[1]:.0f} compiled")

# %% [markdown]
# Next: [decoding, the KV cache, and where the weights live](5-decode-and-the-kv-cache.ipynb)
