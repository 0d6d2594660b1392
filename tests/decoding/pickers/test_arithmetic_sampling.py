"""Points become texts and texts intervals: exactly, at any length, in any batch, and in the model's own proportions."""

import itertools
import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from transformers import TemperatureLogitsWarper, TopKLogitsWarper

import decoding
from decoding import ArithmeticSample, BestOfN, Decoder
from decoding.pickers.arithmetic_coding import Interval, Point
from decoding.pickers.arithmetic_sampling import CODES, Code, spread_codes
from decoding.testing import PerPrompt, check_picker
from scorers import Scorer
from tests.support import tiny
from tests.support.arithmetic import exact, sample, small, texts
from tests.support.calls import MODELS, PROMPTS
from tests.support.oracles import methods as oracles
from tests.support.oracles import parts as part_oracles
from tests.support.oracles import pickers as oracles_pickers
from tests.support.oracles.processors import slow_processors
from tests.support.stub_parts import Mix

POINTS = [Fraction(1, 3), Fraction(7, 10), Fraction(0)]


def test_equals_its_oracle_wherever_it_is_used():
    points = [Fraction(1, 3), Fraction(5, 7), Fraction(2, 11)]
    part = PerPrompt(lambda places: decoding.ArithmeticSample(points=[points[i] for i in places]))
    check_picker(part, part_oracles.arithmetic_sample(points))


@pytest.mark.parametrize("make", MODELS)
def test_equals_oracle_alone_and_in_a_padded_batch(make):
    model = make()
    expected = [
        oracles_pickers.arithmetic_sample(model, prompt, 8, at)[0] for prompt, at in zip(PROMPTS, POINTS, strict=True)
    ]
    assert sample(model, PROMPTS, ArithmeticSample(points=POINTS)) == expected
    alone = [
        sample(model, [prompt], ArithmeticSample(points=[at]))[0] for prompt, at in zip(PROMPTS, POINTS, strict=True)
    ]
    assert alone == expected


@pytest.mark.parametrize("make", MODELS)
def test_guide_and_warpers_shape_the_intervals(make):
    model, mix = make(), Mix(make(1))
    prompts = [PROMPTS[0], PROMPTS[2]]
    warp = slow_processors(TemperatureLogitsWarper(1.7), TopKLogitsWarper(9))

    def guide(prompt):
        slow = mix.slowly(model, prompt)
        return lambda ids, logits: warp(ids, slow(ids, logits))

    options = {"temperature": 1.7, "top_k": 9}
    told = [
        oracles_pickers.arithmetic_sample(model, prompt, 8, at, guide=guide(prompt))
        for prompt, at in zip(prompts, POINTS[:2], strict=True)
    ]
    rows = [row for row, _, _ in told]
    assert sample(model, prompts, mix, ArithmeticSample(points=POINTS[:2]), **options) == rows
    found = decoding.encode(model, rows, **tiny.batch(prompts), processors=[mix, ArithmeticSample()], **options)
    assert [(interval.start, interval.end) for interval in found] == [(start, end) for _, start, end in told]
    plain = decoding.encode(model, rows, **tiny.batch(prompts), top_k=0)
    assert [interval.width for interval in plain] != [interval.width for interval in found]


def test_long_texts_lose_nothing():
    """600 tokens: an interval some 1500 bits narrow, where a float would have said all it had after 53."""
    model = small(3, vocabulary=61, std=0.1, length=640)
    point = Fraction(int.from_bytes(bytes(range(3, 255))), 256**252)
    twin = point + Fraction(1, 2**1200)
    points = [point, twin]
    options = {"suppress_tokens": [tiny.EOS]}
    one, other = sample(model, [[5, 9]] * 2, ArithmeticSample(points=points), n=600, **options)
    assert len(one) == 600
    parting = next(i for i in range(600) if one[i] != other[i])
    assert 100 < parting < 500
    intervals = decoding.encode(model, [one, other], **tiny.batch([[5, 9]] * 2), top_k=0, **options)
    assert [at in interval for at in points for interval in intervals] == [True, False, False, True]
    ids = torch.tensor([[5, 9, *one]])
    logits = model(ids).logits[0, 1:-1].detach()
    logits[:, tiny.EOS] = -torch.inf
    log_p = logits.log_softmax(-1).gather(-1, ids[0, 2:, None]).sum()
    assert intervals[0].bits > 2000
    assert intervals[0].bits == pytest.approx(-float(log_p) / math.log(2), rel=1e-4)
    assert sample(model, [[5, 9]], ArithmeticSample(points=[intervals[0].shortest()]), n=600, **options) == [one]


