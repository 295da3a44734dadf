"""Visits or flows become a weighted mobility graph."""
