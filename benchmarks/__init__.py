"""How fast hiersim is, measured side by side with what one would pick instead. `make bench`; see docs/benchmarks.md."""
