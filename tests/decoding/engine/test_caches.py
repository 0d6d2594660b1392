"""Caches of a caller's choice serve, or are refused before the first forward."""

import pytest
import torch
from transformers import QuantizedCache

import decoding
from decoding import ContrastiveSearch
from decoding.engine.transformers_api import DEFAULT_CACHE_NAME as CACHE
from tests.support import tiny

PROMPTS = [[5, 9, 11, 30, 7, 40, 3, 22, 17, 6, 33], [8, 8, 3], [12]]


def quantized(config):
    return QuantizedCache("fp8", config)


def test_a_quantized_cache_serves_or_is_refused_before_the_first_forward():
    model, ids = tiny.llama().float(), torch.tensor([PROMPTS[0]])
    greedy = model.generate(ids, **{CACHE: quantized(model.config)}, max_new_tokens=6, do_sample=False)
    part = decoding.BestOfN(lambda prefixes, texts: [0.0] * len(texts), 3, tokenizer=tiny.tokenizer())
    call = {CACHE: quantized(model.config), "processors": [decoding.Greedy(), part], "max_new_tokens": 6}
    assert torch.equal(decoding.generate(model, ids, **call), greedy)  # the first copy takes the best token
    model.register_forward_pre_hook(lambda *_: pytest.fail("a forward was run"))
    with pytest.raises(ValueError, match="a look-ahead could not be taken out of your QuantizedCache again"):
        decoding.generate(
            model, ids, **{CACHE: quantized(model.config)}, processors=[ContrastiveSearch()], max_new_tokens=2
        )


def test_a_static_cache_serves_where_it_has_room():
    model, ids = tiny.llama(), torch.tensor([PROMPTS[0]])
    call = {"processors": [ContrastiveSearch(k=3)], "max_new_tokens": 6}
    static = decoding.generate(model, ids, **call, cache_implementation="static", max_cache_len=18)
    assert torch.equal(static, decoding.generate(model, ids, **call))
