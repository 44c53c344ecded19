"""Public hypothesis strategies, for the tests of hiersim and of its plug-ins."""
