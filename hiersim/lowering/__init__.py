"""`KernelGraph` and `Design` become a `Program`. All floating point of the model ends here."""
