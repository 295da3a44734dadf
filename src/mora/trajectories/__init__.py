"""Sequences over the same places: who was where, in which order."""
