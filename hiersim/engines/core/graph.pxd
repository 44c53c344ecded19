# What graph.py is built on.
from hiersim.engines.core.machine cimport Machine
