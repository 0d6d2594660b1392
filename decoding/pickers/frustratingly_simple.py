"""Frustratingly simple decoding: Yang et al. 2023 (arXiv 2305.12675)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel

from scorers._common.ranges import COUNT, SHARE, UNIT, check_fields

from ..engine.prompt_checks import refuse_more_than_vocabulary
from ..hypotheses import Hypotheses
from ..parts import Picker
from .sampling import take_ranked


@dataclass(frozen=True)
class FrustratinglySimple(Picker):
    """The candidate v of the top k with the best (1 - alpha) p(v|x) - alpha c(v|x), where c is an n-gram model of x.

    Frustratingly simple decoding (FSD), Yang et al. 2023, section 3. c is trained only on the text x, prompt included,
    so that repetition is penalised. It is smoothed as in the released code. Among the orders m = n .. 1 in which v has
    come after the last m - 1 tokens, the highest gets the weight beta, the next beta (1 - beta), and so on; the
    unigrams get the rest. If N tokens came after those m - 1 tokens, the estimate is count / (N + 1), and for unigrams
    count / N. A text of fewer than n - 1 tokens has no penalty. The paper writes p - alpha' c, which is the same with
    alpha' = alpha / (1 - alpha).

    The search is deterministic. Copies of rows, ties and forbidden tokens are treated as in `ContrastiveSearch`. There
    is no look-ahead: n tokens cost n forward passes of one row, as in greedy search. The released code never ends a
    text early; here the end of sequence is a token like others. Step scores are the value above. The defaults are those
    that the released code recommends for English.

    Args:
        k: candidates in a step, 1 <= k <= vocabulary; 1 is greedy search.
        alpha: weight of the n-gram penalty, 0 <= alpha <= 1; 0 is greedy search.
        n: order of the n-gram model, at least 1.
        beta: weight of the longest n-grams, 0 < beta <= 1; the shorter ones share the rest.
        exempt: tokens without a penalty, such as line ends and stop words in the released code.

    Raises:
        ValueError: a number is out of range.

    Example:
        >>> import decoding
        >>> model, tokenizer = decoding.load()
        >>> inputs = tokenizer("a b c a b c a b", return_tensors="pt")
        >>> simple = decoding.FrustratinglySimple(alpha=0.65)
        >>> decoding.generate(model, **inputs, processors=[simple], max_new_tokens=4).shape
        torch.Size([1, 12])
    """

    k: Annotated[int, COUNT] = 3
    alpha: Annotated[float, UNIT] = 0.65
    n: Annotated[int, COUNT] = 3
    beta: Annotated[float, SHARE] = 0.9
    exempt: Collection[int] = ()

    method = "fsd"
    rule = "of the k most probable tokens the one with the best score"
    terms: ClassVar[Mapping[str, str]] = {
        "confidence": "probability of the token after all guides",
        "penalty": "probability of the token by an n-gram model of this very text: high for what was said before",
        "score": "confidence and penalty by their weights, 1 - alpha and -alpha",
    }

    def __post_init__(self) -> None:
        check_fields(self)
        object.__setattr__(self, "exempt", tuple(self.exempt))

    def check(self, model: PreTrainedModel, generation_config: GenerationConfig) -> None:
        """Refuse a k above the size of the vocabulary."""
        refuse_more_than_vocabulary(model.config, "k", self.k)

    def __call__(self, hypotheses: Hypotheses) -> None:
        """Append to every row the best candidate."""
        guided = hypotheses.logits()  # (R, V)
        logits, candidates = guided.topk(self.k)  # (R, k)
        probs = guided.softmax(-1).gather(-1, candidates)
        penalty = ngram_probability(*texts_without_padding(hypotheses), candidates, self.n, self.beta).to(probs)
        free = torch.isin(candidates, torch.tensor(self.exempt, dtype=torch.long, device=candidates.device))
        penalty = penalty.masked_fill(free, 0)
        scores = ((1 - self.alpha) * probs - self.alpha * penalty).masked_fill(logits == -torch.inf, -torch.inf)
        weights = {"confidence": 1 - self.alpha, "penalty": -self.alpha}
        hypotheses.explain(candidates, weights, confidence=probs, penalty=penalty, score=scores)
        scores, places = take_ranked(scores, hypotheses.ranks)
        hypotheses.append(candidates.gather(-1, places[:, None]).squeeze(-1), scores)


def ngram_probability(tokens: Tensor, mask: Tensor, candidates: Tensor, n: int, beta: float) -> Tensor:
    """The smoothed n-gram model of each row's own text, for tokens that may follow it; see `FrustratinglySimple`.

    Args:
        tokens: (R, T) int64, the texts.
        mask: (R, T) bool, False for padding, on the left.
        candidates: (R, k) int64, the tokens that may follow.
        n: order, at least 1.
        beta: weight of the highest order, 0 < beta <= 1.

    Returns:
        (R, k) float64 in [0, 1].

    Example:
        >>> text = torch.tensor([[7, 8, 9, 7, 8]])  # 9 came once after 7 8 and after 8, and is 1 of 5 tokens
        >>> ngram_probability(text, torch.ones(1, 5, dtype=torch.bool), torch.tensor([[9, 5]]), n=3, beta=0.9)
        tensor([[0.4970, 0.0000]], dtype=torch.float64)
    """
    length = tokens.shape[1]
    said = tokens[:, None] == candidates[:, :, None]  # (R, k, T)
    follows, orders = mask, [mask]  # (R, T): whether the m - 1 tokens before this one are the text's last
    for back in range(1, n):
        same = torch.zeros_like(mask)
        if back < length:
            same[:, back:] = (tokens[:, :-back] == tokens[:, -back, None]) & mask[:, :-back]
        follows = follows & same
        orders.append(follows)
    probability = torch.zeros(candidates.shape, dtype=torch.float64, device=tokens.device)
    left = torch.ones_like(probability)
    for order, follows in reversed(list(enumerate(orders, 1))):
        count, total = (said & follows[:, None]).sum(-1), follows.sum(-1, keepdim=True)
        share, weight = (count / total.clamp(min=1), 1.0) if order == 1 else (count / (total + 1), beta)
        probability += left * weight * share
        left = torch.where(count > 0, left * (1 - beta), left)
    return torch.where(mask.sum(-1, keepdim=True) >= n - 1, probability, 0)


def texts_without_padding(hypotheses: Hypotheses) -> tuple[Tensor, Tensor]:
    """The texts so far: (R, T) int64 tokens, and (R, T) bool, False for padding, which is moved to the left."""
    tokens, mask = hypotheses.tokens, hypotheses.read().mask
    mask = mask[:, mask.shape[1] - tokens.shape[1] :].bool().to(tokens.device)
    order = mask.int().argsort(dim=1, stable=True)
    return tokens.gather(1, order), mask.gather(1, order)
