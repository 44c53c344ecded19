"""Something from outside becomes a `Trace`: one file per format."""
