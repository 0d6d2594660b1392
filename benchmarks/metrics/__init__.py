"""Metrics of generated texts: plain functions, a module for each family of metrics, each number with its uncertainty.

`docs/results/metrics.md` has the formula, the source, the traps and the cost of each. Nothing is imported here, so that
a command that does not need torch does not load it.
"""
