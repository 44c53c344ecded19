# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Why is this kernel waiting?
#
# You have a profile of a model on a GPU and want to know what the kernels wait for. The profiler says how long each took; the
# replay says why.
#
# The two profiles here were recorded with `torch.profiler` on an H200, of six transformer blocks: one short sequence, and 32
# long ones ([how](data/README.md)).

# %%
import hiersim as hs

h200 = hs.load_design("h200-sxm")
short = hs.import_kineto("data/encoder-b1.json.gz")
long = hs.import_kineto("data/encoder-b32.json.gz")
short

# %% [markdown]
# A profile becomes a trace: one operator for each that launched something, with its shapes, and the measured times beside it.
#
# ## First, is the GPU waiting at all?

# %%
runs = {"1 x 128": hs.simulate(short, h200), "32 x 512": hs.simulate(long, h200)}
for name, run in runs.items():
    idle = run.measured["idle_share"]
    print(f"{name}: measured idle {idle:.0%}, predicted to wait for the host {run.share('dispatch'):.0%}")

# %% [markdown]
# With one short sequence the GPU has nothing to do for most of the time: the host is too slow to launch kernels that short. The
# host that recorded this is slower still than the one that the design assumes. What would its launches have to cost to
# give the measured span?

# %%
span = runs["1 x 128"].measured["span_s"]
per_kernel = span / len(runs["1 x 128"].program)
slow = h200.replace(
    {"host.launch_eager": f"{per_kernel * 1e6:.0f} us", "host.library_call": "0 us", "host.launch_view": "0 us"}
)
fitted = hs.simulate(short, slow)
print(f"{per_kernel * 1e6:.0f} us a kernel; {fitted.time * 1e3:.2f} ms predicted, {span * 1e3:.2f} ms measured")
print(f"waits for the host: {fitted.share('dispatch'):.0%}, measured idle {fitted.measured['idle_share']:.0%}")

# %% [markdown]
# With the launch cost of *that* machine the idle time fits. It is the one number of a design that is worth measuring on
# your own host.
#
# ## Kernel by kernel
#
# The long sequences keep the GPU busy. Here is the time of each sort of operator, predicted beside measured.

# %%
import pandas as pd

busy = runs["32 x 512"]
table = pd.DataFrame(busy.measured["rows"]).set_index("operator")
table["measured ms"] = table["measured_ticks"] / 1e9
table["predicted ms"] = table["predicted_ticks"] / 1e9
table["predicted ÷ measured"] = table["predicted_ticks"] / table["measured_ticks"]
bars = table[["measured ms", "predicted ms"]].plot.barh()
table[["operators", "measured ms", "predicted ms", "predicted ÷ measured"]].round(2)

# %% [markdown]
# Matrix products (`addmm`) take most of the time and are predicted best. The replay is never slower than the device here: it
# knows what the memories and units allow, and nothing of what a given library leaves unused. Attention and additions are
# furthest off: the kernels that ran need nearly twice what the H200's units and memories would allow. That is a finding, too.
#
# ## What each waits for

# %%
ticks = busy.kernels.groupby("name").sum(numeric_only=True).filter(like="_ticks")
ticks = ticks.drop(columns=["start_ticks", "end_ticks"])
shares = ticks.div(ticks.sum(axis=1), axis=0)
shares = shares.loc[:, shares.max() > 0.05]
(shares * 100).round(0)

# %% [markdown]
# Products spend most of their time on useful arithmetic, attention half. Additions and layer norm have hardly any to do: they
# wait for bandwidth. GELU moves as many bytes as an addition, but its function (*useful*) and the code around it (*padding*)
# take about half of that time, so that less of the wait shows.

# %% [markdown]
# ## One kernel, closely

# %%
gelu = hs.explain(busy, "aten::gelu").to_dict()["kernel"]
print(f"{gelu['ticks'] / 1e6:.0f} us, bound by {gelu['bound']}")
print({tier: f"{moved['read'] / 1e6:.0f} MB read" for tier, moved in gelu["traffic_bytes"].items()})

# %% [markdown]
# A hundred megabytes in and out: whatever its function costs, GELU cannot be faster than the HBM. It would not have to read
# them at all if it ran in the kernel of the product before it.

# %%
fused = hs.simulate(long, h200, "epilogue")
print(f"{busy.time * 1e3:.2f} ms as it ran, {fused.time * 1e3:.2f} ms with fused epilogues")
print(f"HBM traffic {busy.home_bytes / 1e9:.1f} GB, {fused.home_bytes / 1e9:.1f} GB")

# %% [markdown]
# Next: [eager against compiled on five chips](4-eager-and-compiled.ipynb)
