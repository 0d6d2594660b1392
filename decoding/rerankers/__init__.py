"""Rerankers, which decide which texts of a prompt go on, and which one is returned."""

from .rerank import BestOfN, Rerank
from .search import Round

__all__ = ["BestOfN", "Rerank", "Round"]
