# What stream.py is built on.
from hiersim.engines.core.landmarks cimport Landmarks
