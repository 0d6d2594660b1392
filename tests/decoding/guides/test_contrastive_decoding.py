"""Contrastive decoding equals its oracle; a temperature of the amateur is a weight; vocabularies fit or are refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import decoding
from decoding import (
    ContrastiveDecoding,
)
from decoding.testing import check_guide
from tests.support import tiny
from tests.support.calls import PROMPTS
from tests.support.guide_cases import MODELS, same_scores
from tests.support.oracles import methods as oracles
from tests.support.oracles import parts


def test_equals_its_oracle_wherever_it_is_used():
    amateur = tiny.gpt2(2)
    part = decoding.ContrastiveDecoding(amateur, alpha=0.8, beta=0.05, temperature=0.5)
    method = lambda text: oracles.contrastive_decoding(amateur, text.prompt, 0.8, 0.5, 0.05)
    with parts.remembered():
        check_guide(part, parts.guided(method))


@settings(max_examples=15, deadline=None)
@given(lam=st.floats(0, 2), tau=st.floats(0.25, 4), make=st.sampled_from(MODELS))
def test_a_temperature_of_the_amateur_is_a_weight(lam, tau, make):
    model, inputs = make(0), tiny.batch(PROMPTS)
    one = ContrastiveDecoding(make(1), alpha=lam, temperature=tau, beta=0.02)
    assert same_scores(model, inputs, [one], [ContrastiveDecoding(make(1), alpha=lam / tau, beta=0.02)])


def test_vocabularies_too_different_to_be_padding_are_refused_by_name():
    wide = tiny.llama(1)
    wide.resize_token_embeddings(2000, mean_resizing=False)
    with pytest.raises(ValueError, match=r"GPT2LMHeadModel has 61 tokens and LlamaForCausalLM has 2000"):
        decoding.generate(tiny.gpt2(), **tiny.batch(PROMPTS), processors=[ContrastiveDecoding(wide)], max_new_tokens=2)
