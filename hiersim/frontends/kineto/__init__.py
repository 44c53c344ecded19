"""Traces of the PyTorch profiler (Kineto, Chrome JSON)."""
