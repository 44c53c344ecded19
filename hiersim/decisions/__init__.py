"""Decisions: what to buy next, from many runs of one trace. Nothing here knows a time that a run did not give."""
