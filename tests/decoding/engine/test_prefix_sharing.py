"""Rows that share a past say what a plain forward over each row's text says, however they fork, merge and move."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import decoding
from decoding import ContrastiveSearch, Rerank
from decoding.engine import prefix_sharing, slot_layer
from decoding.engine.probe import PROBED
from decoding.engine.transformers_api import DEFAULT_CACHE_NAME as CACHE
from tests.support import tiny
from tests.support.contexts import check_rows, shared_context
from tests.support.families import FAMILIES
from tests.support.oracles import methods as oracles

PROMPTS = [[5, 9, 11, 30, 7, 40, 3, 22, 17, 6, 33], [8, 8, 3], [12]]
WINDOWED = [family for family in FAMILIES if "window" in str(family) and family.dtype == torch.float64]
MODELS = [tiny.gpt2(), tiny.llama(), *(family.model() for family in WINDOWED if "no window" not in str(family))]


@pytest.fixture(params=["as it is", "split at once", "small blocks"])
def limits(request, monkeypatch):
    """Where a tree splits, and where buffers grow and windows move on, changes nothing."""
    if request.param == "split at once":
        monkeypatch.setattr(prefix_sharing, "SLACK", -1000)
    if request.param == "small blocks":
        monkeypatch.setattr(prefix_sharing, "BLOCK", 1)
        monkeypatch.setattr(slot_layer, "BLOCK", 1)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.config.model_type)
@pytest.mark.usefixtures("limits")
@settings(max_examples=12, deadline=None, suppress_health_check=["function_scoped_fixture"])
@given(st.data())
def test_random_programs_equal_a_recomputation(model, data):
    prompts = data.draw(st.permutations(PROMPTS))[: data.draw(st.integers(1, 3))]
    texts, rows = [list(p) for p in prompts], shared_context(model, prompts)
    continuation = torch.zeros(len(prompts), 0, dtype=torch.long)
    rows(continuation)
    for _ in range(data.draw(st.integers(2, 9))):
        how = data.draw(st.sampled_from(["fork", "merge", "any", "stay"]))
        if how == "fork":
            n = data.draw(st.integers(2, 4))
            chosen = [row for row in range(len(texts)) for _ in range(n)][:12]
        elif how == "merge":
            chosen = sorted(data.draw(st.sets(st.integers(0, len(texts) - 1), min_size=1)))
        else:
            chosen = data.draw(st.lists(st.integers(0, len(texts) - 1), min_size=1, max_size=6))
        if how != "stay":
            rows.select(torch.tensor(chosen))
            texts, continuation = [list(texts[row]) for row in chosen], continuation[chosen]
        for _ in range(data.draw(st.integers(0, 3))):
            column = data.draw(st.lists(st.integers(3, 60), min_size=len(texts), max_size=len(texts)))
            texts = [[*text, token] for text, token in zip(texts, column, strict=True)]
            continuation = torch.cat([continuation, torch.tensor(column)[:, None]], dim=1)
        if data.draw(st.booleans()):
            rows.read(continuation)
            check_mask(rows, continuation)
    check_rows(rows, continuation, model, texts)
    assert rows._state.tree is not None or continuation.shape[1] == 0


def check_mask(rows, continuation):
    assert rows.mask.shape[0] == len(continuation)
    assert rows.states.shape[:2] == rows.mask.shape


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.config.model_type)
@pytest.mark.usefixtures("limits")
def test_the_plain_cache_of_a_tree_is_one_of_the_models_own(model):
    """After forks and choices the cache goes on as one that was read in the ordinary way."""
    rows = shared_context(model, PROMPTS)
    rows(torch.zeros(3, 0, dtype=torch.long))
    rows.select(torch.arange(3).repeat_interleave(4))
    rows.read(torch.arange(3, 15)[:, None])
    rows.select(torch.tensor([1, 1, 6, 8]))
    column = torch.tensor([[4, 30], [4, 31], [9, 9], [11, 60]])
    rows.read(column)
    cache = rows.close(3)
    kinds = {type(layer).__name__ for layer in cache.layers}
    assert kinds <= {"DynamicLayer", "DynamicSlidingWindowLayer"}
    mask, new = rows.mask, torch.tensor([[7], [8], [9], [10]])
    position = (mask.cumsum(-1)[:, -1:]).clamp(min=0)
    mask = torch.cat([mask, mask.new_ones(4, 1)], dim=1)
    out = model(input_ids=new, attention_mask=mask, position_ids=position, **{CACHE: cache}, use_cache=True)
    for row, owner in enumerate([0, 0, 1, 2]):
        text = PROMPTS[owner] + column[row].tolist() + new[row].tolist()
        torch.testing.assert_close(out.logits[row, -1].float(), oracles.read(model, text)[0], rtol=1e-4, atol=1e-5)


def test_a_fork_and_the_choice_of_winners_copy_no_cache():
    model = tiny.llama()
    rows = shared_context(model, PROMPTS)
    rows(torch.zeros(3, 0, dtype=torch.long))
    rows.select(torch.arange(3).repeat_interleave(5))
    rows.read(torch.arange(3, 18)[:, None])
    cache, moved = rows._state.tree.cache, []
    buffers = [layer.buffers[0].data_ptr() for layer in cache.layers]
    for layer in rows._state.tree.layers:
        layer.keep_slots = lambda *args, layer=layer: (moved.append(args), type(layer).keep_slots(layer, *args))
    rows.select(torch.tensor([3, 5, 12]))
    continuation = torch.tensor([[6], [8], [15]])
    rows.read(torch.cat([continuation, continuation], dim=1))
    assert [layer.buffers[0].data_ptr() for layer in cache.layers] == buffers
    assert cache.layers[0].keys.shape == (3, 1, 11 + 2, 16)
    assert all(cache_rows is None and order.shape == (3, 1) for cache_rows, _, order, _ in moved)


def test_samples_share_the_prompt_until_they_are_too_long_for_it(monkeypatch):
    model, widths = tiny.llama(), []
    rows = shared_context(model, PROMPTS[:1])
    rows(torch.zeros(1, 0, dtype=torch.long))
    rows.select(torch.zeros(6, dtype=torch.long))
    monkeypatch.setattr(prefix_sharing, "SLACK", 12)
    continuation = torch.zeros(6, 0, dtype=torch.long)
    for i in range(12):
        continuation = torch.cat([continuation, torch.arange(6)[:, None] + 3 + i], dim=1)
        rows.read(continuation)
        widths.append(rows._state.tree.visible.shape[1])
    assert widths[0] == 6
    assert widths[-1] == 1
    check_rows(rows, continuation, model, [PROMPTS[0] + row for row in continuation.tolist()])


# What each family does, seen here and not looked up: those that take a mask of their caller's, and no others.


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_half_precision_shares_too(attention, dtype):
    model = tiny.llama().to(dtype)
    model.set_attn_implementation(attention)
    inputs = tiny.batch([PROMPTS[0], PROMPTS[1]])
    out = decoding.generate(model, **inputs, processors=[ContrastiveSearch(k=3)], max_new_tokens=6)
    assert out.shape[1] <= 17
    assert [seen.shares for seen in PROBED.of_model(model).values()] == [True]


def test_the_switch_forces_either_path():
    model, shapes = tiny.llama(), []
    model.register_forward_pre_hook(lambda _, args, kwargs: shapes.append(kwargs["input_ids"].shape), with_kwargs=True)
    call = {"input_ids": torch.tensor([PROMPTS[0]]), "processors": [ContrastiveSearch(k=4)], "max_new_tokens": 2}
    outs = [decoding.generate(model, **call, share=share) for share in (False, True)]
    assert shapes == [(1, 11), (4, 1), (4, 1), (1, 11), (1, 4), (1, 4)]
    assert torch.equal(*outs)
    assert not PROBED.of_model(model)


def test_reranking_gives_the_same_on_both_paths():
    model, tokenizer = tiny.llama(), tiny.tokenizer()
    scorer = lambda prefixes, texts: [float(sum(map(ord, text)) % 97) for text in texts]
    part = Rerank(scorer, every=3, samples=4, beams=2, tokenizer=tokenizer)
    inputs = tiny.batch(PROMPTS)
    outs = [
        decoding.generate(
            model, **inputs, processors=[part], max_new_tokens=11, top_k=0, share=share,
            generator=torch.Generator().manual_seed(3),
        )
        for share in (False, True, None)
    ]  # fmt: skip
    assert torch.equal(outs[0], outs[1])
    assert torch.equal(outs[0], outs[2])
