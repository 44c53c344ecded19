"""Figures as inline SVG: no script, no network, and colours that follow the page they stand in."""
