"""Which rows go on?"""

from .rerank import BestOfN, Rerank
from .search import Round

__all__ = ["BestOfN", "Rerank", "Round"]
