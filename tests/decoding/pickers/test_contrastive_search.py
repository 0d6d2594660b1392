"""Contrastive search equals its oracle token for token: alone, batched, left-padded, composed."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

import decoding
from decoding import ContrastiveSearch, Decoder
from decoding.testing import check_picker
from tests.support import tiny
from tests.support.calls import MODELS, PROMPTS, continuations, search
from tests.support.oracles import methods as oracles
from tests.support.oracles import parts as part_oracles
from tests.support.oracles.processors import slow_processors
from tests.support.stub_parts import Mix


def test_equals_its_oracle_wherever_it_is_used():
    check_picker(decoding.ContrastiveSearch(4, 0.6), part_oracles.contrastive_search(4, 0.6))


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize(("k", "alpha"), [(4, 0.6), (1, 0.6), (5, 0.0), (3, 1.0), (61, 0.9)])
def test_equals_oracle_alone_and_in_a_padded_batch(make, k, alpha):
    model = make()
    expected = [oracles.contrastive_search(model, prompt, 10, k, alpha) for prompt in PROMPTS]
    assert search(model, PROMPTS, ContrastiveSearch(k, alpha)) == expected
    assert [search(model, [prompt], ContrastiveSearch(k, alpha))[0] for prompt in PROMPTS] == expected


@settings(max_examples=25, deadline=None)
@given(
    prompts=st.lists(st.lists(st.integers(3, 60), min_size=1, max_size=12), min_size=1, max_size=4),
    k=st.integers(1, 12),
    alpha=st.floats(0, 1),
    make=st.sampled_from(MODELS),
    seed=st.integers(0, 3),
)
def test_equals_oracle_for_any_shapes_paddings_k_and_alpha(prompts, k, alpha, make, seed):
    model = make(seed)
    expected = [oracles.contrastive_search(model, prompt, 5, k, alpha) for prompt in prompts]
    assert search(model, prompts, ContrastiveSearch(k, alpha), n=5) == expected


@pytest.mark.parametrize("make", MODELS)
def test_k_1_and_alpha_0_are_greedy(make):
    model = make()
    inputs = tiny.batch(PROMPTS)
    greedy = continuations(model.generate(**inputs, max_new_tokens=10, do_sample=False), inputs)
    assert search(model, PROMPTS, ContrastiveSearch(k=1)) == greedy
    assert search(model, PROMPTS, ContrastiveSearch(k=7, alpha=0)) == greedy
    assert search(model, PROMPTS, ContrastiveSearch(k=4, alpha=0.9)) != greedy


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize(("k", "alpha"), [(4, 0.6), (8, 0.9)])
def test_guide_in_front_with_contexts_of_its_own(make, k, alpha):
    """p is the guided distribution; two guides' contexts follow every fork and choice."""
    model, first, second = make(0), Mix(make(1), 0.5), Mix(make(2), 0.3)
    prompts = [prompt for prompt in PROMPTS if len(prompt) > 2]

    def both(prompt):
        one, two = first.slowly(model, prompt), second.slowly(model, prompt)
        return lambda ids, logits: two(ids, one(ids, logits))

    expected = [oracles.contrastive_search(model, p, 10, k, alpha, guide=both(p)) for p in prompts]
    assert search(model, prompts, first, second, ContrastiveSearch(k, alpha)) == expected


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize(
    ("options", "processors"),
    [
        ({"repetition_penalty": 1.4}, [RepetitionPenaltyLogitsProcessor(1.4)]),
        ({"no_repeat_ngram_size": 2}, [NoRepeatNGramLogitsProcessor(2)]),
        ({"do_sample": True, "temperature": 2.5, "top_k": 0}, [TemperatureLogitsWarper(2.5)]),
        ({"do_sample": True, "top_p": 0.5, "top_k": 0}, [TopPLogitsWarper(0.5)]),
        (
            {"do_sample": True, "temperature": 0.3, "top_p": 0.8, "repetition_penalty": 1.2, "top_k": 0},
            [RepetitionPenaltyLogitsProcessor(1.2), TemperatureLogitsWarper(0.3), TopPLogitsWarper(0.8)],
        ),
    ],
)
def test_transformers_processors_as_options_and_as_parts(make, options, processors):
    """Penalties always shape p; warpers do where a caller says do_sample=True, as in transformers itself."""
    model, prompts = make(), [[7, 7, 9], *PROMPTS]
    guides = {i: slow_processors(*processors) for i in range(len(prompts))}
    expected = [oracles.contrastive_search(model, p, 10, 4, 0.6, guide=guides[i]) for i, p in enumerate(prompts)]
    assert [search(model, [p], ContrastiveSearch(4, 0.6), **options)[0] for p in prompts] == expected
    assert [search(model, [p], *processors, ContrastiveSearch(4, 0.6))[0] for p in prompts] == expected


