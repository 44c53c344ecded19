# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Parts of your own: a tier, a fusion policy, an importer
#
# What comes with hiersim came in by the same doors that are open to you. Here are three of them, and the tests that tell you
# whether your part keeps the promises that the others rely on.
#
# ## A tier is data
#
# No code is needed for a memory that does not exist yet. It has a name, a place among its neighbours, and numbers. This one
# is SRAM stacked on the die of an H100, between L2 and HBM.

# %%
from pathlib import Path

import hiersim as hs

print(Path("data/stacked.yaml").read_text())
stacked = hs.load_design("data/stacked.yaml")
stacked

# %%
trace = hs.load_trace("gpt2-large-prefill")
plain = hs.simulate(trace, hs.load_design("h100-sxm"))
taller = hs.simulate(trace, stacked)
print(f"{plain.time * 1e3:.1f} ms, with the stack {taller.time * 1e3:.1f} ms")
{tier: f"{(way['read'] + way['write']) / 1e9:.1f} GB" for tier, way in taller.traffic.items()}

# %% [markdown]
# Nearly all bytes that came from HBM come from the stack now. Whether that is worth its price is a question for
# [notebook 2](2-sram-sizing.ipynb).
#
# ## A fusion policy is a function
#
# It takes a trace and a design, and says which operators share a kernel: `hs.group` wants one label per operator. This policy
# joins element-wise operators that follow each other, and nothing else.

# %%
import numpy as np


def runs(trace, design):
    """Neighbouring element-wise operators in one kernel."""
    alone = ~np.isin(trace.graph.operators.kind, [hs.Kind.POINTWISE, hs.Kind.VIEW])
    starts = alone | np.append(True, alone[:-1])
    return hs.group(trace, np.cumsum(starts), "runs")

# %%
mine = hs.compare(trace, [hs.load_design("h100-sxm")], ["eager", runs, "pointwise", "inductor"])
for run in mine:
    print(f"{run.fusion:20} {len(run.program):5} kernels  {run.time * 1e3:5.1f} ms")

# %% [markdown]
# On this model, these few lines do what the policy `pointwise` does, and about as well as TorchInductor. Do they hold on any
# trace? A policy may not lose arithmetic, read a result before it is made, or ask for more bytes than before. The contract
# suite tries it on random traces: here on 20, in the tests of hiersim on more.

# %%
from hypothesis import settings

settings.register_profile("short", max_examples=40)
settings.load_profile("short")

# %%
from hiersim.testing.contracts import ImporterContract, PolicyContract, keep


class TestRuns(PolicyContract):
    policy = staticmethod(runs)


kept = keep(TestRuns)
kept

# %% [markdown]
# A policy that breaks a promise is told so. This one puts every other operator into the first kernel, which would have to wait
# for kernels that wait for it.


# %%
def careless(trace, design):
    return hs.group(trace, np.arange(len(trace.graph.operators)) % 2, "careless")


try:
    hs.simulate(trace, stacked, careless)
except hs.FusionError as error:
    refusal = str(error)
    print(refusal)

# %% [markdown]
# To give a policy a name on the command line, put it into a package and name it in that package's `pyproject.toml`:
#
#     [project.entry-points."hiersim.policies"]
#     runs = "my_package:runs"
#
# `hiersim run TRACE -d DESIGN -f runs` finds it then. Engines register the same way, under `hiersim.engines`.
#
# ## An importer makes rows
#
# Your tool writes its matrix products as lines of `m n k`. An importer turns them into the columns of
# [a table of operators](../docs/importing.md), and hands them over.

# %%
def import_sizes(path):
    rows = []
    for number, line in enumerate(Path(path).read_text().splitlines(), start=1):
        sizes = line.split()
        if len(sizes) != 3:
            raise hs.TraceError("is no product", file=str(path), line=number, expected="m n k")
        dims = " ".join(f"{side}={size}" for side, size in zip("mnk", sizes))
        rows.append({"name": f"product{number}", "kind": "gemm", "dims": dims})
    return hs.import_table(rows, name=Path(path).stem)

# %%
mlp = import_sizes("data/mlp.txt")
hs.simulate(mlp, hs.load_design("h100-sxm"))


# %%
class TestSizes(ImporterContract):
    load = staticmethod(import_sizes)
    files = staticmethod(lambda: ["data/mlp.txt"])


promises = keep(TestSizes)
promises

# %% [markdown]
# Each line is a promise that was tried: the same file gives the same trace, a file that was cut off gives an error in one line,
# and so on. In a package these classes are ordinary tests: pytest finds them by their names.
