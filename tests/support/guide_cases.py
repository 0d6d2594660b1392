"""Our guides with their oracles, by method; and what a call's distributions are."""

import torch

import decoding
from decoding import (
    ContextAware,
    ContrastiveDecoding,
    DebiasSampling,
    DExperts,
    NegativePrompt,
    Steer,
)
from tests.support import tiny
from tests.support.calls import PROMPTS
from tests.support.oracles import methods as oracles

MODELS = [tiny.gpt2, tiny.llama]
ASIDE = [[30, 31, 32, 33, 34, 35], [9], [10, 11, 40]]  # second prompts: longer, shorter, as long
OTHER = [[7, 22], [50, 3, 18, 5, 6, 41, 8], [17]]


def cases(make):
    """For each method its guide, and the oracle of row i."""
    model, e, a = make(0), make(1), make(2)
    return {
        "debias": (
            DebiasSampling(alpha=1.0, beta=0.1, without=ASIDE),
            lambda i: oracles.debias_sampling(model, PROMPTS[i], [ASIDE[i]], 1.0, 0.1),
        ),
        "debias both": (
            DebiasSampling(alpha=0.7, beta=0.02, without=[decoding.Prompt(ASIDE), decoding.Prompt(OTHER)]),
            lambda i: oracles.debias_sampling(model, PROMPTS[i], [ASIDE[i], OTHER[i]], 0.7, 0.02),
        ),
        "context-aware": (
            ContextAware(ASIDE, alpha=0.5),
            lambda i: oracles.context_aware(model, PROMPTS[i], ASIDE[i], 0.5),
        ),
        "negative prompt": (
            NegativePrompt(ASIDE, gamma=1.8),
            lambda i: oracles.classifier_free_guidance(model, PROMPTS[i], ASIDE[i], 1.8),
        ),
        "unconditional": (
            NegativePrompt(gamma=2.0),
            lambda i: oracles.classifier_free_guidance(model, PROMPTS[i], PROMPTS[i][-1:], 2.0),
        ),
        "contrastive decoding": (
            ContrastiveDecoding(a, alpha=0.8, beta=0.05, temperature=0.5),
            lambda i: oracles.contrastive_decoding(a, PROMPTS[i], 0.8, 0.5, 0.05),
        ),
        "amateur of one token": (
            ContrastiveDecoding(a, last_token_only=True),
            lambda i: oracles.contrastive_decoding(a, PROMPTS[i], 1.0, 1.0, 0.1, last_token_only=True),
        ),
        "dexperts": (DExperts(e, a, alpha=1.5), lambda i: oracles.dexperts(e, a, 1.5)),
        "steer": (
            Steer(e, gamma=0.3, eta=0.4, negatives=ASIDE),
            lambda i: oracles.steer(e, model, PROMPTS[i], ASIDE[i], 0.3, 0.4),
        ),
        "steer one negative": (
            Steer(e, gamma=0.3, eta=1.2, negatives=ASIDE[0], beta=0.05),
            lambda i: oracles.steer(e, model, PROMPTS[i], ASIDE[0], 0.3, 1.2, 0.05),
        ),
        "steer another base": (
            Steer(e, gamma=0.6, eta=0.2, negatives=ASIDE, base=a),
            lambda i: oracles.steer(e, a, PROMPTS[i], ASIDE[i], 0.6, 0.2),
        ),
    }


METHODS = list(cases(tiny.gpt2))


def scores(model, inputs, parts):
    out = decoding.generate(
        model, **inputs, processors=parts, max_new_tokens=4, min_new_tokens=4, output_scores=True, do_sample=False,
        return_dict_in_generate=True,
    )  # fmt: skip
    return torch.stack(out.scores)


def same_scores(model, inputs, one, two):
    one, two = (scores(model, inputs, parts).log_softmax(-1) for parts in (one, two))
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)
    return True
