"""Words of every script."""

import sys

import numpy as np
import pytest

from benchmarks.metrics.diversity import diversity, rep
from benchmarks.metrics.words import words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("我们喜欢音乐。我们喜欢电影。", ["我们", "喜欢", "音乐", "我们", "喜欢", "电影"]),
        ("東京に行く。", ["東京", "に", "行く"]),
        ("ฉันรักแมว", ["ฉัน", "รัก", "แมว"]),
        ("He's 3.5 — isn't he?", ["He's", "3.5", "isn't", "he"]),
        ("नमस्ते दुनिया।", ["नमस्ते", "दुनिया"]),
        ("ฉันรักแมว and 東京", ["ฉัน", "รัก", "แมว", "and", "東京"]),
        (" …! \ufffd", []),
        ("", []),
    ],
)
def test_words_of_every_script(text, expected):
    assert words(text) == expected


def test_repetition_in_a_script_without_spaces_is_seen():
    once, often = "我们喜欢音乐和电影。", "我们喜欢音乐。" * 8
    assert np.isnan(diversity([once, often]).value)  # by spaces: texts of one word
    assert diversity([once], tokenize=words).value == 1
    assert rep([often], 3, tokenize=words).value == pytest.approx(1 - 3 / 22)  # of 24 words, 3 different
    assert diversity(["a b c d. a b c d."], tokenize=words).value == pytest.approx((4 / 7) * (4 / 6) * (4 / 5))


def test_words_without_icu_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "icu4py.breakers", None)
    with pytest.raises(ValueError, match=r"pip install 'decoding-toolkit\[languages\]'"):
        words("th")
