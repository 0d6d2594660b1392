"""Odd texts for every scorer: the score of a text alone is its score in any batch, a number or a rejection."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.odd import DRAWN
from tests.support.odd_texts import SCORERS, TEXTS


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
