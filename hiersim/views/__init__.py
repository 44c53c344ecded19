"""Presentation only: text tables, timelines, documents. Nothing here computes a metric."""
