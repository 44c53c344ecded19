"""`hiersim report`: results as one HTML file that needs no network, for somebody who decides."""
