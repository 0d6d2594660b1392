"""Any causal LM: contrastive search equals its oracle on every family, or is refused by name."""

import pytest
import torch

import decoding
from decoding import ContrastiveSearch, Decoder

from . import oracles
from .families import ALPHA, FAMILIES, K, expected, search

pytestmark = pytest.mark.filterwarnings("default")  # what transformers' own modelling code warns of is not ours
SERVED = [family for family in FAMILIES if not family.refused]
REFUSED = [family for family in FAMILIES if family.refused]


@pytest.mark.parametrize("family", SERVED, ids=str)
def test_contrastive_search_equals_its_oracle(family):
    model = family.model()
    found = search(family, model, ContrastiveSearch(K, ALPHA))
    assert found == expected(model, oracles.contrastive_search, K, ALPHA)


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_our_loop_equals_model_generate(family):
    model = family.model()
    for options in ({}, {"do_sample": True}):
        torch.manual_seed(0)
        theirs = search(family, model, **options)
        torch.manual_seed(0)
        assert search(family, model, custom_generate=Decoder(), **options) == theirs


@pytest.mark.parametrize("family", REFUSED, ids=str)
def test_refused_before_any_token_and_served_without_a_cache(family):
    model = family.model()
    steps = Decoder(ContrastiveSearch(K, ALPHA)).stream(model, torch.tensor([[5, 9, 11]]), max_new_tokens=4)
    with pytest.raises(ValueError, match=family.refused) as error:
        next(steps)
    assert type(model).__name__ in str(error.value)
    found = search(family, model, ContrastiveSearch(K, ALPHA), use_cache=False)
    assert found == expected(model, oracles.contrastive_search, K, ALPHA)


def test_the_tiny_models_tell_methods_apart():
    """A family test that greedy search would pass proves nothing."""
    searched = [search(family, family.model(), ContrastiveSearch(K, ALPHA)) for family in SERVED]
    greedy = [search(family, family.model(), decoding.Greedy()) for family in SERVED]
    same = [str(family) for family, one, other in zip(SERVED, searched, greedy, strict=True) if one == other]
    assert len(same) <= 2, same
