"""Attention in groups gives what transformers' own gives, copies no keys, and switches nothing that others can see."""

import threading
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.overrides import TorchFunctionMode
from transformers.integrations.sdpa_attention import sdpa_attention_forward

import decoding
from decoding import ContrastiveSearch
from decoding.engine.grouped_attention import GroupedHeads, shares_heads
from tests.support import tiny

PROMPTS = [[5, 9, 11, 30, 7, 40, 3], [8, 8, 3]]


class Sees(TorchFunctionMode):
    """Notes the heads of queries and keys in every call of torch's attention, in this thread."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if any(isinstance(arg, GroupedHeads) for arg in args):
            with self:  # what these call in turn
                return GroupedHeads.__torch_function__(function, types, args, kwargs)
        if function is F.scaled_dot_product_attention:
            self.calls.append((args[0].shape[1], args[1].shape[1]))
        return function(*args, **(kwargs or {}))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_it_gives_what_transformers_gives(data):
    draw = lambda least, most: data.draw(st.integers(least, most))
    batch, own, groups, count, slots = draw(1, 3), draw(1, 3), draw(1, 4), draw(1, 4), draw(4, 9)
    torch.manual_seed(draw(0, 99))
    query = torch.randn(batch, own * groups, count, 8, dtype=torch.float64)
    key, value = (torch.randn(batch, own, slots, 8, dtype=torch.float64) for _ in range(2))
    mask = torch.zeros(batch, 1, count, slots, dtype=torch.float64)
    mask[..., 1:].masked_fill_(torch.rand(batch, 1, count, slots - 1) < 0.4, torch.finfo(torch.float64).min)
    mask = data.draw(st.sampled_from([mask, mask[:, :, :1].expand_as(mask), None]))
    module = SimpleNamespace(num_key_value_groups=groups, is_causal=True)
    expected = sdpa_attention_forward(module, query, key, value, mask, scaling=0.3)[0]
    sees = Sees()
    with sees:
        found = sdpa_attention_forward(module, query, GroupedHeads(key), GroupedHeads(value), mask, scaling=0.3)[0]
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    if mask is not None:
        assert sees.calls == [(own, own)]  # the queries of a group below each other, keys as they are


@pytest.mark.parametrize(
    "use",
    [
        lambda heads: heads.transpose(1, 2),
        lambda heads: heads[..., :3],
        lambda heads: heads[:, :, None],
        lambda heads: heads.repeat_interleave(3, dim=1),
        lambda heads: torch.cat([heads, heads], dim=2),
        lambda heads: torch.repeat_interleave(heads, 3, dim=1),
        lambda heads: torch.ones(2, 3, 5, 7, dtype=torch.float64) @ heads,
        lambda heads: heads[:, :, None, :, :].expand(2, 3, 4, 7, 8).reshape(2, 12, 7, 8).transpose(2, 3),
        lambda heads: heads[:, :, None, :, :].expand(2, 3, 4, 7, 8).reshape(2, 12, 7, 8)[:, :, :2],
        lambda heads: heads[:, :, None, :, :].expand(2, 3, 4, 7, 8).reshape(2, 12, 7, 8).reshape(2, 12, 56),
        lambda heads: heads[:, :, None, :, :].expand(2, 3, 4, 7, 8).flatten(1, 2),
        lambda heads: heads[:, :, None, :, :].expand(2, 3, 4, 7, 8).expand(2, 3, 4, 7, 8),
        lambda heads: heads.expand(2, 3, 7, 8),
        lambda heads: heads.reshape(2, 21, 8),
        lambda heads: heads.shape,
        lambda heads: heads.dtype,
        lambda heads: heads.size(2),
    ],
)
def test_any_other_use_gets_the_tensor(use):
    heads = torch.randn(2, 3, 7, 8, dtype=torch.float64)
    expected, found = use(heads), use(GroupedHeads(heads))
    if isinstance(found, GroupedHeads):
        found = found.tensor()
    assert torch.equal(found, expected) if isinstance(expected, torch.Tensor) else found == expected


@pytest.mark.parametrize("options", [{"dropout": 0.5}, {"position_bias": torch.ones(1, 4, 2, 5)}])
def test_what_else_attention_may_be_asked_for_is_asked_of_torch(options):
    query, heads = torch.randn(1, 4, 2, 8), torch.randn(1, 2, 5, 8)
    module, mask = SimpleNamespace(num_key_value_groups=2, is_causal=True), torch.zeros(1, 1, 2, 5)
    outs = []
    for keys in (heads, GroupedHeads(heads)):
        torch.manual_seed(0)
        outs.append(sdpa_attention_forward(module, query, keys, keys, mask, **options)[0])
    assert torch.equal(*outs)


@pytest.mark.parametrize("make", [tiny.gpt2, tiny.llama])
def test_a_look_ahead_repeats_no_keys(make):
    model, sees = make(), Sees()
    heads = model.config.num_attention_heads
    own = getattr(model.config, "num_key_value_heads", heads)
    assert shares_heads(model.config) == (own < heads)
    call = {**tiny.batch(PROMPTS), "processors": [ContrastiveSearch(k=3)], "max_new_tokens": 4}
    decoding.generate(model, **call)
    with sees:
        decoding.generate(model, **call)
    layers = model.config.num_hidden_layers
    assert set(sees.calls[layers:]) == {(own, own)}
    call |= tiny.batch(PROMPTS[:1])  # eager attention makes NaN of padding in float64
    expected = decoding.generate(model, **call)
    model.set_attn_implementation("eager")
    assert torch.equal(decoding.generate(model, **call), expected)


def test_two_threads_decode_with_one_model_and_see_nothing_of_each_other():
    """In every forward one waits for the other, so that each is in the middle of the other's."""
    model, meet, seen = tiny.llama(), threading.Barrier(2, timeout=60), []
    call = {**tiny.batch(PROMPTS), "processors": [ContrastiveSearch(k=3)], "max_new_tokens": 6, "min_new_tokens": 6}
    alone = {share: decoding.generate(model, **call, share=share) for share in (True, False)}
    assert torch.equal(alone[True], alone[False])

    def in_the_middle(module, args, kwargs):
        meet.wait()
        mask = kwargs.get("attention_mask")
        seen.append((model.config._attn_implementation, {} if mask is None else vars(mask)))
        meet.wait()

    found: dict[bool, torch.Tensor | Exception] = {}

    def decode(share):
        try:
            found[share] = decoding.generate(model, **call, share=share)
        except Exception as error:
            found[share] = error
            meet.abort()

    for layer in model.model.layers:
        layer.register_forward_pre_hook(in_the_middle, with_kwargs=True)
    threads = [threading.Thread(target=decode, args=(share,)) for share in (True, False)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for share, expected in alone.items():
        assert isinstance(found[share], torch.Tensor), found[share]
        assert torch.equal(found[share], expected)
    assert {implementation for implementation, _ in seen} == {"sdpa"}
    assert all(not attributes for _, attributes in seen)
