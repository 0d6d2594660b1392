"""DExperts equals its oracle; its nucleus is the base's."""

import pytest
import torch

import decoding
from decoding import (
    ContrastiveDecoding,
    DExperts,
    Steer,
)
from decoding.testing import check_guide
from tests.support import tiny
from tests.support.calls import PROMPTS
from tests.support.guide_cases import MODELS, scores
from tests.support.oracles import methods as oracles
from tests.support.oracles import parts


def test_equals_its_oracle_wherever_it_is_used():
    expert, anti = tiny.llama(1), tiny.gpt2(2)
    with parts.remembered():
        check_guide(
            decoding.DExperts(expert, anti, alpha=1.5), parts.guided(lambda text: oracles.dexperts(expert, anti, 1.5))
        )


def test_nucleus_of_dexperts_is_taken_from_the_base_before_adding():
    """Liu et al.'s filter_p; in float64, by sorting."""
    model, expert, anti = tiny.gpt2(0), tiny.gpt2(1), tiny.gpt2(2)
    z, e, a = (oracles.read(m, PROMPTS[0])[0].double() for m in (model, expert, anti))
    kept, total = set(), 0.0
    for v in z.softmax(-1).argsort(descending=True).tolist():
        if total >= 0.6:
            break
        kept.add(v)
        total += float(z.softmax(-1)[v])
    got = scores(model, tiny.batch(PROMPTS[:1]), [DExperts(expert, anti, alpha=1.5, top_p=0.6)])[0, 0]
    kept.discard(tiny.EOS)  # min_new_tokens
    assert {v for v in range(61) if got[v] > -torch.inf} == kept
    expected = (z + 1.5 * (e - a))[list(kept)].log_softmax(-1)
    torch.testing.assert_close(got[list(kept)].double().log_softmax(-1), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("make", MODELS)
def test_padded_vocabularies(make):
    """An expert with 8 more places for tokens, and an amateur with 8 more, equal those without."""
    model, expert, inputs = make(0), make(1), tiny.batch(PROMPTS)
    wide = make(1)
    wide.resize_token_embeddings(69, mean_resizing=False)
    for guide in (Steer, ContrastiveDecoding, lambda m: DExperts(m, make(2), alpha=0.5)):
        expected = decoding.generate(model, **inputs, processors=[guide(expert)], max_new_tokens=6)
        assert torch.equal(decoding.generate(model, **inputs, processors=[guide(wide)], max_new_tokens=6), expected)
        out = decoding.generate(wide, **inputs, processors=[guide(model)], max_new_tokens=6)
        assert out[:, 9:].max() < 61
        assert out.tolist() == decoding.generate(expert, **inputs, processors=[guide(model)], max_new_tokens=6).tolist()
