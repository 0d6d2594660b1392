"""Implementations by others, written from their description, only for comparison."""

from .contrastive import RepeatedCache

__all__ = ["RepeatedCache"]
