"""Metrics of words: by hand, by the papers' formulas written out, and by nltk, sacreBLEU and the released codes."""

import re

import numpy as np
import pytest

from benchmarks.metrics import copying, diversity, self_bleu, synthetic
from benchmarks.metrics.diversity import distinct, gen_length, rep, zipf
from benchmarks.metrics.uncertainty import Bootstrapped, Jackknifed

RNG = np.random.default_rng(1)
TEXTS = [" ".join(RNG.choice(list("abcde"), size=size)) for size in (4, 9, 14, 20, 6, 30, 4)]


# self-BLEU


# copying


# synthetic texts


# all


CALLS = [
    lambda texts, **o: rep(texts, 2, **o),
    lambda texts, **o: diversity.diversity(texts, **o),
    lambda texts, **o: diversity.diversity_simctg(texts, **o),
    lambda texts, **o: diversity.diversity_per_text(texts, **o),
    lambda texts, **o: distinct(texts, 2, **o),
    lambda texts, **o: zipf(texts, **o),
    lambda texts, **o: gen_length(texts, **o),
    lambda texts, **o: self_bleu.self_bleu(texts, **o),
    lambda texts, **o: copying.copied_from_prompt(texts[::-1], texts, 2, **o),
    lambda texts, **o: copying.copied_from(texts, ["a b c", "b a"], 2, **o),
    lambda texts, **o: synthetic.normalised_n_grams(texts, **o),
    lambda texts, **o: synthetic.diversity_in_a_row(texts, **o),
]


@pytest.mark.parametrize("call", CALLS)
def test_every_number_has_an_interval_over_prompts(call):
    rng = np.random.default_rng(4)
    texts = [" ".join(rng.choice(list("abcdefghij"), size=size)) for size in rng.integers(6, 30, size=30)]
    found = call(texts, prompts=[i // 2 for i in range(30)])
    assert found.low < found.value < found.high
    assert found.n == 15
    assert isinstance(found, Bootstrapped | Jackknifed)
    with pytest.raises(ValueError, match="1 prompts for 30"):
        call(texts, prompts=[1])
    upper = call(
        [text.upper().replace(" ", "_") for text in texts], tokenize=lambda text: re.split("[_ ]", text.lower())
    )
    if call is not CALLS[9]:
        assert upper.value == call(texts).value
    with pytest.raises(ValueError, match="no texts"):
        call([])
    with pytest.raises(TypeError, match="list of texts"):
        call("abc")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rep(TEXTS, 0), "n must be at least 1"),
        (lambda: distinct(TEXTS, 1, tokens=1000), "tokens must be between 1 and the 87"),
        (lambda: distinct(TEXTS, 1, tokens=0), "tokens must be"),
        (lambda: zipf(["a b c"]), "four different words"),
        (lambda: self_bleu.self_bleu(["a"]), "at least 2"),
        (lambda: self_bleu.self_bleu(TEXTS, 0), "n must be"),
        (lambda: self_bleu.self_bleu(TEXTS, smoothing="add-1"), "smoothing must be one of epsilon, exp, none"),
        (lambda: copying.copied_from_prompt(["a"], ["a", "b"]), "1 prefixes and 2 continuations"),
        (lambda: copying.copied_from(["a"], __import__("pathlib").Path("no such file")), "no file"),
    ],
)
def test_refused(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
    with pytest.raises(TypeError, match="sources must be texts or a Path"):
        copying.copied_from(["a"], "train.txt")
