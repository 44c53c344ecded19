"""Public hypothesis strategies, and large synthetic inputs, for the tests of hiersim and of its plug-ins."""
