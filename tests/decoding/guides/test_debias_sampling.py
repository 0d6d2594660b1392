"""Debias sampling equals its oracle; of two prompts it is two guides in a row."""

import pytest

import decoding
from decoding import (
    DebiasSampling,
)
from decoding.testing import PerPrompt, check_guide
from tests.support import tiny
from tests.support.calls import PROMPTS
from tests.support.guide_cases import ASIDE, MODELS, OTHER, same_scores
from tests.support.oracles import methods as oracles
from tests.support.oracles import parts


def test_equals_its_oracle_wherever_it_is_used():
    of_one = PerPrompt(lambda places: decoding.DebiasSampling(1.0, 0.1, [ASIDE[i] for i in places]))
    method = lambda text: oracles.debias_sampling(text.model, text.prompt, [ASIDE[text.place]], 1.0, 0.1)
    with parts.remembered():
        check_guide(of_one, parts.guided(method))


@pytest.mark.parametrize("make", MODELS)
def test_debias_sampling_of_two_is_two_of_one(make):
    """The weights 1 + alpha, -alpha/2, -alpha/2 are two guides of alpha/2 in a row."""
    model, inputs = make(), tiny.batch(PROMPTS)
    both = DebiasSampling(alpha=1.4, beta=0, without=[decoding.Prompt(ASIDE), decoding.Prompt(OTHER)])
    each = [DebiasSampling(alpha=0.7, beta=0, without=prompts) for prompts in (ASIDE, OTHER)]
    assert same_scores(model, inputs, [both], each)
