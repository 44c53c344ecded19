"""Fits parameters of a design to measured times, and says how well the data tells them."""
