"""Look-ahead: one forward pass reads every candidate of every row, and the best of each row stays."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..hypotheses import Hypotheses
from .sampling import take_ranked

Judge = Callable[[Tensor, Tensor, Tensor], Tensor]


def take_best_ahead(hypotheses: Hypotheses, tokens: Tensor, judge: Judge) -> None:
    """Append to every row the candidate that scores best when the model has read it.

    Ties go to the first candidate. The i-th copy of a row takes the i-th best. The forward pass that reads the
    candidates is the one that the next step needs, so it costs nothing more.

    Args:
        hypotheses: R rows, in a call whose picker has `keep_states = True`.
        tokens: (R, k) int64, the candidates of each row, k at least 1.
        judge: returns the scores of the candidates, (R, k) float, -inf for one that is never taken. Its arguments:

            - ahead, (R, k, D) float, the hidden states of the candidates, of unit length;
            - past, (R, T, D) float, those of the text so far;
            - mask, (R, T), 0 for padding.
    """
    context = hypotheses.read()
    past, mask, ranks, k = context.states, context.mask, hypotheses.ranks, tokens.shape[1]
    scores = past  # (R, k) when the candidates have been read

    def read_and_judge() -> Tensor:
        nonlocal scores
        scores = judge(hypotheses.read().newest.unflatten(0, (-1, k)), past, mask)
        return scores.flatten().float()

    hypotheses.fork(k)
    hypotheses.append(tokens.flatten(), read_and_judge)
    best = take_ranked(scores, ranks)[1] if ranks.any() else scores.argmax(-1)
    hypotheses.select(best + torch.arange(len(best), device=best.device) * k)
