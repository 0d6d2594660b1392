"""Whatever program of calls and selections: a context says what a plain forward over each row's text says."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decoding import Context
from decoding.engine.transformers_api import DEFAULT_CACHE_NAME as CACHE
from tests.support import tiny
from tests.support.contexts import check_rows
from tests.support.oracles import methods as oracles

PROMPTS = [[5, 9, 11, 30, 7], [8, 8, 3], [12]]
MODELS = [tiny.gpt2(), tiny.llama()]


def make(model, prompts, **options) -> Context:
    """A context as transformers prepares it for a decoder."""

    def take(model, input_ids, logits_processor, stopping_criteria, generation_config, **prepared):
        return Context(model, input_ids, generation_config, keep_states=True, **prepared)

    return model.generate(**tiny.batch(prompts), custom_generate=take, max_new_tokens=50, **options)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_random_programs_of_feeding_and_selecting_equal_a_recomputation(data):
    model = data.draw(st.sampled_from(MODELS))
    context = make(model, PROMPTS, use_cache=data.draw(st.booleans()))
    texts, continuation = [list(p) for p in PROMPTS], torch.zeros(len(PROMPTS), 0, dtype=torch.long)
    before_reading = data.draw(st.booleans())
    if not before_reading:
        context(continuation)
    for _ in range(data.draw(st.integers(1, 6))):
        if data.draw(st.booleans()):
            rows = data.draw(st.lists(st.integers(0, len(texts) - 1), min_size=1, max_size=6))
            context.select(torch.tensor(rows))
            texts, continuation = [list(texts[row]) for row in rows], continuation[rows]
        for _ in range(data.draw(st.integers(0, 2))):
            column = data.draw(st.lists(st.integers(3, 60), min_size=len(texts), max_size=len(texts)))
            texts = [[*text, token] for text, token in zip(texts, column, strict=True)]
            continuation = torch.cat([continuation, torch.tensor(column)[:, None]], dim=1)
        if data.draw(st.booleans()):  # else let selections and tokens pile up
            check_rows(context, continuation, model, texts)
    check_rows(context, continuation, model, texts)


def test_only_new_tokens_are_fed_and_lazily():
    model, shapes = tiny.llama(), []
    model.register_forward_pre_hook(lambda _, args, kwargs: shapes.append(kwargs["input_ids"].shape), with_kwargs=True)
    for _ in range(2):  # the first time, a step is taken twice, to compare
        shapes.clear()
        context = make(model, PROMPTS)
        context(torch.zeros(3, 0, dtype=torch.long))
        context(torch.zeros(3, 0, dtype=torch.long))
        context.select(torch.tensor([0, 0, 1, 1, 2, 2]))
        context.select(torch.tensor([0, 3, 5]))
        context(torch.full((3, 3), 7))
    assert shapes == [(3, 5), (3, 3)]


def test_a_pure_fork_and_its_merge_copy_no_cache(monkeypatch):
    context, gathered = make(tiny.llama(), PROMPTS), []
    context.share = False  # the general path, whose rows are the cache's
    context(torch.zeros(3, 0, dtype=torch.long))
    cache = context._state.cache[CACHE]
    monkeypatch.setattr(cache, "reorder_cache", gathered.append)
    context.select(torch.tensor([0, 0, 1, 1, 2, 2]))
    context.select(torch.tensor([1, 2, 5]))
    context(torch.full((3, 1), 7))
    assert gathered == []


def test_of_prepares_any_prompt_of_any_model():
    for model in MODELS:
        inputs = tiny.batch(PROMPTS)
        context = Context.of(model, inputs["input_ids"], inputs["attention_mask"])
        logits = context(torch.tensor([[7], [9], [11]]))
        for row, (prompt, token) in enumerate(zip(PROMPTS, [7, 9, 11], strict=True)):
            torch.testing.assert_close(logits[row], oracles.read(model, [*prompt, token])[0], rtol=1e-5, atol=1e-5)


def test_states_must_be_asked_for():
    context = Context.of(tiny.gpt2(), torch.tensor([PROMPTS[0]]))
    context(torch.zeros(1, 0, dtype=torch.long))
    with pytest.raises(RuntimeError, match="keep_states=True"):
        _ = context.states


def test_closing_puts_everything_into_the_order_of_the_rows():
    model = tiny.llama()
    context = make(model, PROMPTS, output_hidden_states=True, return_dict_in_generate=True)
    context(torch.zeros(3, 0, dtype=torch.long))
    context.select(torch.tensor([2, 0]))
    before = context.logits, context.outputs["hidden_states"][0]
    cache = context.close(1)
    assert cache.layers[0].keys.shape[0] == 2
    torch.testing.assert_close(context.logits, before[0], rtol=0, atol=0)
    torch.testing.assert_close(context.outputs["hidden_states"][0], before[1], rtol=0, atol=0)
    assert torch.equal(context.prompt, tiny.batch(PROMPTS)["input_ids"][[2, 0]])


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.config.model_type)
def test_half_precision_models_have_logits_and_states_in_float32(model):
    half = type(model)(model.config).to(torch.bfloat16).eval()
    context = make(half, PROMPTS)
    context(torch.zeros(3, 0, dtype=torch.long))
    assert context.logits.dtype == context.states.dtype == torch.float32
    torch.testing.assert_close(context.states[:, -1].norm(dim=-1), torch.ones(3))