def test_forbidden_tokens_are_never_taken_however_few_are_left():
    model, allowed = tiny.gpt2(), [5, 17]
    options = {"prefix_allowed_tokens_fn": lambda row, ids: allowed}
    rows = search(model, PROMPTS, ContrastiveSearch(k=8, alpha=0.9), **options)
    assert {token for row in rows for token in row} <= set(allowed)


def test_temperature_without_sampling_changes_nothing_as_in_transformers():
    model = tiny.gpt2()
    assert search(model, PROMPTS, ContrastiveSearch(), temperature=3.0) == search(model, PROMPTS, ContrastiveSearch())


@pytest.mark.parametrize("make", MODELS)
def test_one_forward_a_token(make):
    """The candidates of a row are positions of one row; on the general path, rows. The first call asks which it is."""
    model, shapes = make(), []
    model.register_forward_pre_hook(lambda _, args, kwargs: shapes.append(kwargs["input_ids"].shape), with_kwargs=True)
    call = {"n": 6, "min_new_tokens": 6}
    search(model, PROMPTS, ContrastiveSearch(k=4), **call)
    assert shapes == [(3, 9), (3, 1)] + [(3, 4)] * 6
    shapes.clear()
    search(model, PROMPTS, ContrastiveSearch(k=4), **call)
    assert shapes == [(3, 9)] + [(3, 4)] * 6
    shapes.clear()
    search(model, PROMPTS, ContrastiveSearch(k=4), **call, share=False)
    assert shapes == [(3, 9)] + [(12, 1)] * 6


def test_penalty_leaves_out_padding_and_counts_the_prompt():
    past = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    ahead = torch.tensor([[[1.0, 0.0], [0.6, 0.8]]])
    penalty = decoding.degeneration_penalty
    torch.testing.assert_close(penalty(ahead, past, torch.tensor([[0, 1]])), torch.tensor([[0.0, 0.8]]))
    torch.testing.assert_close(penalty(ahead, past, torch.tensor([[1, 1]])), torch.tensor([[1.0, 0.8]]))


def test_without_a_cache_it_is_the_same():
    model = tiny.llama()
    with_cache = search(model, PROMPTS, ContrastiveSearch())
    assert search(model, PROMPTS, ContrastiveSearch(), use_cache=False) == with_cache


@pytest.mark.parametrize("k", [0, -1, 2.5, True, "4"])
def test_refuses_k(k):
    with pytest.raises(ValueError, match="k must be a whole number"):
        ContrastiveSearch(k=k)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_refuses_alpha(alpha):
    with pytest.raises(ValueError, match=r"alpha must lie in \[0, 1\]"):
        ContrastiveSearch(alpha=alpha)


def test_refuses_k_over_the_vocabulary_before_any_forward():
    model = tiny.gpt2()
    model.register_forward_pre_hook(lambda *_: pytest.fail("a forward was run"))
    with pytest.raises(ValueError, match="k=62 is over the model's vocabulary of 61 tokens"):
        search(model, PROMPTS, ContrastiveSearch(k=62))


def test_frozen_and_reusable():
    model, decoder = tiny.gpt2(), Decoder(Mix(tiny.gpt2(1)), ContrastiveSearch())
    inputs = tiny.batch([PROMPTS[0], PROMPTS[2]])
    runs = [model.generate(**inputs, max_new_tokens=8, custom_generate=decoder) for _ in range(2)]
    fresh = model.generate(**inputs, max_new_tokens=8, custom_generate=Decoder(Mix(tiny.gpt2(1)), ContrastiveSearch()))
    assert torch.equal(runs[0], runs[1])
    assert torch.equal(runs[0], fresh)
