"""Decoding methods as parts that compose over any HuggingFace causal LM."""

from .calibration import PostHocDebias, content_free_prior, score_choices
from .context import Context
from .contrastive import ContrastiveSearch, degeneration_penalty
from .decoder import Decoder
from .experts import Adapter
from .generation import generate
from .guidance import Guidance
from .guides import ContextAware, ContrastiveDecoding, DebiasSampling, DExperts, NegativePrompt, Steer
from .hypotheses import Hypotheses, Step
from .models import load
from .parts import Guide, Picker, Reranker
from .processor import GuideProcessor
from .readings import Between, NoImage, NoisyImage, Prompt, Span, UnknownImage
from .rerank import BestOfN, Rerank, Round
from .sampling import Greedy, Sample

__all__ = [
    "Adapter",
    "BestOfN",
    "Between",
    "Context",
    "ContextAware",
    "ContrastiveDecoding",
    "ContrastiveSearch",
    "DExperts",
    "DebiasSampling",
    "Decoder",
    "Greedy",
    "Guidance",
    "Guide",
    "GuideProcessor",
    "Hypotheses",
    "NegativePrompt",
    "NoImage",
    "NoisyImage",
    "Picker",
    "PostHocDebias",
    "Prompt",
    "Rerank",
    "Reranker",
    "Round",
    "Sample",
    "Span",
    "Steer",
    "Step",
    "UnknownImage",
    "content_free_prior",
    "degeneration_penalty",
    "generate",
    "load",
    "score_choices",
]
