# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # How large should the SRAM be?
#
# You design a chip and may choose how much SRAM all cores share. More of it saves trips to HBM, up to a point, and silicon is
# dear. Where is the point, for a given model?
#
# A design is a file. Yours has to say only how it differs from one that exists.

# %%
from pathlib import Path

import hiersim as hs

print(Path("data/my-chip.yaml").read_text())
chip = hs.load_design("data/my-chip.yaml")
chip

# %% [markdown]
# ## One run first

# %%
trace = hs.load_trace("gpt2-large-prefill")
now = hs.simulate(trace, chip, "inductor")
again = now.home_bytes / now.bounds.compulsory_bytes
print(f"{now.time * 1e3:.1f} ms; HBM moves {again:.1f} times as many bytes as it would have to")

# %% [markdown]
# A long prompt of GPT-2-large. Bytes are read from HBM again because the L2 could not keep them: a larger one may help.
#
# ## The curve, and its knees
#
# `hs.knees` replays the model at many sizes. A knee is a size from which on doubling the L2 pays clearly less than before. What
# names it is the data that fits from there on; a dash says that nothing new fits as a whole.

# %%
curve = hs.knees(trace, chip, "inductor")
fig, curve_ax = curve.plot()
curve

# %% [markdown]
# The knee that saves most has number 1; beside it stands the data that fits from there on.

# %%
enough = curve.enough(0.9)
largest = curve.points[-1]
print(f"{enough.capacity / 2**20:.0f} MiB give nine tenths of what {largest.capacity / 2**20:.0f} MiB would")

# %% [markdown]
# ## More than one model
#
# A chip has to run them all. `hs.sweep` replays a grid of models and sizes; what comes back is a table.

# %%
models = ["gpt2-large-prefill", "llama3-8b-decode", "resnet50-infer", "bert-large-prefill"]
sizes = ["32 MiB", "64 MiB", "128 MiB", "256 MiB", "512 MiB"]
grid = hs.sweep(models, chip, "inductor", vary={"memory.l2.capacity": sizes}, workers=1)
times = grid.to_xarray()["time_s"]
saved = (100 * (1 - times / times.isel({"memory.l2.capacity": 0}))).to_pandas()
saved.columns = sizes
saved_ax = saved.T.plot(marker="o", xlabel="L2", ylabel="per cent of the time saved")
saved.round(1)

# %% [markdown]
# In per cent of the time with 32 MiB. Decoding (Llama) gains next to nothing at any size: it reads each weight once. The others
# gain, each up to a size of its own.
#
# ## What it costs
#
# Nobody sells SRAM by the gigabyte; its price follows from the silicon that it takes and from how much of it is good.

# %%
book = hs.load_prices()
price = hs.sram_price(book, "5nm", die_area=814)
per_mib = price.usd_per_gb * 2**20 / 1e9
print(f"{price.usd_per_gb:.0f} $/GB on a die of 814 mm2 in 5 nm, {per_mib:.2f} $ a MiB")

# %%
table = grid.select(trace="gpt2-large-prefill").to_pandas()
table["L2 in MiB"] = table["memory.l2.capacity"] / 2**20
table["ms"] = table["time_s"] * 1e3
table["$"] = table["memory_cost_usd.l2"]
table["mm2"] = table["silicon.sram_mm2"]
table[["L2 in MiB", "ms", "$", "mm2"]].round(1)

# %% [markdown]
# In dollars the SRAM is cheap beside a device of tens of thousands; in silicon it is not: half a gigabyte would take a third of
# the die. Results warn where SRAM takes more than there is.
#
# ## What to buy
#
# Is SRAM the right thing to buy at all? `hs.advise` asks of every part of the design how much faster the run gets with 1 % more
# of it.

# %%
wanted = chip.replace({"memory.l2.capacity": "128 MiB"})
before, after = hs.advise(trace, chip, "inductor"), hs.advise(trace, wanted, "inductor")
before

# %%
after

# %% [markdown]
# Faster SRAM would return more than larger SRAM. HBM comes second, and with 128 MiB it returns half of what it did with 32: what
# the SRAM keeps need not be fetched.
#
# Next: [why is this kernel waiting?](3-why-is-this-kernel-waiting.ipynb)
