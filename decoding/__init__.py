"""Decoding methods as parts that compose over any HuggingFace causal LM."""

from .context import Context
from .contrastive import ContrastiveSearch, degeneration_penalty
from .decoder import Decoder
from .generation import generate
from .hypotheses import Hypotheses, Step
from .models import load
from .parts import Guide, Picker, Reranker
from .sampling import Greedy, Sample

__all__ = [
    "Context",
    "ContrastiveSearch",
    "Decoder",
    "Greedy",
    "Guide",
    "Hypotheses",
    "Picker",
    "Reranker",
    "Sample",
    "Step",
    "degeneration_penalty",
    "generate",
    "load",
]
