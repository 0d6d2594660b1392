"""Decoding methods as parts that compose over any HuggingFace causal LM."""

from typing import TYPE_CHECKING

from scorers._common.lazy import lazy_names

__version__ = "0.1.0"  # the only place: setup.cfg reads it from here

if TYPE_CHECKING:
    from .arithmetic_encoding import encode as encode
    from .calibration import PostHocDebias as PostHocDebias
    from .calibration import content_free_prior as content_free_prior
    from .calibration import score_choices as score_choices
    from .decoder import Decoder as Decoder
    from .engine.context import Context as Context
    from .generation import generate as generate
    from .guides.context_aware import ContextAware as ContextAware
    from .guides.contrastive_decoding import ContrastiveDecoding as ContrastiveDecoding
    from .guides.debias_sampling import DebiasSampling as DebiasSampling
    from .guides.dexperts import DExperts as DExperts
    from .guides.guidance import Guidance as Guidance
    from .guides.negative_prompt import NegativePrompt as NegativePrompt
    from .guides.processor import GuideProcessor as GuideProcessor
    from .guides.second_models import Adapter as Adapter
    from .guides.second_prompts import Between as Between
    from .guides.second_prompts import NoImage as NoImage
    from .guides.second_prompts import NoisyImage as NoisyImage
    from .guides.second_prompts import Prompt as Prompt
    from .guides.second_prompts import Span as Span
    from .guides.second_prompts import UnknownImage as UnknownImage
    from .guides.steer import Steer as Steer
    from .hypotheses import Hypotheses as Hypotheses
    from .hypotheses import Step as Step
    from .models.loading import load as load
    from .models.packing import pack as pack
    from .models.packing import unpack as unpack
    from .parts import Guide as Guide
    from .parts import Picker as Picker
    from .parts import Reranker as Reranker
    from .parts import Search as Search
    from .pickers.adaptive_contrastive_search import AdaptiveContrastiveSearch as AdaptiveContrastiveSearch
    from .pickers.arithmetic_coding import Interval as Interval
    from .pickers.arithmetic_sampling import ArithmeticSample as ArithmeticSample
    from .pickers.contrastive_search import ContrastiveSearch as ContrastiveSearch
    from .pickers.contrastive_search import degeneration_penalty as degeneration_penalty
    from .pickers.frustratingly_simple import FrustratinglySimple as FrustratinglySimple
    from .pickers.mirostat import Mirostat as Mirostat
    from .pickers.sampling import Greedy as Greedy
    from .pickers.sampling import Sample as Sample
    from .rerankers.rerank import BestOfN as BestOfN
    from .rerankers.rerank import Rerank as Rerank
    from .rerankers.search import Round as Round
    from .row_states import State as State
    from .trace.records import Trace as Trace

# where each public name is defined
HOMES = {
    "Adapter": "guides.second_models",
    "AdaptiveContrastiveSearch": "pickers.adaptive_contrastive_search",
    "ArithmeticSample": "pickers.arithmetic_sampling",
    "BestOfN": "rerankers.rerank",
    "Between": "guides.second_prompts",
    "Context": "engine.context",
    "ContextAware": "guides.context_aware",
    "ContrastiveDecoding": "guides.contrastive_decoding",
    "ContrastiveSearch": "pickers.contrastive_search",
    "DExperts": "guides.dexperts",
    "DebiasSampling": "guides.debias_sampling",
    "Decoder": "decoder",
    "FrustratinglySimple": "pickers.frustratingly_simple",
    "Greedy": "pickers.sampling",
    "Guidance": "guides.guidance",
    "Guide": "parts",
    "GuideProcessor": "guides.processor",
    "Hypotheses": "hypotheses",
    "Interval": "pickers.arithmetic_coding",
    "Mirostat": "pickers.mirostat",
    "NegativePrompt": "guides.negative_prompt",
    "NoImage": "guides.second_prompts",
    "NoisyImage": "guides.second_prompts",
    "Picker": "parts",
    "PostHocDebias": "calibration",
    "Prompt": "guides.second_prompts",
    "Rerank": "rerankers.rerank",
    "Reranker": "parts",
    "Round": "rerankers.search",
    "Sample": "pickers.sampling",
    "Search": "parts",
    "Span": "guides.second_prompts",
    "State": "row_states",
    "Steer": "guides.steer",
    "Step": "hypotheses",
    "Trace": "trace.records",
    "UnknownImage": "guides.second_prompts",
    "content_free_prior": "calibration",
    "degeneration_penalty": "pickers.contrastive_search",
    "encode": "arithmetic_encoding",
    "generate": "generation",
    "load": "models.loading",
    "pack": "models.packing",
    "score_choices": "calibration",
    "unpack": "models.packing",
}
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
    "Search",
    "Span",
    "State",
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

if not TYPE_CHECKING:  # a type checker would believe that every name is there
    __getattr__, __dir__ = lazy_names(__name__, HOMES)