def test_a_forbidden_token_has_no_point():
    points = ArithmeticSample(points=[Fraction(0), Fraction(1) - Fraction(1, 2**80)])
    forbidden = [*range(4), *range(58, tiny.VOCABULARY)]
    assert sample(tiny.gpt2(), [[5, 9]] * 2, points, n=1, suppress_tokens=forbidden) == [[4], [57]]


def test_uniform_points_give_samples_of_the_model():
    model, every, number = small(), texts(5, 3), 6000
    generator = torch.Generator().manual_seed(1)
    rows = sample(model, [[3, 4]] * number, ArithmeticSample(), n=3, generator=generator)
    assert fit(rows, every, exact(model, every)) > 1e-3
    assert fit(rows, every, exact(small(1), every)) < 1e-9


def fit(rows, every, probabilities) -> float:
    """The p-value of Pearson's test, rare texts counted as one, as its approximation needs."""
    counts, wanted = Counter(map(tuple, rows)), np.array(probabilities) * len(rows)
    seen, often = np.array([counts[tuple(text)] for text in every]), wanted >= 5
    groups = np.where(often, np.arange(len(every)), len(every))
    seen, wanted = np.bincount(groups, seen), np.bincount(groups, wanted)
    return chisquare(seen[wanted > 0], wanted[wanted > 0]).pvalue


def test_rows_of_a_prompt_hold_every_text_in_its_proportion():
    """Of n evenly spaced points, an interval of width w holds n w, rounded up or down: prefixes and all."""
    model, n = small(), 48
    prompts = [[3, 4], [4, 4, 3]]
    torch.manual_seed(5)
    rows = sample(model, prompts, ArithmeticSample(n=n), n=3, num_return_sequences=n)
    for i, prompt in enumerate(prompts):
        own = rows[i * n : (i + 1) * n]
        for length in (1, 2, 3):
            every = texts(5, length)
            counts = Counter(tuple(row[:length]) for row in own)
            for text, p in zip(every, exact(model, every, prompt), strict=True):
                assert abs(counts[tuple(text)] - n * p) < 1.01, (prompt, text)


def test_two_prompts_have_points_of_their_own():
    model, n = small(), 8
    rows = sample(model, [[3, 4]] * 2, ArithmeticSample(n=n), n=8, num_return_sequences=n)
    assert sorted(rows[:n]) != sorted(rows[n:])


@pytest.mark.parametrize("make", MODELS)
def test_generators_of_rows_make_a_text_independent_of_its_batch(make):
    model, n = make(), 3

    def generators(*seeds):
        return [torch.Generator().manual_seed(seed + 10 * i) for seed in seeds for i in range(n)]

    options = {"num_return_sequences": n}
    together = sample(model, PROMPTS, ArithmeticSample(n=n), generator=generators(1, 2, 3), **options)
    for i, prompt in enumerate(PROMPTS):
        alone = sample(model, [prompt], ArithmeticSample(n=n), generator=generators(i + 1), **options)
        assert alone == together[i * n : (i + 1) * n]
    again = sample(model, PROMPTS, ArithmeticSample(n=n), generator=generators(1, 2, 4), **options)
    assert again[: 2 * n] == together[: 2 * n]
    assert again[2 * n :] != together[2 * n :]


def test_step_scores_are_log_probabilities():
    model, inputs = tiny.gpt2(), tiny.batch([PROMPTS[0]])
    options = {"max_new_tokens": 4, "do_sample": True, "top_k": 0}
    ids = list(PROMPTS[0])
    for step in Decoder(ArithmeticSample(points=[0.3])).stream(model, **inputs, **options):
        log_p = oracles.log_p(model, ids)
        ids.append(int(step.tokens))
        torch.testing.assert_close(step.scores, log_p[ids[-1:]])


