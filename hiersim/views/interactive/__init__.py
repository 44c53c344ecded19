"""Plots with plotly, of the same series as those of matplotlib: each takes a series and returns a figure."""
