"""Laws of every scorer: whatever the batch, the order, the company or the round, the same text has the same score."""

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import GPT2Config, GPT2ForSequenceClassification, LlamaConfig, LlamaForSequenceClassification

import decoding
from scorers import MBR, Embedding, Function, Gated, Likelihood, Overlap, Pairwise, RankGen, RewardModel, Weighted
from tests.support import tiny
from tests.support.rankgen import MODEL as RANKGEN
from tests.support.rankgen import TOKENIZER as PIECES

WORDS = tiny.tokenizer()
GPT2, LLAMA = tiny.gpt2(), tiny.llama()


def head(kind, config, **sizes):
    """With dropout, and with no padding token of its own."""
    return tiny.seeded(kind(config(vocab_size=tiny.VOCABULARY, num_labels=1, **sizes)))


REWARD = head(LlamaForSequenceClassification, LlamaConfig, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
              num_attention_heads=2, attention_dropout=0.5)  # fmt: skip
DROPPING = head(GPT2ForSequenceClassification, GPT2Config, n_embd=32, n_layer=2, n_head=2, n_positions=64)


class Longer(Pairwise):
    def compare(self, state, owners, first, second):
        lengths = [len(a) - len(b) + 0.3 for a, b in zip(first, second, strict=True)]
        return torch.tensor(lengths).sigmoid()


def shared(hypothesis, reference):
    return len(set(hypothesis) & set(reference)) / (1 + len(set(hypothesis) | set(reference)))


def router(prefixes):
    return torch.tensor([[len(prefix) / 10, 0.5] for prefix in prefixes])


POINTWISE = {
    "Overlap": Overlap(),
    "Overlap, fitted": Overlap.fit(["a cat", "so it is", "cat"]),
    "Function": Function(lambda prefixes, texts: [len(x) / (1 + len(c)) for x, c in zip(prefixes, texts, strict=True)]),
    "RankGen": RankGen(RANKGEN, PIECES, batch_size=3, prefix_tokens=6),
    "Likelihood": Likelihood(GPT2, WORDS, batch_size=3),
    "Likelihood, whole": Likelihood(LLAMA, WORDS, "whole", batch_size=3),
    "PMI": Likelihood.pmi(LLAMA, WORDS, batch_size=3),
    "noisy channel": Likelihood.noisy_channel(LLAMA, WORDS, batch_size=3),
    "RewardModel": RewardModel(REWARD, WORDS, append_eos=True, batch_size=3),
    "RewardModel, dropout": RewardModel(DROPPING, WORDS, append_eos=True, batch_size=3),
    "Gated": Gated(router, [RewardModel(REWARD, WORDS, append_eos=True, batch_size=3), Overlap()]),
    "Embedding": Embedding(GPT2, WORDS, batch_size=3),
    "Embedding, last": Embedding(LLAMA, WORDS, "last", prompt="So {text} is:", batch_size=3),
    "Weighted": Weighted([(1, Overlap()), (-0.5, Embedding(GPT2, WORDS, batch_size=3))]),
}
SETWISE = {
    "MBR": MBR(shared),
    "MBR, embedded": MBR(Embedding(GPT2, WORDS, batch_size=3)),
    "Pairwise": Longer(),
    "Weighted, z": Weighted([(1, Overlap()), (-0.5, Embedding(GPT2, WORDS))], "z"),
    "Weighted, rank": Weighted([(1, MBR(shared)), (2, Embedding(GPT2, WORDS))], "rank"),
}
SCORERS = POINTWISE | SETWISE
MODELS = [GPT2, LLAMA, REWARD, DROPPING, RANKGEN]
TEXTS = st.text("abcat s.", max_size=9)
PAIRS = st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=6)
FEW = settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))


def columns(pairs):
    return [prefix for prefix, _ in pairs], [text for _, text in pairs]


def same(found, expected):
    """To the rounding of float32 where the numbers are of order 10, which other shapes of a batch may turn."""
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", POINTWISE)
@FEW
@given(pairs=PAIRS)
def test_a_batch_is_its_pairs_alone(name, pairs):
    scorer = SCORERS[name]
    assert not scorer.setwise
    scores = scorer(*columns(pairs))
    same(scores, torch.cat([scorer([prefix], [text]) for prefix, text in pairs]))


@pytest.mark.parametrize("name", SETWISE)
@FEW
@given(pairs=PAIRS)
def test_a_batch_is_its_sets_alone(name, pairs):
    scorer = SCORERS[name]
    assert scorer.setwise
    scores = scorer(*columns(pairs))
    for prefix in {prefix for prefix, _ in pairs}:
        own = [i for i, (other, _) in enumerate(pairs) if other == prefix]
        same(scores[own], scorer(*columns([pairs[i] for i in own])))


@pytest.mark.parametrize("name", SCORERS)
@FEW
@given(pairs=PAIRS, data=st.data())
def test_order_does_not_matter(name, pairs, data):
    order = data.draw(st.permutations(range(len(pairs))))
    scores = SCORERS[name](*columns(pairs))
    same(SCORERS[name](*columns([pairs[i] for i in order])), scores[order])


@pytest.mark.parametrize("name", SCORERS)
@FEW
@given(pairs=PAIRS)
def test_rounds_are_calls(name, pairs):
    """Prefixes read once, those that nothing follows among them, and scored again and again."""
    scorer, (prefixes, texts) = SCORERS[name], columns(pairs)
    places = ["never used", *dict.fromkeys(prefixes)]
    state = scorer.read(places)
    owners = [places.index(prefix, 1) for prefix in prefixes]
    first, second = (scorer.score(state, owners, texts) for _ in range(2))
    same(first, scorer(prefixes, texts))
    assert torch.equal(first, second)


