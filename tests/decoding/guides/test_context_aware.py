"""Context-aware decoding equals its oracle, and is debias sampling without a mask."""

from hypothesis import given, settings
from hypothesis import strategies as st

import decoding
from decoding import (
    ContextAware,
    DebiasSampling,
    NegativePrompt,
)
from decoding.testing import PerPrompt, check_guide
from tests.support import tiny
from tests.support.calls import PROMPTS
from tests.support.guide_cases import ASIDE, MODELS, same_scores
from tests.support.oracles import methods as oracles
from tests.support.oracles import parts

amounts = st.floats(0, 2)


def test_equals_its_oracle_wherever_it_is_used():
    part = PerPrompt(lambda places: decoding.ContextAware([ASIDE[i] for i in places], alpha=0.5))
    method = lambda text: oracles.context_aware(text.model, text.prompt, ASIDE[text.place], 0.5)
    with parts.remembered():
        check_guide(part, parts.guided(method))


@settings(max_examples=15, deadline=None)
@given(a=amounts, make=st.sampled_from(MODELS), seed=st.integers(0, 3))
def test_debias_is_context_aware_is_classifier_free(a, make, seed):
    model, inputs = make(seed), tiny.batch(PROMPTS)
    debias = DebiasSampling(alpha=a, beta=0, without=ASIDE)
    assert same_scores(model, inputs, [debias], [ContextAware(ASIDE, alpha=a)])
    assert same_scores(model, inputs, [debias], [NegativePrompt(ASIDE, gamma=1 + a)])
