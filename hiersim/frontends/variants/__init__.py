"""`Trace` becomes another `Trace`: other weights, batch, context or number of tokens, derived without a new capture."""
