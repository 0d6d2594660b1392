"""Decoding methods as parts that compose over any HuggingFace causal LM."""

from . import command as command  # before what takes seconds: it answers Ctrl-C
from .adaptive import AdaptiveContrastiveSearch
from .arithmetic import ArithmeticSample, encode
from .calibration import PostHocDebias, content_free_prior, score_choices
from .coding import Interval
from .context import Context
from .contrastive import ContrastiveSearch, degeneration_penalty
from .decoder import Decoder
from .experts import Adapter
from .frustratingly import FrustratinglySimple
from .generation import generate
from .guidance import Guidance
from .guides import ContextAware, ContrastiveDecoding, DebiasSampling, DExperts, NegativePrompt, Steer
from .hypotheses import Hypotheses, Step
from .mirostat import Mirostat
from .models import load
from .packing import pack, unpack
from .parts import Guide, Picker, Reranker
from .processor import GuideProcessor
from .readings import Between, NoImage, NoisyImage, Prompt, Span, UnknownImage
from .rerank import BestOfN, Rerank, Round
from .sampling import Greedy, Sample
from .trace import Trace

__all__ = [
    "Adapter",
    "AdaptiveContrastiveSearch",
    "ArithmeticSample",
    "BestOfN",
    "Between",
    "Context",
    "ContextAware",
    "ContrastiveDecoding",
    "ContrastiveSearch",
    "DExperts",
    "DebiasSampling",
    "Decoder",
    "FrustratinglySimple",
    "Greedy",
    "Guidance",
    "Guide",
    "GuideProcessor",
    "Hypotheses",
    "Interval",
    "Mirostat",
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
    "Trace",
    "UnknownImage",
    "content_free_prior",
    "degeneration_penalty",
    "encode",
    "generate",
    "load",
    "pack",
    "score_choices",
    "unpack",
]
