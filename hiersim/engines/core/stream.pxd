# What stream.py is built on.
from hiersim.engines.core.transitions cimport Transitions
