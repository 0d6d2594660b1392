"""MBR: the mean utility over all continuations of the prefix, copies counted."""

import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from scorers import MBR, Embedding, bleu, chrf
from scorers.mbr import metric
from tests.support import tiny

EMBEDDING = Embedding(tiny.llama(), tiny.tokenizer())
TEXTS = ["the cat sat on the mat", "the cat sat on a mat", "dogs run", "the cat sat on the mat", ""]


def lopsided(hypothesis, reference):
    """A utility that is not symmetrical."""
    return float(len(set(hypothesis) - set(reference)) + 2 * len(hypothesis))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("xy"), st.text("abc", max_size=3)), min_size=1, max_size=7))
def test_scores_are_mean_utilities(rows):
    expected = []
    for prefix, text in rows:
        utilities = [lopsided(text, other) for owner, other in rows if owner == prefix]
        expected.append(sum(utilities) / len(utilities))
    found = MBR(lopsided)([prefix for prefix, _ in rows], [text for _, text in rows])
    torch.testing.assert_close(found, torch.tensor(expected))


def test_owners_are_sets_apart_though_their_prefixes_are_equal():
    scorer = MBR(lopsided)
    found = scorer.score(scorer.read(["x", "x"]), [0, 1, 0], ["ab", "cd", "a"])
    assert found.tolist() == pytest.approx([(4 + 5) / 2, 4, 2])


def test_copies_are_votes_and_cost_nothing():
    asked = []
    count = lambda h, r: asked.append((h, r)) or float(h == r)
    assert MBR(count)(["x"] * 4, ["a", "b", "a", "a"]).tolist() == [0.75, 0.25, 0.75, 0.75]
    assert len(asked) == 4


@pytest.mark.parametrize(("utility", "name"), [(chrf, "sentence_chrf"), (bleu, "sentence_bleu")])
def test_chrf_and_bleu_are_sacrebleus(utility, name):
    sacrebleu = pytest.importorskip("sacrebleu")
    theirs = lambda h, r: getattr(sacrebleu, name)(h, [r]).score
    expected = [sum(theirs(h, r) for r in TEXTS) / len(TEXTS) for h in TEXTS]
    torch.testing.assert_close(MBR(utility)(["x"] * 5, TEXTS), torch.tensor(expected))
    assert expected[0] > expected[1] > expected[2] > expected[4] == 0


def test_chrf_is_the_default():
    pytest.importorskip("sacrebleu")
    assert torch.equal(MBR()(["x"] * 5, TEXTS), MBR(chrf)(["x"] * 5, TEXTS))


def test_embeddings_are_a_utility():
    texts = ["ab", "b c", "zz y", "ab", "x"]
    vectors = F.normalize(EMBEDDING.embed(texts), dim=-1)
    groups = [[0, 1, 3], [2, 4]]
    expected = torch.zeros(5)
    for group in groups:
        for i in group:
            expected[i] = sum(float(vectors[i] @ vectors[j]) for j in group) / len(group)
    found = MBR(EMBEDDING)(["x", "x", "y", "x", "y"], texts)
    torch.testing.assert_close(found, expected)


def test_each_text_is_embedded_once():
    seen = []
    hook = EMBEDDING.model.model.register_forward_pre_hook(
        lambda _, args, inputs: seen.append(len(inputs["input_ids"])), with_kwargs=True
    )
    MBR(EMBEDDING)(["x"] * 4, ["a", "b", "a", "c"])
    hook.remove()
    assert seen == [3]


def test_it_depends_on_the_set_and_wants_whole_texts():
    assert MBR(lopsided).setwise
    assert not MBR(lopsided).partial
    assert MBR(lopsided, partial=True).partial


def test_what_is_no_utility_is_refused():
    with pytest.raises(TypeError, match="is no utility: give a function of"):
        MBR("chrf")
    with pytest.raises(ValueError, match="not a number"):
        MBR(lambda h, r: float("nan"))(["x"], ["a"])


@pytest.mark.parametrize("utility", [chrf, bleu])
def test_the_extra_is_named_where_it_is_missing(monkeypatch, utility):
    metric.cache_clear()
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(ModuleNotFoundError, match=r"run `pip install 'decoding-toolkit\[mbr\]'`"):
        MBR(utility)
    MBR(lopsided)
