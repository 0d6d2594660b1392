"""Pickers, which take one token for each row. Each paper has one file."""

from .adaptive_contrastive_search import AdaptiveContrastiveSearch
from .arithmetic_coding import Interval
from .arithmetic_sampling import ArithmeticSample
from .contrastive_search import ContrastiveSearch, degeneration_penalty
from .frustratingly_simple import FrustratinglySimple
from .mirostat import Mirostat
from .sampling import Greedy, Sample

__all__ = [
    "AdaptiveContrastiveSearch",
    "ArithmeticSample",
    "ContrastiveSearch",
    "FrustratinglySimple",
    "Greedy",
    "Interval",
    "Mirostat",
    "Sample",
    "degeneration_penalty",
]
