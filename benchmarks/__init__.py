"""Measurements of what the design promises, each with a `measure` that returns its figures."""
