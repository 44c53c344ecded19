"""XLA's HLO modules, as text: what JAX or TensorFlow asked for, or what XLA made of it, becomes a trace."""
