"""Contexts: a model, its prompts and their caches, for any number of rows."""
