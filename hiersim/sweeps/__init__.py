"""Many runs over a grid of designs, workloads and policies: computed once, kept whole, read back labelled."""
