"""Sums, comparisons and votes: equal to their formulas within each prefix's continuations."""

import math
import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertConfig, BertForSequenceClassification

from scorers import Function, Pairwise, Weighted
from tests.support import tiny
from tests.support.oracles import scorers as oracles

WORDS = tiny.tokenizer()


def table(scores):
    """A scorer that says what the table does."""
    return lambda prefixes, texts: [scores[prefix, text] for prefix, text in zip(prefixes, texts, strict=True)]


def z(scores):
    deviation = statistics.pstdev(scores)
    return [(s - statistics.fmean(scores)) / deviation if deviation else 0.0 for s in scores]


def ranks(scores):
    n = len(scores)
    return [(sum(s > o for o in scores) + (sum(s == o for o in scores) - 1) / 2) / (n - 1) if n > 1 else 0.5
            for s in scores]  # fmt: skip


SCALES = {"none": list, "z": z, "rank": ranks}
NUMBERS = st.integers(-20, 20).map(float)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("xy"), NUMBERS, NUMBERS), min_size=1, max_size=7),
    st.lists(st.sampled_from([0.0, 1.0, -0.5, 3.0]), min_size=2, max_size=2),
    st.sampled_from(sorted(SCALES)),
)
def test_any_sum_equals_its_formula(rows, weights, normalise):
    prefixes, texts = [prefix for prefix, _, _ in rows], [f"text {i}" for i in range(len(rows))]
    terms = [
        (weight, table({(row[0], text): row[k] for row, text in zip(rows, texts, strict=True)}))
        for k, weight in enumerate(weights, 1)
    ]
    total = [0.0] * len(rows)
    for prefix in set(prefixes):
        own = [i for i, other in enumerate(prefixes) if other == prefix]
        for k, weight in enumerate(weights, 1):
            for i, value in zip(own, SCALES[normalise]([rows[i][k] for i in own]), strict=True):
                total[i] += weight * value
    scorer = Weighted(terms, normalise)
    torch.testing.assert_close(scorer(prefixes, texts), torch.tensor(total), rtol=1e-5, atol=1e-5)
    owners = ["xy".index(prefix) for prefix in prefixes]
    found = scorer.score(scorer.read(["x", "y"]), owners, texts)
    torch.testing.assert_close(found, torch.tensor(total), rtol=1e-5, atol=1e-5)


def test_scores_that_hardly_differ_are_all_the_same():
    scorer = Weighted([(1, lambda x, c: [1.0, 1 + 2**-23, 1.0])], "z")
    assert scorer(["x"] * 3, ["a", "b", "c"]).tolist() == [0, 0, 0]


def test_equal_prefixes_that_are_owners_apart_are_ranked_apart():
    scorer = Weighted([(1, lambda x, c: [float(len(text)) for text in c])], "rank")
    assert scorer.score(scorer.read(["x", "x"]), [0, 1, 0, 1], ["a", "bb", "ccc", "d"]).tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize("normalise", sorted(SCALES))
def test_what_a_term_rejects_is_rejected_and_stands_aside(normalise):
    values = [1.0, -math.inf, 3.0]
    length = lambda x, c: [float(len(text)) for text in c]
    for weight in (1.0, -1.0):
        scorer = Weighted([(weight, lambda x, c: values[: len(c)]), (1, length)], normalise)
        found = scorer(["x"] * 3, ["a", "bb", "cc"])
        assert found[1] == -math.inf
        own = SCALES[normalise]([1.0, 3.0])
        of_length = SCALES[normalise]([1.0, 2.0, 2.0])
        expected = [weight * own[0] + of_length[0], weight * own[1] + of_length[2]]
        torch.testing.assert_close(found[[0, 2]], torch.tensor(expected), rtol=1e-5, atol=1e-5)
    nothing = Weighted([(1, lambda x, c: [-math.inf] * len(c))], normalise)
    assert nothing(["x"] * 2, ["a", "b"]).tolist() == [-math.inf] * 2


def test_a_weight_of_nothing_reads_nothing():
    def refuse(prefixes, texts):
        raise AssertionError("asked")

    assert Weighted([(0, refuse), (2, lambda x, c: [1.0] * len(c))])(["x"], ["a"]).tolist() == [2]


