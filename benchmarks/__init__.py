"""How fast Mora is beside what a user would pick instead.

``python -m benchmarks.NAME [--quick]`` runs one; ``make bench`` runs all and writes
``RESULTS.md``.
"""
