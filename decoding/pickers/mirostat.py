"""Mirostat: Basu et al. 2021 (ICLR; arXiv 2007.14966), with the truncation known as version 2."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from scorers._common.ranges import POSITIVE, check_fields

from ..hypotheses import Hypotheses
from ..parts import Picker
from ..row_states import State

MU = State[Tensor]("mirostat.mu")  # (R,) float64, the surprise allowed in the next step, in bits


@dataclass(frozen=True)
class Mirostat(Picker):
    """Sampling that keeps the surprise of a text near tau bits a token, by feedback: Basu et al. 2021, algorithm 1.

    Tokens whose surprise -log2 p is above mu are left out, except the most probable one. A token is drawn from the
    rest, and mu goes down by eta (S - tau), where S is the surprise of that token. mu begins at 2 tau. The paper
    chooses the tokens by a fit of Zipf's law to p, which amounts to the same bound. Bounding the surprise itself is
    "Mirostat 2.0" in other programs.

    p is the guided distribution, after the call's warpers. S is measured under p, as in the paper, so the perplexity
    that is controlled is that of the model. Each row has its own mu. Draws are made as in `Sample`.

    Step scores are the log-probability of the token under p.

    Args:
        tau: target surprise in bits, above 0; the released code's is 3.
        eta: learning rate, above 0; the released code's is 1.
        renormalise: measure the surprise S among the tokens that were not left out, as llama.cpp's version 2 does.
            Texts are then more surprising than tau.

    Raises:
        ValueError: a number is out of range. In the call: `do_sample=False`.

    Example:
        >>> import decoding
        >>> decoding.Mirostat(tau=3.0)
        Mirostat(tau=3.0, eta=1.0, renormalise=False)
    """

    tau: Annotated[float, POSITIVE] = 3.0
    eta: Annotated[float, POSITIVE] = 1.0
    renormalise: bool = False

    draws = True
    rule = "a token drawn by lot from those that are not more surprising than the limit"
    terms: ClassVar[Mapping[str, str]] = {
        "surprise": "of the token, in bits: 1 for a probability of one half, 2 for a quarter",
        "limit": "the surprise allowed in this step; it follows that of the tokens before",
        "share": "probability among the tokens that are allowed",
    }

    def __post_init__(self) -> None:
        check_fields(self)

    def __call__(self, hypotheses: Hypotheses) -> None:
        """Draw a token for every row from those that are not too surprising, and append it."""
        logits = hypotheses.logits()
        surprise = -logits.double().log_softmax(-1) / math.log(2)  # (R, V) bits
        mu = hypotheses.state.get(MU, torch.full_like(surprise[:, 0], 2 * self.tau))
        surprising = (surprise > mu[:, None]) & (surprise > surprise.amin(-1, keepdim=True))
        probs = logits.masked_fill(surprising, -torch.inf).softmax(-1)
        hypotheses.explain(None, surprise=surprise, limit=mu[:, None], share=probs)
        tokens = hypotheses.draw(probs)[:, None]  # (R, 1)
        seen = surprise.gather(-1, tokens).squeeze(-1)
        felt = -probs.gather(-1, tokens).squeeze(-1).double().log2() if self.renormalise else seen
        hypotheses.state[MU] = mu - self.eta * (felt - self.tau)
        hypotheses.append(tokens.squeeze(-1), (-seen * math.log(2)).float())
