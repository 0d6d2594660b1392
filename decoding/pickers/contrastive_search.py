"""Contrastive search: Su et al. 2022, A Contrastive Framework for Neural Text Generation (arXiv 2202.06417), eq. 5."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel

from scorers._common.ranges import COUNT, UNIT, check_fields

from ..engine.prompt_checks import refuse_more_than_vocabulary
from ..hypotheses import Hypotheses
from ..parts import Picker
from .look_ahead import take_best_ahead

TERMS = {
    "confidence": "probability of the token after all guides",
    "penalty": "how alike the token is to the earlier token that it is most like: cosine of hidden states, 1 at most",
    "score": "confidence and penalty by their weights, 1 - alpha and -alpha",
    "nearest": "the earlier token that the penalty is about, and its place in the text",
}


@dataclass(frozen=True)
class ContrastiveSearch(Picker):
    """The candidate v of the top k with the best (1 - alpha) p(v|x) - alpha max_j cos(h_v, h_j); Su et al. 2022, eq. 5.

    h are hidden states of the last layer, and h_v is that of v appended to the text x. j runs over every earlier token,
    the prompt included and padding left out. p is the guided distribution, a softmax over the whole vocabulary.

    - The search is deterministic. If a reranker copies a row, the i-th copy takes the i-th best candidate.
    - Ties go to the more probable candidate.
    - A token that a guide or processor forbids (-inf) is never taken.
    - With `do_sample=True` in the call, its warpers (`temperature`, `top_p`, ...) shape p. Without it, transformers
      leaves them out.
    - The look-ahead of one step is the forward pass of the next. n tokens cost n forward passes of k rows, and one for
      the prompt.

    Step scores are the value above.

    Args:
        k: candidates in a step, 1 <= k <= vocabulary; 1 is greedy search. The paper's range is 3 to 10.
        alpha: weight of the degeneration penalty, 0 <= alpha <= 1; 0 is greedy search, the paper's value is 0.6.

    Raises:
        ValueError: k or alpha is out of range.

    Example:
        >>> import decoding
        >>> decoding.ContrastiveSearch(k=4, alpha=0.6)
        ContrastiveSearch(k=4, alpha=0.6)
    """

    k: Annotated[int, COUNT] = 5
    alpha: Annotated[float, UNIT] = 0.6
    keep_states = True
    rule = "of the k most probable tokens the one with the best score"
    terms: ClassVar[Mapping[str, str]] = TERMS

    def __post_init__(self) -> None:
        check_fields(self)

    def check(self, model: PreTrainedModel, generation_config: GenerationConfig) -> None:
        """Refuse a k above the size of the vocabulary."""
        refuse_more_than_vocabulary(model.config, "k", self.k)

    def __call__(self, hypotheses: Hypotheses) -> None:
        """Look one token ahead for the k candidates of every row, and keep the best."""
        guided = hypotheses.logits()  # (R, V)
        logits, tokens = guided.topk(self.k)  # (R, k)
        probs = guided.softmax(-1).gather(-1, tokens)
        take_least_alike(hypotheses, tokens, probs, self.alpha, logits == -torch.inf)


def take_least_alike(
    hypotheses: Hypotheses,
    tokens: Tensor,
    probs: Tensor,
    weight: float | Tensor,
    forbidden: Tensor,
    shown: Tensor | None = None,
    **terms: Tensor,
) -> None:
    """Append to every row its best candidate by Su et al. 2022, eq. 5.

    Args:
        tokens: (R, k) int64, the candidates.
        probs: (R, k) float, their probabilities.
        weight: alpha, a number or (R, 1) float, in [0, 1].
        forbidden: (R, k) bool, candidates that are never taken.
        shown: (R, k) int64, the candidates that a trace shows, -1 for one that it leaves out; None: all.
        terms: further terms that a trace shows of them, see `Hypotheses.explain`.
    """

    def judge(ahead: Tensor, past: Tensor, mask: Tensor) -> Tensor:
        penalty = degeneration_penalty(ahead, past, mask).to(probs)
        scores = ((1 - weight) * probs - weight * penalty).masked_fill(forbidden, -torch.inf)  # (R, k)
        before = hypotheses.tokens.shape[1] - 1 - past.shape[1]  # a prompt given as embeddings has states but no tokens
        hypotheses.explain(
            tokens if shown is None else shown,
            {"confidence": 1 - weight, "penalty": -weight},
            confidence=probs,
            penalty=penalty,
            score=scores,
            **terms,
            nearest=lambda: most_alike(ahead, past, mask) + before,
        )
        return scores

    take_best_ahead(hypotheses, tokens, judge)


def degeneration_penalty(ahead: Tensor, past: Tensor, mask: Tensor) -> Tensor:
    """The largest cosine of each candidate's state with that of any earlier token: Su et al. 2022, eq. 5, second term.

    Args:
        ahead: (R, k, D) float, states of the k candidates, of unit length.
        past: (R, T, D) float, states of the text so far, of unit length.
        mask: (R, T), 0 for padding, which does not count.

    Returns:
        (R, k) float in [-1, 1].

    Example:
        >>> past = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
        >>> degeneration_penalty(torch.tensor([[[1.0, 0.0], [0.6, 0.8]]]), past, torch.tensor([[0, 1]]))
        tensor([[0.0000, 0.8000]])
    """
    return cosines(ahead, past, mask).amax(-1)


def most_alike(ahead: Tensor, past: Tensor, mask: Tensor) -> Tensor:
    """The earlier token that gives the degeneration penalty: (R, k) int64, places in `past`. Arguments as above.

    Example:
        >>> past = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
        >>> most_alike(torch.tensor([[[1.0, 0.0], [0.6, 0.8]]]), past, torch.tensor([[1, 1]]))
        tensor([[0, 1]])
    """
    return cosines(ahead, past, mask).argmax(-1)


def cosines(ahead: Tensor, past: Tensor, mask: Tensor) -> Tensor:
    """The cosines of (R, k, D) with (R, T, D) unit states, (R, k, T); -1 where the (R, T) mask is 0."""
    cosine = ahead @ past.mT
    return cosine.masked_fill(mask[:, None].to(cosine.device) == 0, -1)
