"""The immutable values that flow along the road, and every metric declared once."""
