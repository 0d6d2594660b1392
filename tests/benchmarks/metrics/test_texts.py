"""Metrics of words: by hand, by the papers' formulas written out, and by nltk, sacreBLEU and the released codes."""

import math
import re
from collections import Counter
from itertools import islice

import numpy as np
import pytest

from benchmarks.metrics import copying, diversity, self_bleu, synthetic
from benchmarks.metrics.diversity import distinct, gen_length, rep, share_empty, zipf
from benchmarks.metrics.uncertainty import Bootstrapped, Jackknifed

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


# self-BLEU


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


# copying


def test_copied_from_the_prompt_is_each_texts_own():
    found = copying.copied_from_prompt(["a b c d", "x y z"], ["b c d e", "b c d"], 2)
    assert found.value == 2 / 5
    assert found.per_text.tolist() == [2 / 3, 0]
    assert copying.copied_from_prompt(["a b"], ["b b c"], 1).value == 2 / 3


def test_copied_from_a_file_is_what_any_line_has(tmp_path):
    file = tmp_path / "train.txt"
    file.write_text("a b c d\ne f g\n")
    texts = ["b c d e f", "e f g", "short"]
    expected = 3 / 6  # b c d, c d e, d e f are no one line's but the first
    found = copying.copied_from(texts, file, 2)
    assert found.value == (2 + 1 + 2) / (4 + 2)
    assert copying.copied_from(texts, file.read_text().splitlines(), 2).value == found.value
    assert copying.copied_from(texts, iter(["a b c d"]), 3).value == 1 / 4
    assert expected != found.value
    assert found.per_text[:2].tolist() == [3 / 4, 1]


# synthetic texts


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