def test_a_decoder_keeps_nothing_between_calls():
    model, decoder = tiny.gpt2(), Decoder(ArithmeticSample(n=2))
    inputs = tiny.batch(PROMPTS)
    options = {"max_new_tokens": 6, "do_sample": True, "num_return_sequences": 2, "custom_generate": decoder}
    runs = []
    for _ in range(2):
        torch.manual_seed(3)
        runs.append(model.generate(**inputs, **options))
    assert torch.equal(*runs)
    assert not torch.equal(runs[0], model.generate(**inputs, **options))


# Copies that a reranker makes


def test_candidates_of_best_of_n_are_spread_like_rows():
    model, n, found = small(), 48, []
    judge = lambda prefixes, texts: found.extend(texts) or [0.0] * len(texts)
    torch.manual_seed(0)
    sample(model, [[3, 4]], ArithmeticSample(), BestOfN(Votes(judge), n=n, tokenizer=Letters()), n=3)
    assert len(found) == n
    counts = Counter(found)
    for text, p in zip(texts(5, 3), exact(model, texts(5, 3)), strict=True):
        assert abs(counts[Letters().decode(text)] - n * p) < 1.01


class Votes(Scorer):
    """A scorer that is shown copies too."""

    setwise = True

    def __init__(self, judge):
        self.judge = judge

    def score(self, state, owners, continuations):
        return torch.tensor(self.judge(None, continuations))


class Letters:
    """A tokenizer of five letters."""

    def batch_decode(self, rows, **_):
        return ["".join("abcde"[token] for token in row) for row in rows]

    def decode(self, row, **_):
        return self.batch_decode([row])[0]


def test_copies_in_mid_text_part_evenly_and_hold_their_points():
    point = Point(seed=b"x")
    place = point.place(Interval(), 7)
    code = Code(point, Interval(place, 1, 7))
    copies = spread_codes([code] * 6 + [Code(Point(Fraction(1, 2)))], [0] * 6 + [1])
    places = sorted(copy.point.place(copy.interval, 6 * 64) for copy in copies[:6])
    assert places == list(range(places[0], 6 * 64, 64))
    assert all(copy.point.place(Interval(), 7) == place for copy in copies[:6])
    assert copies[6].point.at == Fraction(1, 2)
    assert copies[0] == code
    pair = spread_codes([Code(Point(Fraction(4, 7)), Interval(3, 2, 7))] * 2, [0, 0])
    assert [copy.point.at for copy in pair] == [Fraction(4, 7), Fraction(3, 7)]
    assert spread_codes([code] * 2, [0, 1]) == [code] * 2  # rows of two prompts are no copies


def test_segments_of_a_reranker_go_on_as_samples_would():
    """A row that goes on whatever it says is a sample of the model, copied or not."""
    model, every, number = small(), texts(5, 4), 800
    torch.manual_seed(4)
    found = sample(model, [[3, 4]] * number, ArithmeticSample(), Blind(), n=4)
    assert fit(found, every, exact(model, every)) > 1e-3


class Blind(decoding.Reranker):
    """Two rows, of which the second goes on after two tokens in three copies, of which the last is the end."""

    width = 2

    def __call__(self, hypotheses):
        if hypotheses.continuation.shape[1] == 2:
            return torch.arange(1, len(hypotheses.tokens), 2).repeat_interleave(3)
        return None

    def best(self, hypotheses):
        size = len(hypotheses.tokens) // hypotheses.prompts
        return torch.arange(size - 1, len(hypotheses.tokens), size)


