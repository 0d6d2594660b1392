"""The measures of synthetic data: cut to equal lengths, in a row, duplicates."""

import math

import numpy as np
import pytest

from benchmarks.metrics import diversity, synthetic


def grams(text, n):
    words = text.split()
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def test_texts_are_cut_to_the_same_number_of_characters():
    rng = np.random.default_rng(3)
    for _ in range(200):
        sets = [["ab" * int(k) for k in rng.integers(0, 4, size=rng.integers(1, 6))] for _ in range(3)]
        found = synthetic.match_characters(*sets)
        size = min(len(" ".join(texts)) for texts in sets)
        assert [" ".join(texts) for texts in found] == [" ".join(texts)[:size] for texts in sets]


def test_measures_in_a_row_reach_across_texts():
    texts = ["a b c", "d a b", "c d"]
    row = grams(" ".join(texts), 3)
    assert synthetic.normalised_n_grams(texts).value == len(set(row)) / len(row)
    expected = math.prod(len(set(grams(" ".join(texts), n))) / len(grams(" ".join(texts), n)) for n in (2, 3, 4))
    assert synthetic.diversity_in_a_row(texts).value == pytest.approx(expected)
    assert diversity.diversity(texts[:2] * 2 + ["a b c d"]).value == 1  # which stays within each


def test_duplicates_of_the_set_and_of_the_sources():
    assert synthetic.duplicates(["a", "b", "a", "c"], ["c", "z"]).value == 0.5
    assert synthetic.duplicates(["a", "a", "a", "a"]).value == 0.75
