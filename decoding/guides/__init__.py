"""Guides, which change the next-token distribution. Each paper has one file; the other files are shared."""

from .context_aware import ContextAware
from .contrastive_decoding import ContrastiveDecoding
from .debias_sampling import DebiasSampling
from .dexperts import DExperts
from .guidance import Guidance
from .negative_prompt import NegativePrompt
from .processor import GuideProcessor
from .second_models import Adapter
from .second_prompts import Between, NoImage, NoisyImage, Prompt, Span, UnknownImage
from .steer import Steer

__all__ = [
    "Adapter",
    "Between",
    "ContextAware",
    "ContrastiveDecoding",
    "DExperts",
    "DebiasSampling",
    "Guidance",
    "GuideProcessor",
    "NegativePrompt",
    "NoImage",
    "NoisyImage",
    "Prompt",
    "Span",
    "Steer",
    "UnknownImage",
]
