"""Odd texts for every scorer: the score of a text alone is its score in any batch, a number or a rejection."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import scorers
from tests.scorers.test_embedding import bert
from tests.scorers.test_reward import gpt2 as reward_model
from tests.support import tiny
from tests.support.odd import DRAWN

WORDS, MODEL = tiny.tokenizer(), tiny.llama()

SCORERS = {
    "Overlap": scorers.Overlap,
    "Likelihood": lambda: scorers.Likelihood(MODEL, WORDS),
    "Likelihood.pmi": lambda: scorers.Likelihood.pmi(MODEL, WORDS),
    "Likelihood.noisy_channel": lambda: scorers.Likelihood.noisy_channel(MODEL, WORDS),
    "Embedding": lambda: scorers.Embedding(bert(), WORDS),
    "RewardModel": lambda: scorers.RewardModel(reward_model(), WORDS, append_eos=True),
    "MBR": lambda: scorers.MBR(lambda a, b: float(len(set(a) & set(b)))),
    "Weighted": lambda: scorers.Weighted([(1, scorers.Overlap()), (0.5, scorers.Likelihood(MODEL, WORDS))]),
    "Function": lambda: scorers.Function(lambda prefixes, texts: [len(text) for text in texts]),
}

TEXTS = {
    "empty": "", "a space": " ", "white space alone": " \n\t\r ", "very long": "so it goes on and on, " * 400,
    "one long word": "a" * 5000, "a NUL": "a\0b", "no known token": "\u6f22\u5b57",
    "emoji": "\U0001f468\u200d\U0001f469",
    "right to left": "\u202eabc\u202c \u05d0\u05d1", "combining marks": "e\u0301\u0302\u0303" * 20,
    "a byte order mark": "\ufeffHm", "special tokens as text": "<eos><pad><bos>", "a replacement character": "\ufffd",
    "private use": "\ue000 \U000f0000",
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:the model reads .* tokens, and some texts are longer")
@pytest.mark.parametrize("name", SCORERS)
def test_odd_texts(name):
    """As continuations and as prefixes; alone and together, though of a set-wise scorer only the others matter."""
    scorer = SCORERS[name]()
    odd = list(TEXTS.values())
    pairs = [("The night was", text) for text in odd] + [(text, " so it") for text in odd]
    prefixes, continuations = map(list, zip(*pairs, strict=True))
    together = scorer(prefixes, continuations)
    assert together.shape == (len(pairs),)
    assert together.dtype == torch.float32
    assert not together.isnan().any()
    assert (together < torch.inf).all()
    if not scorer.setwise:
        for place in (0, 3, 6, len(odd), len(odd) + 3, len(odd) + 6):
            alone = scorer([prefixes[place]], [continuations[place]])
            torch.testing.assert_close(alone, together[[place]], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", SCORERS)
def test_no_texts_and_no_such_texts(name):
    scorer = SCORERS[name]()
    assert scorer([], []).shape == (0,)
    for wrong, error, message in (
        (["\ud800"], ValueError, "0 is no Unicode: half a character at place 0"),
        ([b"bytes"], TypeError, "0 is a bytes, and a scorer reads texts"),
        ([None], TypeError, "0 is a NoneType, and a scorer reads texts"),
        ("text", TypeError, "takes lists of texts"),
        (["a", "b"], ValueError, "give one to each"),
    ):
        with pytest.raises(error, match=message):
            scorer(["x"], wrong)
        with pytest.raises(error, match=message):
            scorer(wrong, ["x"])


@settings(max_examples=DRAWN["texts for scorers"], deadline=None, derandomize=True, database=None)
@given(st.text(max_size=30), st.text(max_size=30), st.sampled_from(list(SCORERS)))
def test_any_text(prefix, text, name):
    """What hypothesis calls a text may have half characters; those are refused, all else is scored."""
    scorer = SCORERS[name]()
    if any("\ud800" <= c <= "\udfff" for c in prefix + text):
        with pytest.raises(ValueError, match="no Unicode"):
            scorer([prefix], [text])
        return
    one, two = scorer([prefix, prefix], [text, text]).tolist()
    assert one == two
    assert one < float("inf")
