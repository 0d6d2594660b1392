"""Greedy search and sampling equal their oracles, and what transformers generates."""

import pytest
import torch

import decoding
from decoding.pickers.sampling import take_ranked
from decoding.testing import check_picker
from tests.support import tiny
from tests.support.calls import PROMPTS
from tests.support.oracles import parts as part_oracles


def test_greedy_equals_its_oracle_wherever_it_is_used():
    check_picker(decoding.Greedy(), part_oracles.greedy)


def test_sample_equals_its_oracle_wherever_it_is_used():
    check_picker(decoding.Sample(), part_oracles.sample)


@pytest.mark.parametrize("make", [tiny.gpt2, tiny.llama])
@pytest.mark.parametrize("options", [{"do_sample": False}, {"do_sample": True, "top_k": 7}], ids=["greedy", "sample"])
def test_both_are_what_transformers_generates(make, options):
    model, inputs = make(), tiny.batch(PROMPTS)
    part = decoding.Sample() if options["do_sample"] else decoding.Greedy()
    torch.manual_seed(1)
    theirs = model.generate(**inputs, max_new_tokens=8, **options)
    torch.manual_seed(1)
    assert torch.equal(decoding.generate(model, **inputs, processors=[part], max_new_tokens=8, **options), theirs)


def test_ranks_go_round_among_what_is_not_forbidden():
    inf = float("inf")
    scores = torch.tensor([[1.0, 3.0, 2.0]] * 4 + [[1.0, -inf, 2.0]] * 3 + [[-inf] * 3])
    best, places = take_ranked(scores, torch.tensor([0, 1, 2, 3, 0, 1, 2, 5]))
    assert places.tolist()[:-1] == [1, 2, 0, 1, 2, 0, 2]
    assert best.tolist()[:-1] == [3, 2, 1, 3, 2, 1, 2]
