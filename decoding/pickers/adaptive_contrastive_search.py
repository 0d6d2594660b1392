"""Adaptive contrastive search: Garces Arias et al. 2024 (arXiv 2407.18698), section 3."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel

from scorers._common.ranges import NOT_NEGATIVE, check_fields, whole

from ..engine.prompt_checks import refuse_more_than_vocabulary
from ..hypotheses import Hypotheses
from ..parts import Picker
from ..row_states import State
from .contrastive_search import TERMS, take_least_alike

# (R, t, 2) float64: for each step so far, the entropy of the whole distribution and that of its candidates
ENTROPIES = State[Tensor]("adaptive_contrastive_search.entropies")


@dataclass(frozen=True)
class AdaptiveContrastiveSearch(Picker):
    """Contrastive search whose k and alpha follow the entropy of each step: Garces Arias et al. 2024, section 3.

    With H_t the entropy of the guided distribution p_t over the vocabulary V, in nats, and sigma the logistic function,

        delta_t = q artanh((H_t - median(H_1 .. H_(t-1))) / ln |V|),    k_t = 5 + 10 sigma(delta_t), rounded;

    The same formula, with the entropy of the k_t most probable tokens (renormalised) over ln k_t, gives delta'_t and
    alpha_t = sigma(delta'_t). The first step has no median: k = 10 and alpha = 0.5. The choice among the k_t tokens is
    that of `ContrastiveSearch`, whose notes on ties, forbidden tokens, warpers and copies of rows hold here too. Each
    row has its own k and alpha. A step costs one forward pass with as many rows as the largest k needs.

    The released code differs in these points:

    - it rounds alpha to two decimals;
    - it never empties its lists of entropies, so medians run on over all texts of a process;
    - it computes k and alpha of a batch from its first row;
    - its q is 1, or 8 in its example;
    - it goes on with nan where the second ratio leaves (-1, 1). This can happen, since the entropies of earlier steps
      are for another k, and artanh is not defined there. Here the limits are taken: alpha is 1 or 0.

    Step scores are the value that contrastive search maximises.

    Args:
        q: how sharply k and alpha follow the entropy, at least 0; 0 is contrastive search with k = 10, alpha = 0.5.
        k_min: the smallest k, 2 <= k_min <= k_max; the paper's is 5.
        k_max: the largest k, k_min <= k_max <= vocabulary; the paper's is 15.

    Raises:
        ValueError: a number is out of range.

    Example:
        >>> import decoding
        >>> decoding.AdaptiveContrastiveSearch()
        AdaptiveContrastiveSearch(q=1.0, k_min=5, k_max=15)
    """

    q: Annotated[float, NOT_NEGATIVE] = 1.0
    k_min: Annotated[int, whole(2)] = 5
    k_max: Annotated[int, whole(2)] = 15
    keep_states = True
    rule = "of the k most probable tokens the one with the best score; k and alpha follow the entropy"
    terms: ClassVar[Mapping[str, str]] = {
        **TERMS,
        "alpha": "weight of the penalty in this step, from the entropy of the candidates",
    }

    def __post_init__(self) -> None:
        check_fields(self)
        if self.k_min > self.k_max:
            raise ValueError(f"k_min={self.k_min} is over k_max={self.k_max}")

    def check(self, model: PreTrainedModel, generation_config: GenerationConfig) -> None:
        """Refuse a k above the size of the vocabulary."""
        refuse_more_than_vocabulary(model.config, "k_max", self.k_max)

    def __call__(self, hypotheses: Hypotheses) -> None:
        """Look one token ahead for each row's candidates, and keep the best."""
        guided = hypotheses.logits()  # (R, V)
        probs = guided.double().softmax(-1)
        before = hypotheses.state.get(ENTROPIES, probs.new_empty(len(probs), 0, 2))
        whole = torch.special.entr(probs).sum(-1)  # (R,)
        k = self.k_min + (self.k_max - self.k_min) * certainty(whole, before[..., 0], math.log(probs.shape[-1]), self.q)
        k = k.round().long()
        logits, tokens = guided.topk(int(k.max()))  # (R, K), where K is the largest k
        outside = torch.arange(logits.shape[1], device=k.device) >= k[:, None]
        top = probs.gather(-1, tokens)
        some = top.masked_fill(outside, 0)
        inner = torch.special.entr(some / some.sum(-1, keepdim=True)).sum(-1)
        alpha = certainty(inner, before[..., 1], k.double().log(), self.q)[:, None]
        hypotheses.state[ENTROPIES] = torch.cat([before, torch.stack([whole, inner], dim=-1)[:, None]], dim=1)
        forbidden = outside | (logits == -torch.inf)
        take_least_alike(hypotheses, tokens, top, alpha, forbidden, shown=tokens.masked_fill(outside, -1), alpha=alpha)


def certainty(entropy: Tensor, before: Tensor, largest: Tensor | float, q: float) -> Tensor:
    """sigma(q artanh((H_t - median of the earlier H) / largest)): (R,) and (R, t - 1) -> (R,) in [0, 1].

    Example:
        >>> certainty(torch.tensor([0.5, 0.9]), torch.tensor([[0.5, 0.1, 0.6], [0.1, 0.2, 0.3]]), 1.0, 1.0)
        tensor([0.5000, 0.7042])
    """
    middle = before.quantile(0.5, dim=-1) if before.shape[-1] else entropy  # of two middle ones, the mean
    ratio = ((entropy - middle) / largest).clamp(-1, 1)
    return torch.sigmoid(q * torch.atanh(ratio)) if q else torch.full_like(ratio, 0.5)
