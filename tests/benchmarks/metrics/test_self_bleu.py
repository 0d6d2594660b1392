"""Self-BLEU is that of nltk and of sacreBLEU."""

from itertools import islice

import numpy as np
import pytest

from benchmarks.metrics import self_bleu


def sets_of_texts():
    rng = np.random.default_rng(2)
    for trial in range(12):
        sizes = rng.integers(0 if trial > 5 else 5, 25, size=rng.integers(2, 12))
        yield [" ".join(rng.choice(list("abcdefgh")[: 3 + trial % 6], size=size)) for size in sizes]
    yield ["a b c d e f", "a b c d e f", "a b c d e f"]
    yield ["a b", "c d"]
    yield ["a", "a b c d e", "a b c d e f g"]


@pytest.mark.parametrize("n", [1, 2, 4, 5])
def test_self_bleu_is_nltks(n):
    nltk = pytest.importorskip("nltk.translate.bleu_score")
    smooth = nltk.SmoothingFunction().method1
    for texts in sets_of_texts():
        words = [text.split() for text in texts]
        expected = [
            nltk.sentence_bleu(words[:i] + words[i + 1 :], words[i], [1 / n] * n, smoothing_function=smooth)
            for i in range(len(words))
        ]
        assert self_bleu.self_bleu(texts, n).value == pytest.approx(np.mean(expected), abs=1e-12)


@pytest.mark.parametrize("n", [2, 4])
def test_self_bleu_is_sacrebleus(n):
    sacrebleu = pytest.importorskip("sacrebleu")
    metric = sacrebleu.BLEU(effective_order=True, max_ngram_order=n, tokenize="none")
    for texts in sets_of_texts():
        expected = [metric.sentence_score(text, texts[:i] + texts[i + 1 :]).score / 100 for i, text in enumerate(texts)]
        assert self_bleu.self_bleu(texts, n, smoothing="exp").value == pytest.approx(np.mean(expected), abs=1e-12)


def test_self_bleu_without_smoothing_is_nltks():
    nltk = pytest.importorskip("nltk.translate.bleu_score")
    texts = ["a b c d e f", "a b c d e g", "a b c x y z", "p q r s t u"]
    words = [text.split() for text in texts]
    with pytest.warns(UserWarning, match="0 counts"):
        expected = [nltk.sentence_bleu(words[:i] + words[i + 1 :], words[i]) for i in range(4)]
    assert self_bleu.self_bleu(texts, smoothing="none").value == pytest.approx(np.mean(expected), abs=1e-12)


def test_self_bleu_leaves_texts_out_of_the_references_too():
    *_, texts = islice(sets_of_texts(), 4)
    found = self_bleu.self_bleu(texts)
    assert len(found.left_out) == len(texts)
    expected = [self_bleu.self_bleu(texts[:i] + texts[i + 1 :]).value for i in range(len(texts))]
    assert found.left_out == pytest.approx(expected)
