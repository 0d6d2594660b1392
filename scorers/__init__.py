"""Scorers, which say how good a continuation is after its prefix. They know nothing of decoding."""

from typing import TYPE_CHECKING

from ._common.lazy import lazy_names

if TYPE_CHECKING:
    from .combined import Pairwise as Pairwise
    from .combined import Weighted as Weighted
    from .embedding import PROMPT_EOL as PROMPT_EOL
    from .embedding import Embedding as Embedding
    from .embedding import Whitening as Whitening
    from .evidence import Asked as Asked
    from .evidence import Evidence as Evidence
    from .evidence import Form as Form
    from .likelihood import Likelihood as Likelihood
    from .mbr import MBR as MBR
    from .mbr import bleu as bleu
    from .mbr import chrf as chrf
    from .overlap import Overlap as Overlap
    from .ranker import Ranker as Ranker
    from .rankgen import RankGen as RankGen
    from .rankgen import T5EncoderWithProjection as T5EncoderWithProjection
    from .reward import Classifier as Classifier
    from .reward import Gated as Gated
    from .reward import RewardModel as RewardModel
    from .reward import Router as Router
    from .scorer import Function as Function
    from .scorer import Scorer as Scorer
    from .scorer import as_scorer as as_scorer

# where each public name is defined
HOMES = {
    "Asked": "evidence",
    "Classifier": "reward",
    "Embedding": "embedding",
    "Evidence": "evidence",
    "Form": "evidence",
    "Function": "scorer",
    "Gated": "reward",
    "Likelihood": "likelihood",
    "MBR": "mbr",
    "Overlap": "overlap",
    "PROMPT_EOL": "embedding",
    "Pairwise": "combined",
    "RankGen": "rankgen",
    "Ranker": "ranker",
    "RewardModel": "reward",
    "Router": "reward",
    "Scorer": "scorer",
    "T5EncoderWithProjection": "rankgen",
    "Weighted": "combined",
    "Whitening": "embedding",
    "as_scorer": "scorer",
    "bleu": "mbr",
    "chrf": "mbr",
}
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

if not TYPE_CHECKING:  # with `__getattr__`, a type checker would accept every name
    __getattr__, __dir__ = lazy_names(__name__, HOMES)
