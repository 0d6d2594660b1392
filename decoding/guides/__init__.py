"""What should the next-token distribution be? One file a paper, and what they share."""

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
