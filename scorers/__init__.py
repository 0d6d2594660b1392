"""How good is a continuation after its prefix? Scorers know nothing of decoding."""

from . import command as command  # before what takes seconds: it answers Ctrl-C
from .combined import Pairwise, Weighted
from .embedding import PROMPT_EOL, Embedding, Whitening
from .evidence import Asked, Evidence, Form
from .likelihood import Likelihood
from .mbr import MBR, bleu, chrf
from .overlap import Overlap
from .ranker import Ranker
from .rankgen import RankGen, T5EncoderWithProjection
from .reward import Classifier, Gated, RewardModel, Router
from .scorer import Function, Scorer, as_scorer

__all__ = [
    "MBR",
    "PROMPT_EOL",
    "Asked",
    "Classifier",
    "Embedding",
    "Evidence",
    "Form",
    "Function",
    "Gated",
    "Likelihood",
    "Overlap",
    "Pairwise",
    "RankGen",
    "Ranker",
    "RewardModel",
    "Router",
    "Scorer",
    "T5EncoderWithProjection",
    "Weighted",
    "Whitening",
    "as_scorer",
    "bleu",
    "chrf",
]
