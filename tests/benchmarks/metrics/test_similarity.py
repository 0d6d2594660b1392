"""Cosines of texts by all pairs."""

import math

import numpy as np
import pytest

from benchmarks.metrics import similarity


def test_cosines_by_all_pairs():
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 2, (9, 5)), rng.normal(size=(9, 5))

    def cosine(x, y):
        return x @ y / np.linalg.norm(x) / np.linalg.norm(y)

    own = similarity.embedding_coherence(a, b)
    assert own.per_text == pytest.approx([cosine(x, y) for x, y in zip(a, b, strict=True)])
    assert own.value == pytest.approx(own.per_text.mean())
    cross = similarity.cross_similarity(a, b)
    assert cross.value == pytest.approx(np.mean([[cosine(x, y) for x in a] for y in b]))
    assert cross.left_out[4] == pytest.approx(np.mean([[cosine(x, y) for x in np.delete(a, 4, 0)]
                                                       for y in np.delete(b, 4, 0)]))  # fmt: skip
    same = similarity.self_similarity(a)
    assert same.value == pytest.approx(np.mean([cosine(a[i], a[j]) for i in range(9) for j in range(9) if i != j]))
    assert same.low < same.value < same.high


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: similarity.embedding_coherence([[1.0]], [[1.0], [2.0]]), "one shape"),
        (lambda: similarity.cross_similarity([[1.0]], [[1.0], [2.0]]), "two sets of one size"),
        (lambda: similarity.self_similarity([[1.0]]), "at least 2 rows"),
        (lambda: similarity.self_similarity([1.0, 2.0]), r"must be \(N, D\)"),
        (lambda: similarity.self_similarity([[1.0], [0.0]]), "finite and not zero"),
        (lambda: similarity.self_similarity([[1.0], [math.nan]]), "finite and not zero"),
    ],
)
def test_cosines_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
