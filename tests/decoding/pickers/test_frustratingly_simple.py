"""Frustratingly simple decoding equals its oracle token for token."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import RepetitionPenaltyLogitsProcessor

import decoding
from decoding import Context, Decoder, FrustratinglySimple, Guide, Rerank
from decoding.engine.batched_contexts import ContextSlice
from decoding.pickers.frustratingly_simple import ngram_probability
from decoding.testing import check_picker
from tests.support import tiny
from tests.support.calls import MODELS, PROMPTS, search
from tests.support.oracles import methods as oracles
from tests.support.oracles import parts as part_oracles
from tests.support.oracles.pickers import frustratingly_simple, smoothed
from tests.support.oracles.processors import slow_processors
from tests.support.stub_parts import Mix

LOOPS = [[7, 7, 9, 7, 7, 9, 7], *PROMPTS]
WAYS = [(3, 0.65, 3, 0.9), (6, 0.9, 2, 0.5), (4, 1.0, 1, 0.9), (61, 0.7, 5, 1.0), (1, 0.9, 3, 0.9), (5, 0.0, 3, 0.9)]


def test_equals_its_oracle_wherever_it_is_used():
    check_picker(decoding.FrustratinglySimple(4, 0.5, 2), part_oracles.frustratingly_simple(4, 0.5, 2, 0.9))


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("way", WAYS)
def test_equals_oracle_alone_and_in_a_padded_batch(make, way):
    model = make()
    expected = [frustratingly_simple(model, prompt, 12, *way) for prompt in LOOPS]
    assert search(model, LOOPS, FrustratinglySimple(*way), n=12) == expected
    assert [search(model, [p], FrustratinglySimple(*way), n=12)[0] for p in LOOPS] == expected


@settings(max_examples=10, deadline=None)
@given(
    prompts=st.lists(st.lists(st.integers(3, 9), min_size=1, max_size=12), min_size=1, max_size=3),
    k=st.integers(1, 9),
    alpha=st.floats(0, 1),
    n=st.integers(1, 5),
    beta=st.floats(0.1, 1),
    make=st.sampled_from(MODELS),
)
def test_equals_oracle_for_any_shapes_and_numbers(prompts, k, alpha, n, beta, make):
    model = make()
    expected = [frustratingly_simple(model, prompt, 6, k, alpha, n, beta) for prompt in prompts]
    assert search(model, prompts, FrustratinglySimple(k, alpha, n, beta), n=6) == expected


@pytest.mark.parametrize("make", MODELS)
def test_guides_and_processors_in_front(make):
    model, mix = make(), Mix(make(1))
    prompts = [prompt for prompt in LOOPS if len(prompt) > 2]
    after = slow_processors(RepetitionPenaltyLogitsProcessor(0.7))

    def guide(prompt):
        slow = mix.slowly(model, prompt)
        return lambda ids, logits: after(ids, slow(ids, logits))

    expected = [frustratingly_simple(model, p, 12, 4, 0.8, 3, 0.9, guide=guide(p)) for p in prompts]
    assert search(model, prompts, mix, FrustratinglySimple(4, 0.8), n=12, repetition_penalty=0.7) == expected


class Others(Guide):
    """Less of what other prompts would say, read in one forward with the main ones and padded otherwise."""

    def __init__(self, prompts):
        self.prompts = tiny.batch(prompts)

    def contexts(self, main):
        return [Context.of(main.model, self.prompts["input_ids"], self.prompts["attention_mask"])]

    def __call__(self, tokens, logits, other):
        return 1.5 * logits - 0.5 * other


def test_padding_is_known_where_prompts_are_read_jointly(monkeypatch):
    model, calls = tiny.llama(), []
    call = ContextSlice.__call__
    counted = lambda self, continuation: (calls.append(1), call(self, continuation))[1]
    monkeypatch.setattr(ContextSlice, "__call__", counted)
    main = [[7, 7, 9, 7, 7], [7, 7, 9, 7, 7, 9, 7]]
    others = [[0, 7, 9, 0, 0, 0, 7], [7, 7, 8]]

    def guide(prompt, other):
        return lambda ids, logits: 1.5 * logits - 0.5 * oracles.read(model, other + ids[len(prompt) :])[0]

    expected = [
        frustratingly_simple(model, prompt, 16, 4, 0.9, 3, 0.9, guide=guide(prompt, other))
        for prompt, other in zip(main, others, strict=True)
    ]
    assert search(model, main, Others(others), FrustratinglySimple(4, 0.9), n=16) == expected
    assert calls


def test_exempt_tokens_come_again_unpunished():
    model, exempt = tiny.gpt2(), [7, 9, 40]
    ways = [frustratingly_simple(model, p, 16, 4, 0.9, 2, 0.9, exempt=exempt) for p in LOOPS]
    assert search(model, LOOPS, FrustratinglySimple(4, 0.9, 2, exempt=exempt), n=16) == ways
    every = range(tiny.VOCABULARY)
    greedy = [oracles.greedy(model, p, 16) for p in LOOPS]
    assert search(model, LOOPS, FrustratinglySimple(4, 0.9, 2, exempt=every), n=16) == greedy != ways


def test_it_repeats_less_than_greedy_search():
    model = tiny.llama()
    options = {"n": 60, "suppress_tokens": [tiny.EOS]}
    kinds = [
        sum(len(set(pairwise(row))) for row in search(model, LOOPS, part, **options))
        for part in (FrustratinglySimple(k=1), FrustratinglySimple())
    ]
    assert kinds[1] > kinds[0]


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=14),
    st.integers(0, 5),
    st.integers(1, 6),
    st.floats(0.1, 1),
)
def test_the_ngram_model_is_the_slow_one_behind_any_padding(ids, padding, n, beta):
    tokens = torch.tensor([[ids[0]] * padding + ids])  # padding that looks like text
    mask = torch.arange(tokens.shape[1])[None] >= padding
    candidates = torch.arange(5)[None]
    expected = torch.tensor([[smoothed(ids, v, n, beta) for v in range(5)]], dtype=torch.float64)
    torch.testing.assert_close(ngram_probability(tokens, mask, candidates, n, beta), expected)


def test_what_a_mask_leaves_out_is_not_between_two_tokens():
    model, text = tiny.gpt2(), [7, 9, 7, 9, 40, 7]
    ids = torch.tensor([[7, 0, 9, 7, 33, 9, 40, 12, 7], [0, 0, 0, *text]])
    mask = torch.tensor([[1, 0, 1, 1, 0, 1, 1, 0, 1], [0, 0, 0, *[1] * 6]])
    part, said = FrustratinglySimple(3, 0.9), torch.tensor([7, 9, 40])
    few = lambda tokens, logits: torch.full_like(logits, -torch.inf).index_copy(1, said, logits[:, said] / 9)
    rows = decoding.generate(model, ids, attention_mask=mask, processors=[few, part], max_new_tokens=12)[:, 9:]
    expected = frustratingly_simple(
        model, text, 12, 3, 0.9, 3, 0.9, guide=lambda ids, logits: few(None, logits[None])[0]
    )  # fmt: skip
    assert rows.tolist() == [expected] * 2


def test_forbidden_tokens_are_never_taken_however_few_are_left():
    options = {"prefix_allowed_tokens_fn": lambda row, ids: [5, 17]}
    rows = search(tiny.gpt2(), PROMPTS, FrustratinglySimple(k=8, alpha=1.0), **options)
    assert {token for row in rows for token in row} <= {5, 17}


@pytest.mark.parametrize("make", MODELS)
def test_one_forward_of_one_row_a_token(make):
    model, shapes = make(), []
    model.register_forward_pre_hook(lambda _, args, kwargs: shapes.append(kwargs["input_ids"].shape), with_kwargs=True)
    search(model, PROMPTS, FrustratinglySimple(), n=6, min_new_tokens=6)
    assert shapes == [(3, 9)] + [(3, 1)] * 5


def test_copies_of_a_reranker_begin_with_the_best_choices_in_turn():
    seen = []
    judge = lambda prefixes, texts: seen.extend(texts) or [0.0] * len(texts)
    rerank = Rerank(judge, every=1, samples=3, beams=1, tokenizer=tiny.tokenizer())
    search(tiny.gpt2(), [PROMPTS[0]], FrustratinglySimple(), rerank, n=1)
    assert len(set(seen)) == 3


def test_a_prompt_of_embeddings_is_no_text():
    """What was said is all there is to count, as if the continuation had begun the text."""
    model, prompts, new = tiny.gpt2(), [PROMPTS[1], PROMPTS[2]], 30
    inputs = tiny.batch(prompts)
    embedded = model.get_input_embeddings()(inputs["input_ids"]).detach()
    rows = model.generate(
        inputs_embeds=embedded, attention_mask=inputs["attention_mask"], max_new_tokens=new,
        suppress_tokens=[tiny.EOS], custom_generate=Decoder(FrustratinglySimple(3, 0.9)),
    ).tolist()  # fmt: skip
    for prompt, row in zip(prompts, rows, strict=True):
        for place in range(new):
            guided = oracles.read(model, [*prompt, *row[:place]])[0]
            guided[tiny.EOS] = -torch.inf
            p, top = guided.softmax(-1), guided.topk(3).indices.tolist()
            assert row[place] == max(top, key=lambda v: 0.1 * float(p[v]) - 0.9 * smoothed(row[:place], v, 3, 0.9))


def test_step_scores_are_what_it_maximises():
    model, ids = tiny.gpt2(), list(LOOPS[0])
    decoder = Decoder(FrustratinglySimple(3, 0.65))
    for step in decoder.stream(model, **tiny.batch([ids]), max_new_tokens=5):
        v, p = int(step.tokens), oracles.read(model, ids)[0].softmax(-1)
        expected = 0.35 * float(p[v]) - 0.65 * smoothed(ids, v, 3, 0.9)
        assert float(step.scores) == pytest.approx(expected, abs=1e-6)
        ids.append(v)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "k must be"), ({"n": 0}, "n must be"), ({"n": True}, "n must be"), ({"alpha": 2}, "alpha must lie"),
        ({"alpha": float("nan")}, "alpha must lie"), ({"beta": 0.0}, "beta must be"), ({"beta": 1.1}, "beta must be"),
    ],
)  # fmt: skip
def test_refuses_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        FrustratinglySimple(**arguments)


def test_refuses_k_over_the_vocabulary_before_any_forward():
    model = tiny.gpt2()
    model.register_forward_pre_hook(lambda *_: pytest.fail("a forward was run"))
    with pytest.raises(ValueError, match="k=62 is over the model's vocabulary of 61 tokens"):
        search(model, PROMPTS, FrustratinglySimple(k=62))
