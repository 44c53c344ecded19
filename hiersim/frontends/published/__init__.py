"""Data sets of measured times that others have published, one module each: their files become `Measured`."""
