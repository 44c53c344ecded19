"""The event core of the compiled engine: one class, built up module by module from its state to its two drivers."""
