"""Adaptive contrastive search equals its oracle token for token, each row with its own k and alpha."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import RepetitionPenaltyLogitsProcessor, TemperatureLogitsWarper

import decoding
from decoding import AdaptiveContrastiveSearch, ContrastiveSearch, Decoder, Rerank
from decoding.pickers.adaptive_contrastive_search import certainty
from decoding.testing import check_picker
from tests.support import tiny
from tests.support.calls import MODELS, PROMPTS, search
from tests.support.oracles import parts as part_oracles
from tests.support.oracles.pickers import adaptive_contrastive_search
from tests.support.oracles.processors import slow_processors
from tests.support.stub_parts import Mix

WAYS = [(1.0, 5, 15), (8.0, 5, 15), (20.0, 2, 25)]


def test_equals_its_oracle_wherever_it_is_used():
    check_picker(decoding.AdaptiveContrastiveSearch(2.0, 2, 4), part_oracles.adaptive_contrastive_search(2.0, 2, 4))


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize(("q", "low", "high"), WAYS)
def test_equals_oracle_alone_and_in_a_padded_batch(make, q, low, high):
    model = make()
    expected = [adaptive_contrastive_search(model, prompt, 7, q, low, high)[0] for prompt in PROMPTS]
    assert search(model, PROMPTS, AdaptiveContrastiveSearch(q, low, high), n=7) == expected
    assert [search(model, [p], AdaptiveContrastiveSearch(q, low, high), n=7)[0] for p in PROMPTS] == expected


def test_rows_of_these_cases_differ_in_k_and_alpha():
    told = [adaptive_contrastive_search(tiny.gpt2(), prompt, 8, 8.0, eos=None) for prompt in PROMPTS]
    steps = list(zip(*(ks for _, ks, _ in told), strict=True))
    assert any(len(set(ks)) > 1 for ks in steps)
    assert {ks[0] for _, ks, _ in told} == {10}
    assert {alphas[0] for _, _, alphas in told} == {0.5}
    assert len({round(alpha, 6) for _, _, alphas in told for alpha in alphas}) > 10


@settings(max_examples=10, deadline=None)
@given(
    prompts=st.lists(st.lists(st.integers(3, 60), min_size=1, max_size=12), min_size=1, max_size=3),
    q=st.floats(0, 10),
    range_of_k=st.tuples(st.integers(2, 20), st.integers(2, 20)).map(sorted),
    make=st.sampled_from(MODELS),
    seed=st.integers(0, 3),
)
def test_equals_oracle_for_any_shapes_paddings_q_and_k(prompts, q, range_of_k, make, seed):
    model = make(seed)
    expected = [adaptive_contrastive_search(model, prompt, 4, q, *range_of_k)[0] for prompt in prompts]
    assert search(model, prompts, AdaptiveContrastiveSearch(q, *range_of_k), n=4) == expected


@pytest.mark.parametrize("make", MODELS)
def test_guides_and_processors_in_front(make):
    model, mix = make(), Mix(make(1))
    prompts = [prompt for prompt in PROMPTS if len(prompt) > 2]
    after = slow_processors(RepetitionPenaltyLogitsProcessor(1.3), TemperatureLogitsWarper(1.5))

    def guide(prompt):
        slow = mix.slowly(model, prompt)
        return lambda ids, logits: after(ids, slow(ids, logits))

    expected = [adaptive_contrastive_search(model, p, 8, 4.0, guide=guide(p))[0] for p in prompts]
    options = {"do_sample": True, "temperature": 1.5, "repetition_penalty": 1.3, "top_k": 0}
    assert search(model, prompts, mix, AdaptiveContrastiveSearch(4.0), n=8, **options) == expected


def test_without_an_answer_to_entropy_it_is_contrastive_search():
    model = tiny.llama()
    assert search(model, PROMPTS, AdaptiveContrastiveSearch(0)) == search(model, PROMPTS, ContrastiveSearch(10, 0.5))


def test_forbidden_tokens_are_never_taken_however_few_are_left():
    model, allowed = tiny.gpt2(), [5, 17]
    options = {"prefix_allowed_tokens_fn": lambda row, ids: allowed}
    rows = search(model, PROMPTS, AdaptiveContrastiveSearch(), **options)
    assert {token for row in rows for token in row} <= set(allowed)


def test_forbidden_tokens_are_never_taken_even_where_alpha_is_all_but_1():
    """One token at first, then two: the entropy of the top k jumps, and p hardly counts."""
    options = {"prefix_allowed_tokens_fn": lambda row, ids: [5] if len(ids) < 12 else [5, 17]}
    for make in MODELS:
        rows = search(make(), PROMPTS, AdaptiveContrastiveSearch(20.0), n=12, **options)
        assert {token for row in rows for token in row} <= {5, 17}


def test_step_scores_are_what_it_maximises():
    model, inputs = tiny.gpt2(), tiny.batch(PROMPTS)
    ways = [
        torch.stack([step.scores for step in Decoder(part).stream(model, **inputs, max_new_tokens=5)])
        for part in (AdaptiveContrastiveSearch(0), ContrastiveSearch(10, 0.5))
    ]
    torch.testing.assert_close(*ways)


def test_history_follows_rows_that_a_reranker_moves():
    """Swapped and copied rows go on as they would have gone on where they were."""
    model, first, second = tiny.gpt2(), PROMPTS[0], PROMPTS[2]

    class Swap(decoding.Reranker):
        width = 2

        def __call__(self, hypotheses):
            place = hypotheses.continuation.shape[1]
            return torch.tensor([1, 0, 3, 2]) if place in (2, 3) else None

        def best(self, hypotheses):
            return torch.tensor([0, 2])

    part, options = AdaptiveContrastiveSearch(8.0), {"suppress_tokens": [tiny.EOS]}
    assert search(model, [first, second], part, Swap(), n=8, **options) == search(
        model, [first, second], part, n=8, **options
    )


def test_copies_of_a_reranker_begin_with_the_best_choices_in_turn():
    model, seen = tiny.gpt2(), []
    judge = lambda prefixes, texts: seen.extend(texts) or [0.0] * len(texts)
    rerank = Rerank(judge, every=1, samples=3, beams=1, tokenizer=tiny.tokenizer())
    search(model, [PROMPTS[0]], AdaptiveContrastiveSearch(), rerank, n=1)
    assert len(set(seen)) == 3


@pytest.mark.parametrize("make", MODELS)
def test_one_forward_a_token_of_as_many_rows_as_the_largest_k_needs(make):
    model, shapes = make(), []
    expected = zip(*(adaptive_contrastive_search(model, p, 6, 8.0, eos=None)[1] for p in PROMPTS), strict=True)
    search(model, PROMPTS, AdaptiveContrastiveSearch(8.0), n=1)  # asks what the model can do
    model.register_forward_pre_hook(lambda _, args, kwargs: shapes.append(kwargs["input_ids"].shape), with_kwargs=True)
    search(model, PROMPTS, AdaptiveContrastiveSearch(8.0), n=6, eos_token_id=-1, pad_token_id=0)
    assert len(shapes) == 7
    assert [rows * width for rows, width in shapes[1:]] == [3 * max(ks) for ks in expected]


def test_certainty_takes_the_mean_of_the_middle_two_and_bears_the_extremes():
    one = torch.ones(1, dtype=torch.float64)
    before = torch.tensor([[0.1, 0.7, 0.3, 0.5]], dtype=torch.float64)
    expected = 1 / (1 + (((1 - 0.3) / (1 + 0.3)) ** 0.5) ** 2)  # sigma(2 artanh x) = 1 / (1 + (1 - x) / (1 + x))
    torch.testing.assert_close(certainty(one * 0.7, before, 1.0, 2.0), one * expected)
    assert certainty(one, before * 0, 1.0, 1.0) == 1
    assert certainty(one * 0, before * 0 + 1, 1.0, 1.0) == 0
    assert certainty(one, before * 0, 0.5, 1.0) == 1
    assert certainty(one, before * 0, 1.0, 0.0) == 0.5
    assert certainty(one, before[:, :0], 1.0, 5.0) == 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"q": -1}, "q must be"), ({"q": float("nan")}, "q must be"), ({"q": float("inf")}, "q must be"),
        ({"k_min": 1}, "k_min must be a whole number of at least 2"), ({"k_max": 7.0}, "k_max must be a whole number"),
        ({"k_min": 6, "k_max": 5}, "k_min=6 is over k_max=5"), ({"k_min": True}, "k_min must be"),
    ],
)  # fmt: skip
def test_refuses_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        AdaptiveContrastiveSearch(**arguments)


def test_refuses_k_over_the_vocabulary_before_any_forward():
    model = tiny.gpt2()
    model.register_forward_pre_hook(lambda *_: pytest.fail("a forward was run"))
    with pytest.raises(ValueError, match="k_max=62 is over the model's vocabulary of 61 tokens"):
        search(model, PROMPTS, AdaptiveContrastiveSearch(k_max=62))


def test_a_decoder_keeps_nothing_between_calls():
    model, decoder = tiny.gpt2(), Decoder(AdaptiveContrastiveSearch(8.0))
    inputs = tiny.batch(PROMPTS)
    runs = [model.generate(**inputs, max_new_tokens=8, custom_generate=decoder) for _ in range(2)]
    assert torch.equal(*runs)
