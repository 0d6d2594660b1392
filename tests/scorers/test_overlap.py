"""Overlap: equal to its formula; fitted, saved and read again; better than chance on real books."""

import gzip
import json
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scorers import Overlap
from scorers.overlap import STOP_WORDS
from tests.support.oracles import scorers as oracles

WORDS = st.sampled_from(["cat", "Cat", "dog", "the", "a", "ran", "don't", "owl", "7", "über", ",", "--", "!"])
TEXTS = st.lists(WORDS, max_size=8).map(" ".join)


@settings(max_examples=100, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=5), st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=6))
def test_any_texts_equal_the_formula(corpus, pairs):
    prefixes, continuations = map(list, zip(*pairs, strict=True))
    plain = [oracles.overlap(prefix, text, STOP_WORDS) for prefix, text in pairs]
    torch.testing.assert_close(Overlap()(prefixes, continuations), torch.tensor(plain))
    weights = {word: oracles.idf(word, corpus) for text in continuations for word in text.lower().split()}
    weighted = [oracles.overlap(prefix, text, STOP_WORDS, weights) for prefix, text in pairs]
    torch.testing.assert_close(Overlap.fit(corpus)(prefixes, continuations), torch.tensor(weighted))


@pytest.mark.parametrize(
    ("prefix", "continuation", "score"),
    [
        ("The cat saw a dog.", "A CAT!", 1.0),  # stop words and marks do not count, nor does case
        ("The cat saw a dog.", "cat cat cat owl", 1 / 4),  # a word of the prefix is found once
        ("cat cat", "cat cat cat owl", 2 / 4),
        ("It\u2019s Ann\u2019s house--old", "ann's old house", 1.0),  # one kind of apostrophe; dashes part words
        ("cat", "the of and", 0.0),
        ("cat", "", 0.0),
        ("", "cat", 0.0),
        ("der Hund", "Der Hund schläft", 2 / 3),
    ],
)  # fmt: skip
def test_what_counts(prefix, continuation, score):
    torch.testing.assert_close(Overlap()([prefix], [continuation]), torch.tensor([score]))


def test_rare_words_count_more():
    fitted = Overlap.fit(["cat sat", "cat ran", "cat slept", "zebra slept"])
    common, rare = fitted(["cat zebra"] * 2, ["cat slept", "zebra slept"])
    assert rare > common
    assert Overlap()(["cat zebra"] * 2, ["cat slept", "zebra slept"]).tolist() == [0.5, 0.5]
    assert fitted.weight("never seen") > fitted.weight("zebra") > fitted.weight("cat") >= 1


def test_stop_words_are_an_argument():
    assert Overlap(stop_words=frozenset())(["the cat"], ["the owl"]) == 0.5
    assert Overlap(stop_words=frozenset({"OWL", "Don\u2019t"}))(["the cat"], ["the owl don't"]) == 1.0
    fitted = Overlap.fit(["a b", "b c"], stop_words=["OWL"])
    assert fitted.stop_words == {"owl"}
    assert fitted(["the cat"], ["the owl"]) == 1.0


def test_what_is_saved_is_read(tmp_path):
    fitted = Overlap.fit(["a cat sat", "über owl"], stop_words=["sat"])
    fitted.save(tmp_path / "idf.json")
    assert Overlap.load(tmp_path / "idf.json") == fitted
    assert [file.name for file in tmp_path.iterdir()] == ["idf.json"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"documents": 1, "frequencies": 3, "stop_words": []}'])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "idf.json").write_text(content)
    with pytest.raises(ValueError, match=r"idf.json holds no word frequencies"):
        Overlap.load(tmp_path / "idf.json")


def test_nothing_to_fit():
    with pytest.raises(ValueError, match="no texts"):
        Overlap.fit([])
    with pytest.raises(TypeError, match="many texts"):
        Overlap.fit("cat")


def test_it_identifies_suffixes_of_books(real_data):
    """2-way, in-book negatives, as Krishna et al. 2022, table 1 (theirs: 79.4 on PG19; GPT2-XL 72.3)."""
    with gzip.open(real_data("classic_books.jsonl.gz"), "rt") as stream:
        books = [json.loads(line)["text"] for line in stream]
    cut = lambda text: [text[i : i + 2000].split(None, 240) for i in range(0, 60_000, 2000)]
    fitted = Overlap.fit(" ".join(words) for text in books[:20] for words in cut(text))
    draw, right = random.Random(0), {"plain": 0, "fitted": 0}
    for text in books[20:50]:
        windows = cut(text)
        pairs = [(" ".join(words[:200]), " ".join(words[200:240])) for words in windows]
        for i, (prefix, own) in enumerate(pairs[:10]):
            other = draw.choice([text for j, (_, text) in enumerate(pairs) if abs(i - j) > 1])
            for name, scorer in {"plain": Overlap(), "fitted": fitted}.items():
                gold, negative = scorer([prefix] * 2, [own, other])
                right[name] += float(gold > negative)
    assert right["plain"] > 0.6 * 300
    assert right["fitted"] > 0.6 * 300
