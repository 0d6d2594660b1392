"""Minimum Bayes risk: the best continuation is the one that is most like the others. Eikema and Aziz 2020.

arXiv 2005.10283.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .embedding import Embedding
from .scorer import Scorer

INSTALL = "pip install 'decoding-toolkit[mbr]'"


def chrf(hypothesis: str, reference: str) -> float:
    """chrF2 by sacrebleu, in [0, 100]. Popović 2015.

    Example:
        >>> chrf("The cat sat.", "The cat sat."), chrf("The cat sat.", "")
        (100.0, 0.0)
    """
    return metric("CHRF").sentence_score(hypothesis, [reference]).score


def bleu(hypothesis: str, reference: str) -> float:
    """Sentence BLEU by sacrebleu, in [0, 100]: exponential smoothing, effective order. Papineni et al. 2002.

    Example:
        >>> round(bleu("The cat sat down.", "The cat sat here."), 2)
        42.73
    """
    return metric("BLEU").sentence_score(hypothesis, [reference]).score


@cache
def metric(name: str) -> Any:
    """A metric of sacrebleu.

    Raises:
        ModuleNotFoundError: sacrebleu is not installed. The message has the command that installs it.
    """
    try:
        from sacrebleu import metrics
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"chrF and BLEU are sacrebleu's: run `{INSTALL}`, or use another utility") from error
    return metrics.BLEU(effective_order=True) if name == "BLEU" else metrics.CHRF()


@dataclass(frozen=True, eq=False)
class MBR(Scorer):
    """The expected utility of a continuation: s(h) = mean over r of u(h, r).

    The references r are all continuations of the same prefix in the call, h among them. They stand for samples of the
    model, so copies are votes: do not remove them beforehand. The prefix is not read. n different continuations of a
    prefix cost n squared utilities, or n embeddings with an `Embedding`. Utilities are made for whole texts of similar
    length, so unfinished ones are refused unless you say `partial=True`.

    Args:
        utility: u, a function of two texts (hypothesis, reference) that returns a number: `chrf`, `bleu`, or your own.
            Or an `Embedding`: then u is the cosine of the embeddings of the two texts.
        partial: whether unfinished continuations may be scored.

    Raises:
        ModuleNotFoundError: `chrf` or `bleu` is used and sacrebleu is not installed.
        TypeError: the utility is neither a function nor an `Embedding`.

    Example:
        >>> shared = lambda h, r: len(set(h) & set(r)) / len(set(h) | set(r))
        >>> MBR(shared)(["x"] * 4, ["ab", "ab", "abc", "de"])
        tensor([0.6667, 0.6667, 0.5833, 0.2500])
    """

    utility: Callable[[str, str], float] | Embedding = chrf
    partial: bool = False
    setwise: bool = True

    def __post_init__(self) -> None:
        if self.utility in (chrf, bleu):
            metric("CHRF")  # raises now if sacrebleu is missing
        if not isinstance(self.utility, Embedding) and not callable(self.utility):
            raise TypeError(f"{self.utility!r} is no utility: give a function of (hypothesis, reference)")

    def score(self, state: Any, owners: Sequence[int], continuations: Sequence[str]) -> Tensor:
        """(N,) expected utilities.

        Raises:
            ValueError: a utility is not a number.
        """
        if isinstance(self.utility, Embedding):
            return self._mean_cosines(self.utility, owners, continuations)
        known: dict[tuple[int, str], float] = {}
        votes: dict[int, Counter[str]] = {}
        for owner, text in zip(owners, continuations, strict=True):
            votes.setdefault(owner, Counter())[text] += 1
        for owner, counts in votes.items():
            for h in counts:
                total = sum(n * float(self.utility(h, r)) for r, n in counts.items())
                known[owner, h] = total / counts.total()
        scores = torch.tensor([known[pair] for pair in zip(owners, continuations, strict=True)], dtype=torch.float32)
        if scores.isnan().any():
            raise ValueError(f"{self.utility!r} gave a utility that is not a number")
        return scores

    def _mean_cosines(self, embedding: Embedding, owners: Sequence[int], continuations: Sequence[str]) -> Tensor:
        vectors = F.normalize(embedding.embed(continuations), dim=-1)
        owner = torch.tensor(owners, device=vectors.device)
        scores = torch.zeros(len(owners), dtype=torch.float32)
        for group in owner.unique():
            rows = (owner == group).nonzero().flatten()
            scores[rows.cpu()] = (vectors[rows] @ vectors[rows].mean(0)).to("cpu", torch.float32)
        return scores
