"""Which hiersim this is. The package is built with this number: to ask its metadata would take 40 ms of every start."""

from __future__ import annotations

__version__ = "0.1.0"
