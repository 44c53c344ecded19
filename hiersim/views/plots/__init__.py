"""Plots with matplotlib: each takes an `ax` to draw on, returns `fig, ax`, and never shows anything."""
