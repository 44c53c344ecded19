"""The numbers that plots show: drawn as SVG by `views.figures`, with matplotlib by `views.plots`."""
