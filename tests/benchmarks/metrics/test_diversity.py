"""Repetition, diversity, distinct n-grams, Zipf and lengths are their definitions."""

import math
from collections import Counter

import numpy as np
import pytest

from benchmarks.metrics import copying, diversity, self_bleu
from benchmarks.metrics.diversity import distinct, gen_length, rep, share_empty, zipf

RNG = np.random.default_rng(1)


TEXTS = [" ".join(RNG.choice(list("abcde"), size=size)) for size in (4, 9, 14, 20, 6, 30, 4)]


def grams(text, n):
    words = text.split()
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def released_diversity(texts):
    """SimCTG's loop as it is written there, with its `<` and its roundings."""
    rounded = []
    for n in (2, 3, 4):
        unique = total = 0
        for text in texts:
            tokens, start, end, seen = text.strip().split(), 0, n, set()
            while end < len(tokens):
                seen.add(" ".join(tokens[start:end]))
                total, start, end = total + 1, start + 1, end + 1
            unique += len(seen)
        rounded.append(round((1 - unique / total) * 100, 2))
    return round(100 * math.prod(1 - one / 100 for one in rounded), 2)


def test_repetition_is_pooled_over_texts():
    for n in (1, 2, 3, 4):
        unique, total = sum(len(set(grams(t, n))) for t in TEXTS), sum(len(grams(t, n)) for t in TEXTS)
        assert rep(TEXTS, n).value == pytest.approx(1 - unique / total)


def test_diversity_is_the_product_of_its_orders():
    assert diversity.diversity(TEXTS).value == pytest.approx(math.prod(1 - rep(TEXTS, n).value for n in (2, 3, 4)))
    per_text = [math.prod(len(set(grams(t, n))) / len(grams(t, n)) for n in (2, 3, 4)) for t in TEXTS]
    found = diversity.diversity_per_text([*TEXTS, "a b c", ""])
    assert found.value == pytest.approx(np.mean(per_text))
    assert np.isnan(found.per_text[-2:]).all()
    assert found.per_text[:-2] == pytest.approx(per_text)


def test_simctg_diversity_is_the_released_loop():
    for texts in (TEXTS, [f" {text} \n" for text in TEXTS], TEXTS[:3]):
        assert round(diversity.diversity_simctg(texts).value, 2) == released_diversity(texts)
    assert diversity.diversity_simctg(TEXTS).value != pytest.approx(100 * diversity.diversity(TEXTS).value, abs=0.3)


def test_distinct_counts_over_all_texts_not_across_their_borders():
    for n in (1, 2, 3):
        every = [gram for text in TEXTS for gram in grams(text, n)]
        assert distinct(TEXTS, n).value == len(set(every)) / len(every)
    assert distinct(["a b", "c d"], 2).value == 1
    assert distinct(TEXTS, 1).value < distinct(TEXTS[:2], 1).value


def test_distinct_of_equal_numbers_of_tokens():
    assert distinct(["a b c", "a d", "z z z z"], 1, tokens=5).value == 4 / 5
    cut = distinct(["a b c", "a b", "z z z z"], 2, tokens=4)
    assert cut.value == 1  # a b and b c: of the second text one word is left
    long, short = distinct(TEXTS, 1, tokens=27), distinct(TEXTS[:3], 1)
    assert long.value == short.value  # 4 + 9 + 14


def released_zipf(texts):
    """MAUVE's experiments: the loop over ranks written out, the line by the normal equations."""
    frequencies = sorted(Counter(word for text in texts for word in text.split()).values(), reverse=True)[:5000]
    points: dict = {}
    for rank in range(1, min(len(set(" ".join(texts).split())), 5000)):
        points.setdefault(round(15 * math.log(rank)) / 15, math.log(frequencies[rank - 1]))
    x, y = np.array([*points]), np.array([*points.values()])
    return -((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()


def test_zipf_is_the_released_fit():
    texts = [" ".join(map(str, RNG.zipf(1.5, 300))) for _ in range(30)]
    assert zipf(texts).value == pytest.approx(released_zipf(texts))
    few = ["a a a a a a a b b b b c c c d d e"]  # where no two ranks are thinned to one
    assert zipf(few).value == pytest.approx(released_zipf(few))
    law = [" ".join(str(rank) for rank in range(1, 200) for _ in range(round(2000 / rank)))]
    assert zipf(law).value == pytest.approx(1, abs=0.02)
    many = [" ".join(map(str, range(6000)))]  # ranks over 5,000 do not count
    assert zipf(many).value == pytest.approx(0, abs=1e-12)


def test_lengths_and_empties():
    assert gen_length(["a b", "", " c\n"]).value == 1
    assert gen_length(["abc"], tokenize=list).value == 3
    assert share_empty(["a", "", " \n", "b"]).value == 0.5


def test_scripts_without_spaces():
    text = "天地玄黄天地玄黄"
    assert rep([text], 2, tokenize=list).value == pytest.approx(1 - 4 / 7)
    assert np.isnan(rep([text], 2).value)
    assert self_bleu.self_bleu([text, text], tokenize=list).value == pytest.approx(1)
    assert copying.copied_from_prompt([text[:4]], [text[4:]], 2, tokenize=list).value == 1