def test_a_sum_is_as_careful_as_its_terms():
    one = Function(lambda x, c: [1.0] * len(c))
    whole = Function(lambda x, c: [1.0] * len(c), partial=False)
    votes = Function(lambda x, c: [1.0] * len(c), setwise=True)
    assert (Weighted([(1, one)]).partial, Weighted([(1, one)]).setwise) == (True, False)
    assert (Weighted([(1, one), (1, whole)]).partial, Weighted([(1, one), (1, votes)]).setwise) == (False, True)
    assert (Weighted([(1, one), (0, whole)]).partial, Weighted([(1, one), (0, votes)]).setwise) == (True, False)
    assert Weighted([(1, one)], "z").setwise
    assert Weighted([(1, one)], "rank").setwise


@pytest.mark.parametrize(("terms", "normalise", "says"), [
    ([], "none", "at least one term"),
    ([(float("nan"), len)], "none", "finite weights"),
    ([(1, len)], "softmax", "normalise must be 'none' or 'z' or 'rank'"),
])  # fmt: skip
def test_terms_are_checked(terms, normalise, says):
    with pytest.raises(ValueError, match=says):
        Weighted(terms, normalise)
    with pytest.raises(TypeError, match="is no scorer"):
        Weighted([(1, "length")])


# comparisons


def preference(a, b):
    """A number in (0, 1) of two texts that prefers the first place."""
    strength = lambda text: sum(map(ord, text)) % 13
    return 1 / (1 + math.exp(strength(b) / 5 - strength(a) / 5 - 0.7))


class Judge(Pairwise):
    def __init__(self):
        self.calls = []

    def compare(self, state, owners, first, second):
        self.calls.append([(state[o], a, b) for o, a, b in zip(owners, first, second, strict=True)])
        return torch.tensor([preference(a, b) for a, b in zip(first, second, strict=True)])


TEXTS = st.text("abc", max_size=3)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("xy"), TEXTS), min_size=1, max_size=7))
def test_scores_are_win_rates(rows):
    prefixes, texts = [prefix for prefix, _ in rows], [text for _, text in rows]
    expected = [0.0] * len(rows)
    for prefix in set(prefixes):
        own = [i for i, other in enumerate(prefixes) if other == prefix]
        for i, rate in zip(own, oracles.win_rates([texts[i] for i in own], preference), strict=True):
            expected[i] = rate
    judge = Judge()
    torch.testing.assert_close(judge(prefixes, texts), torch.tensor(expected))
    duels = [duel for call in judge.calls for duel in call]
    assert len(judge.calls) <= 1
    assert len(duels) == len(set(duels))
    assert all(a != b for _, a, b in duels)
    assert len(duels) == sum(n * (n - 1) for n in (len({t for p, t in rows if p == x}) for x in set(prefixes)))


def test_a_judge_that_says_what_is_no_probability_is_refused():
    class Loud(Pairwise):
        def compare(self, state, owners, first, second):
            return torch.tensor(self.said)

    for said in ([1.5, 0.0], [float("nan"), 0.0], [0.5]):
        Loud.said = said
        with pytest.raises(ValueError, match=r"Loud\.compare must give 2 numbers in 0 to 1"):
            Loud()(["x"] * 2, ["a", "b"])


class CrossEncoder(Pairwise):
    """As PairRM: the prefix and two answers are read together, and a logit above 0 says that the first is better."""

    def __init__(self, model, tokenizer):
        self.model, self.tokenizer = model, tokenizer

    @torch.no_grad()
    def compare(self, state, owners, first, second):
        texts = [f"{state[o]}! {a}? {b}." for o, a, b in zip(owners, first, second, strict=True)]
        inputs = self.tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
        return self.model(inputs["input_ids"], inputs["attention_mask"]).logits[:, 0].sigmoid()


def test_a_cross_encoder_of_pairs_fits():
    config = BertConfig(
        vocab_size=tiny.VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        max_position_embeddings=64, num_labels=1, pad_token_id=0,
    )  # fmt: skip
    model = tiny.seeded(BertForSequenceClassification(config))
    texts = ["yes", "so it is", "no", "yes"]

    @torch.no_grad()
    def probability(a, b):
        return float(model(WORDS(f"Is it! {a}? {b}.", return_tensors="pt")["input_ids"]).logits[0, 0].sigmoid())

    ranker = CrossEncoder(model, WORDS)
    expected = torch.tensor(oracles.win_rates(texts, probability))
    torch.testing.assert_close(ranker(["Is it"] * 4, texts), expected)
    assert not ranker.partial
    assert ranker.setwise
    mixed = Weighted([(1, ranker), (0.1, lambda x, c: [float(len(text)) for text in c])])
    assert mixed.setwise
    torch.testing.assert_close(mixed(["Is it"] * 4, texts), expected + torch.tensor([0.3, 0.8, 0.2, 0.3]))
