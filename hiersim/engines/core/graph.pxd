# What graph.py is built on.
from hiersim.engines.core.ahead cimport Ahead