PREFIXES = ["so a cat", "a", "so a cat", "it", "", "it"]
CONTINUATIONS = [" sat", " cat so", "", " is.", "b", " is."]


@pytest.mark.parametrize("name", SCORERS)
def test_scores_are_float32_on_the_cpu_and_know_no_gradient(name):
    scores = SCORERS[name](PREFIXES, CONTINUATIONS)
    assert scores.shape == (6,)
    assert (scores.dtype, scores.device.type, scores.requires_grad) == (torch.float32, "cpu", False)
    assert not scores.isnan().any()
    assert (scores > -torch.inf).sum() >= 5  # empty texts are no error; a likelihood rejects the empty continuation
    assert scores[3] == scores[5]  # equal pairs, to the bit


@pytest.mark.parametrize("name", SCORERS)
def test_nothing_is_drawn(name):
    before = torch.get_rng_state()
    SCORERS[name](PREFIXES, CONTINUATIONS)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", SCORERS)
def test_a_model_in_training_is_scored_as_in_evaluation_and_stays_in_training(name):
    expected = SCORERS[name](PREFIXES, CONTINUATIONS)
    for model in MODELS:
        model.train()
        list(model.children())[-1].eval()  # a frozen part
    modes = [[module.training for module in model.modules()] for model in MODELS]
    try:
        found = SCORERS[name](PREFIXES, CONTINUATIONS)
        assert modes == [[module.training for module in model.modules()] for model in MODELS]
    finally:
        for model in MODELS:
            model.eval()
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", SCORERS)
def test_nothing_to_score(name):
    assert SCORERS[name]([], []).shape == (0,)
    state = SCORERS[name].read(["a"])
    assert SCORERS[name].score(state, [], []).shape == (0,)


@pytest.mark.parametrize("name", SCORERS)
def test_wrong_calls_are_refused(name):
    with pytest.raises(ValueError, match="2 prefixes and 1 continuations"):
        SCORERS[name](["a", "b"], ["c"])
    with pytest.raises(TypeError, match="lists of texts"):
        SCORERS[name]("a", ["c"])
    with pytest.raises(TypeError, match="lists of texts"):
        SCORERS[name](["a"], "c")


@pytest.mark.parametrize(("said", "says"), [
    ([1.0], r"gave scores of shape \(1,\) for 2 texts"), ([1.0] * 3, r"gave scores of shape \(3,\)"),
    ([[1.0], [2.0]], r"gave scores of shape \(2, 1\)"), ([1.0, float("nan")], "a score that is not a number"),
])  # fmt: skip
def test_a_function_gives_each_text_a_number(said, says):
    with pytest.raises(ValueError, match=says):
        Function(lambda prefixes, texts: said)(["a", "b"], ["c", "d"])


def test_what_a_function_gives_may_be_any_tensor():
    weight = torch.ones(2, dtype=torch.float64, requires_grad=True)
    found = Function(lambda prefixes, texts: 2 * weight)(["a", "b"], ["c", "d"])
    assert (found.dtype, found.requires_grad, found.tolist()) == (torch.float32, False, [2, 2])


@pytest.mark.parametrize("name", ["RankGen", "Likelihood", "RewardModel", "Embedding"])
def test_any_size_of_batch_gives_the_same_and_is_kept_to(name):
    scores, rows = [], []
    see = lambda _, inputs: rows[-1].append(len(inputs[0]))
    words = [RANKGEN.t5_encoder.encoder.embed_tokens, *(model.get_input_embeddings() for model in MODELS[:-1])]
    hooks = [embedding.register_forward_pre_hook(see) for embedding in words]
    for size in (1, 2, 64):
        rows.append([])
        scores.append(replace(SCORERS[name], batch_size=size)(PREFIXES, CONTINUATIONS))
    for hook in hooks:
        hook.remove()
    same(scores[1], scores[0])
    same(scores[2], scores[0])
    assert [max(own) for own in rows[:2]] == [1, 2]
    assert max(rows[2]) > 2


def test_half_precision_gives_scores_too():
    model = tiny.gpt2().to(torch.bfloat16)
    for scorer in (Likelihood(model, WORDS), Embedding(model, WORDS)):
        scores = scorer(["so a cat"], [" sat"])
        assert scores.dtype == torch.float32
        exact = replace(scorer, model=GPT2)(["so a cat"], [" sat"])
        torch.testing.assert_close(scores, exact, rtol=0.2, atol=0.2)


@pytest.mark.parametrize("name", ["Overlap", "RankGen", "Likelihood", "PMI", "Embedding", "Weighted, z"])
def test_segments_are_reranked(name):
    """The search keeps the state of `read` over its rounds; what it reports is what a call says."""
    scorer = SCORERS[name]
    inputs = tiny.batch([WORDS("so a cat")["input_ids"], WORDS("it")["input_ids"]])
    search = decoding.Rerank(scorer, every=3, samples=3, beams=2, tokenizer=WORDS)
    out = decoding.generate(
        LLAMA, **inputs, processors=[search], max_new_tokens=6, top_k=0, return_dict_in_generate=True,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert len(out.rounds) == 2
    for own in out.rounds:
        same(own.scores, scorer([["so a cat", "it"][owner] for owner in own.owners], own.texts))
        for prompt in range(2):
            scores = [float(own.scores[i]) for i, owner in enumerate(own.owners) if owner == prompt]
            assert float(own.scores[next(i for i in own.kept if own.owners[i] == prompt)]) == max(scores)
