"""Greedy search and sampling, with the same tokens as `model.generate`."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..hypotheses import Hypotheses
from ..parts import Picker


@dataclass(frozen=True)
class Greedy(Picker):
    """The most probable token of the guided distribution.

    Step scores are its log-probability.

    Example:
        >>> import decoding
        >>> decoding.Decoder(decoding.Greedy())
        Decoder(Greedy())
    """

    warped = False
    rule = "the most probable token"

    def __call__(self, hypotheses: Hypotheses) -> None:
        """Append the most probable token to every row. The i-th copy of a row takes the i-th most probable one."""
        logits = hypotheses.logits()  # (R, V)
        best, tokens = logits.max(-1)
        if hypotheses.ranks.any():
            best, tokens = take_ranked(logits, hypotheses.ranks)
        hypotheses.append(tokens, best - logits.logsumexp(-1))


def take_ranked(scores: Tensor, ranks: Tensor) -> tuple[Tensor, Tensor]:
    """Take the score with the given rank in each row: (R, n) scores, (R,) int64 ranks from 0 -> score and place, (R,).

    A rank beyond the scores that are not -inf starts again from the first.
    """
    ordered, places = scores.sort(dim=-1, descending=True, stable=True)
    at = (ranks % (ordered != -torch.inf).sum(-1).clamp(min=1))[:, None]
    return ordered.gather(-1, at).squeeze(-1), places.gather(-1, at).squeeze(-1)


@dataclass(frozen=True)
class Sample(Picker):
    """A draw from the guided distribution, after the warpers (`temperature`, `top_k`, `top_p`, ...) of the call.

    It draws as `model.generate(do_sample=True)` does, from torch's global generator or the call's `generator=`: the
    same seed gives the same tokens. With a generator for each prompt, the draws of a prompt do not depend on its batch.
    Step scores are the log-probability of the token drawn.

    Raises:
        ValueError: the call says `do_sample=False`, with which transformers would leave out the warpers.

    Example:
        >>> import decoding
        >>> decoding.Decoder(decoding.Sample())
        Decoder(Sample())
    """

    draws = True
    rule = "a token drawn by lot, each as often as its probability says"

    def __call__(self, hypotheses: Hypotheses) -> None:
        """Draw a token for every row, and append it."""
        probs = hypotheses.logits().softmax(-1)  # (R, V)
        tokens = hypotheses.draw(probs)  # (R,)
        hypotheses.append(tokens, probs.gather(-1, tokens[:, None]).squeeze(-1).log())
