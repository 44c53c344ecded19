"""Measures operators and models on the device that is at hand."""
