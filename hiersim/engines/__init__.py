"""`Program` becomes a `Timeline`. The engines share the semantics of docs/semantics.md and no code."""
