"""`Trace` becomes a `KernelGraph`: one file per policy, all registered through the same entry points."""