def test_copies_in_mid_text_go_on_in_the_proportions_of_what_may_follow():
    model, n, rows = small(), 48, []

    class Fan(decoding.Reranker):
        def __call__(self, hypotheses):
            if hypotheses.continuation.shape[1] == 2:
                return torch.zeros(n, dtype=torch.long)
            return None

        def best(self, hypotheses):
            rows.extend(hypotheses.continuation.tolist())
            return torch.tensor([0])

    torch.manual_seed(1)
    sample(model, [[3, 4]], ArithmeticSample(), Fan(), n=4, min_new_tokens=4)
    assert len(rows) == n
    [(first, second)] = {tuple(row[:2]) for row in rows}
    with torch.no_grad():
        for length in (1, 2):
            counts = Counter(tuple(row[2 : 2 + length]) for row in rows)
            for text in itertools.product(range(5), repeat=length):
                p = 0.0 if 2 in text else without_end(model, [3, 4, first, second], text)
                assert abs(counts[text] - n * p) < 1.01


def without_end(model, prompt, text) -> float:
    """The probability of a text whose tokens are not the end, given that."""
    found = 1.0
    for i, token in enumerate(text):
        logits = model(torch.tensor([[*prompt, *text[:i]]])).logits[0, -1]
        logits[2] = -torch.inf
        found *= float(logits.softmax(-1)[token])
    return found


def test_rows_of_a_prompt_and_their_copies_are_one_lattice():
    """Two rows of three copies each: six points, a sixth apart, none of them twice."""
    places = []

    class Watch(decoding.Reranker):
        width = 3

        def __call__(self, hypotheses):
            codes = hypotheses.state[CODES]
            places.extend(code.point.place(Interval(), 6 * 64) for code in codes)

        def best(self, hypotheses):
            return torch.arange(0, len(hypotheses.tokens), 3)

    options = {"num_return_sequences": 2, "min_new_tokens": 2}
    sample(tiny.gpt2(), [PROMPTS[0], PROMPTS[1]], ArithmeticSample(n=2), Watch(), n=2, **options)
    for own in (sorted(places[:6]), sorted(places[6:])):
        assert own == list(range(own[0], 6 * 64, 64))
    assert sorted(places[:6]) != sorted(places[6:])


def test_state_follows_rows():
    model = tiny.gpt2()
    inputs = tiny.batch(PROMPTS)
    kept = {}

    class Backwards(decoding.Reranker):
        def __call__(self, hypotheses):
            kept["before"] = hypotheses.state[CODES]
            hypotheses.select(torch.tensor([2, 1, 0]))
            kept["after"] = hypotheses.state[CODES]
            hypotheses.select(torch.tensor([2, 1, 0]))

        def best(self, hypotheses):
            return torch.arange(3)

    decoding.generate(model, **inputs, processors=[ArithmeticSample(), Backwards()], max_new_tokens=3)
    assert kept["after"] == kept["before"][::-1]


# Numbers


# What makes no sense is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n must be a whole number"),
        ({"n": True}, "n must be a whole number"),
        ({"points": []}, r"points must lie in \[0, 1\)"),
        ({"points": [0.5, 1.0]}, r"points must lie in \[0, 1\)"),
        ({"points": [float("nan")]}, r"points must lie in \[0, 1\)"),
        ({"n": 2, "points": [0.5, 0.1]}, "give one of the two"),
    ],
)
def test_refuses_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        ArithmeticSample(**arguments)


@pytest.mark.parametrize(
    ("part", "options", "message"),
    [
        (ArithmeticSample(), {"do_sample": False}, "ArithmeticSample needs do_sample=True"),
        (ArithmeticSample(n=4), {}, r"ArithmeticSample\(n=4\) with num_return_sequences=1"),
        (ArithmeticSample(), {"num_return_sequences": 3}, r"ArithmeticSample\(n=1\) with num_return_sequences=3"),
        (ArithmeticSample(points=[0.5] * 5), {"num_return_sequences": 3}, "5 points for num_return_sequences=3"),
    ],
)
def test_refuses_calls_before_any_forward(part, options, message):
    model = tiny.gpt2()
    model.register_forward_pre_hook(lambda *_: pytest.fail("a forward was run"))
    with pytest.raises(ValueError, match=message):
        sample(model, PROMPTS, part, **options)


def test_refuses_points_for_other_rows():
    with pytest.raises(ValueError, match="2 points for 3 rows"):
        sample(tiny.gpt2(), PROMPTS, ArithmeticSample(points=[0.5, 0.1]))
