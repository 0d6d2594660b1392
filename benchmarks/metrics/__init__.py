"""What can be measured of generated texts: a module for each family, plain functions, each with its own uncertainty.

`docs/results/metrics.md` has the formula, the source, the traps and the cost of each. Nothing is imported here, so
that a command that needs no torch loads none.
"""
