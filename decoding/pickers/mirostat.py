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
    """Sampling whose texts have a surprise of tau bits a token, by feedback: Basu et al. 2021, algorithm 1.

    Tokens whose surprise -log2 p is over mu are left out (the most probable one stays), a token is drawn from the rest,
    and mu goes down by eta (S - tau), S its surprise; mu begins at 2 tau. The paper chooses the tokens by a fit of
    Zipf's law to p, which amounts to the same bound; bounding the surprise itself is "Mirostat 2.0" as other programs
    have it. S is measured under p, as in the paper, so that the perplexity controlled is the model's: of the guided
    distribution, after the call's warpers. Each row has a mu of its own. Draws are made as `Sample` makes them.

    Step scores are the log-probability of the token under p.

    Args:
        tau: the target in bits, above 0; the released code's is 3.
        eta: learning rate, above 0; the released code's is 1.
        renormalise: measure the surprise S among the tokens that were not left out, as llama.cpp's version 2 does.
            Texts are then more surprising than tau.

    Raises:
        ValueError: a number out of range; with the call: `do_sample=False`.

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
        """Append a token drawn for every row from those that are not too surprising."""
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
