"""Predicted beside measured: replays what `hiersim measure` timed and adds up the errors."""
