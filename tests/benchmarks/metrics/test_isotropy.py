"""Streaming closed forms equal the quadratic definitions in float64; each number has the interval that fits it."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.metrics.isotropy import isotropy
from benchmarks.metrics.states import TextStates, read_states
from tests.support import tiny
from tests.support.golden import make_isoscore

GOLDEN = Path(__file__).parents[2] / "support" / "golden"
WORDS = tiny.tokenizer()
TEXTS = ["abc and so on", "it is longer than that one", "Hm, why", "so on, and on", "x", "The end. It is", "ab cd ef"]
FEW = pytest.mark.filterwarnings("ignore:.*tokens for .* dimensions")


def cosine(x, y):
    return x @ y / np.linalg.norm(x) / np.linalg.norm(y)


def within_pairs(texts):
    return [cosine(h[i], h[j]) for h in texts for i in range(len(h)) for j in range(len(h)) if i != j]


def across_pairs(texts):
    return [cosine(x, y) for a, h in enumerate(texts) for b, g in enumerate(texts) if a != b for x in h for y in g]


def released_isoscore(points):
    """Rudman et al. 2022, Algorithm 1, step by step: rotation, normalisation, distance, defect, share, score."""
    n = points.shape[1]
    centred = points - points.mean(0)
    rotated = centred @ np.linalg.svd(centred, full_matrices=False)[2].T
    diagonal = np.diag(np.cov(rotated.T))
    normalised = math.sqrt(n) * diagonal / np.linalg.norm(diagonal)
    defect = np.linalg.norm(normalised - np.ones(n)) / math.sqrt(2 * (n - math.sqrt(n)))
    share = (n - defect**2 * (n - math.sqrt(n))) ** 2 / n**2
    return (n * share - 1) / (n - 1)


@FEW
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_streaming_equals_quadratic(name):
    model = getattr(tiny, name)()
    rows = [WORDS(text)["input_ids"] for text in TEXTS]
    found = isotropy(read_states(model, rows, layers="all", batch_size=3))[None]
    assert [one.layer for one in found] == [0, 1, 2]
    for one in found:
        with torch.no_grad():
            whole = [
                model(torch.tensor([row]), output_hidden_states=True).hidden_states[one.layer][0].numpy()
                for row in rows
            ]
        assert one.within.value == pytest.approx(1 - np.mean(within_pairs(whole)), abs=1e-12)
        per_text = [1 - np.mean(within_pairs([h])) for h in whole if len(h) > 1]
        assert one.within_per_text.value == pytest.approx(np.mean(per_text), abs=1e-12)
        assert abs(one.within.value - one.within_per_text.value) > 1e-3
        rest = [h[1:] for h in whole]  # without the first position
        assert one.across.value == pytest.approx(np.mean(across_pairs(rest)), abs=1e-12)
        points = np.concatenate(rest)
        assert one.tokens == len(points)
        assert one.texts == 6  # "x" has nothing after its first token
        assert one.isoscore.value == pytest.approx(released_isoscore(points), abs=1e-10)
        values = np.maximum(np.linalg.eigvalsh(np.cov(points.T)), 0)
        assert one.participation_ratio.value == pytest.approx(values.sum() ** 2 / (values**2).sum())
        singular = np.linalg.svd(points - points.mean(0), compute_uv=False)
        p = singular / singular.sum()
        assert one.effective_rank.value == pytest.approx(math.exp(-(p * np.log(p)).sum()), rel=1e-5)
        p = singular**2 / (singular**2).sum()
        assert one.effective_rank_of_variance.value == pytest.approx(math.exp(-(p * np.log(p)).sum()), rel=1e-8)


@FEW
def test_rogue_dimensions_add_up_to_the_mean_cosine():
    rng = np.random.default_rng(0)
    texts = [rng.normal([0, 0, 3, 0, 0], 1, size=(rng.integers(2, 9), 5)) for _ in range(8)]
    [one] = isotropy([TextStates(i, 0, h[None]) for i, h in enumerate(texts)], skip=0)[None]
    units = [h / np.linalg.norm(h, axis=1, keepdims=True) for h in texts]
    shares = [np.mean(np.concatenate([np.outer(x[:, j], y[:, j]).ravel() for a, x in enumerate(units)
                                      for b, y in enumerate(units) if a != b])) for j in range(5)]  # fmt: skip
    assert one.across.value == pytest.approx(sum(shares))
    assert one.rogue[0] == (2, pytest.approx(shares[2] / sum(shares)))
    assert [share for _, share in one.rogue] == sorted((share for _, share in one.rogue), key=abs, reverse=True)
    assert len(one.rogue) == 3


@FEW
def test_first_positions_are_skipped_only_where_they_are_first():
    rng = np.random.default_rng(1)
    texts = [rng.normal(size=(6, 4)) for _ in range(12)]
    for h in texts:
        h[0] = [100 * rng.normal(), 0, 0, 1]  # a sink
    whole = [TextStates(i, 0, h[None]) for i, h in enumerate(texts)]
    after = [TextStates(i, 1, h[None, 1:]) for i, h in enumerate(texts)]  # as if the first token had been a prefix
    sink, rest, prefix = isotropy(whole, skip=0)[None][0], isotropy(whole)[None][0], isotropy(after)[None][0]
    assert rest.isoscore.value == prefix.isoscore.value
    assert rest.across.value == prefix.across.value
    assert rest.isoscore.value > 0.5 > sink.isoscore.value
    assert rest.within.value == sink.within.value != prefix.within.value
    assert isotropy(whole, skip=3)[None][0].tokens == 36


@FEW
def test_groups_are_measured_apart_and_order_does_not_matter():
    rng = np.random.default_rng(2)
    texts = [TextStates(i, 0, rng.normal(size=(2, 7, 3)) + i % 2) for i in range(10)]
    found = isotropy(texts[::-1], groups=["en", "de"] * 5)
    assert [*found] == ["en", "de"]
    for group, members in (("en", texts[::2]), ("de", texts[1::2])):
        alone = isotropy(members)[None]
        for one, other in zip(found[group], alone, strict=True):
            for name in ("within", "within_per_text", "across", "isoscore", "effective_rank"):
                assert getattr(one, name).value == pytest.approx(getattr(other, name).value)
                assert getattr(one, name).low == pytest.approx(getattr(other, name).low)


def test_intervals_are_over_texts():
    rng = np.random.default_rng(3)
    texts = [rng.normal(size=(1, 12, 3)) * rng.uniform(0.5, 2, 3) + rng.normal(0, 0.5, 3) for _ in range(40)]
    [one] = isotropy([TextStates(i, 0, h) for i, h in enumerate(texts)], blocks=8, skip=0)[None]
    for name in ("within", "within_per_text", "across", "isoscore", "participation_ratio", "effective_rank"):
        estimate = getattr(one, name)
        assert estimate.low < estimate.value < estimate.high, name
        assert estimate.n == 40
    assert one.within.how == "95% studentised bootstrap over 40 prompts"
    assert one.isoscore.how == "95% jackknife over 8 blocks of 40 texts"
    kept = [h for i, h in enumerate(texts) if i % 8 != 3]
    [without] = isotropy([TextStates(i, 0, h) for i, h in enumerate(kept)], skip=0)[None]
    for name in ("across", "isoscore", "effective_rank_of_variance"):
        assert getattr(one, name).left_out[3] == pytest.approx(getattr(without, name).value)
    json.dumps(one.as_dict(), allow_nan=False)


def test_interval_of_isoscore_covers_it():
    rng = np.random.default_rng(4)
    scale = np.array([3.0, 1.0, 1.0, 0.5])
    found = []
    for _ in range(50):
        texts = [TextStates(i, 0, (rng.normal(size=(1, 8, 4)) + rng.normal(size=4)) * scale) for i in range(40)]
        found.append(isotropy(texts, skip=0)[None][0].isoscore)
    mean = np.mean([one.value for one in found])
    assert np.mean([one.low <= mean <= one.high for one in found]) > 0.88


def test_few_tokens_warn():
    texts = [TextStates(i, 0, np.random.default_rng(i).normal(size=(1, 6, 4))) for i in range(3)]
    with pytest.warns(UserWarning, match="15 tokens for 4 dimensions: below 10 tokens a dimension"):
        isotropy(texts)


@pytest.mark.parametrize(
    ("states", "options", "message"),
    [
        ([TextStates(0, 0, np.ones((1, 5, 2)))], {}, "at least 2 texts of a few tokens"),
        ([], {"blocks": 1}, "at least 2 blocks"),
        ([TextStates(i, 0, np.ones((1, 1, 2))) for i in range(4)], {"skip": 0}, "a few tokens"),
        ([TextStates(i, 0, np.ones((1, 5, 2))) for i in range(4)], {"groups": list("aaab")}, "texts of 'b' of a few"),
        ([TextStates(i, 0, np.ones((1, 5, 2))) for i in range(4)], {"groups": list("aaa")}, "text 3 has no group"),
    ],
)  # fmt: skip
@FEW
def test_refused(states, options, message):
    with pytest.raises(ValueError, match=message):
        isotropy(states, **options)


@FEW
def test_isoscore_is_that_of_its_authors_package():
    """tests/support/golden says how their numbers were made: in float32 inside, hence the tolerance."""
    golden = json.loads((GOLDEN / "isoscore_2.0.1.json").read_text())
    clouds = dict(make_isoscore.clouds())
    assert clouds.keys() == golden.keys()
    for name, points in clouds.items():
        halves = np.array_split(points, 2)
        [found] = isotropy([TextStates(i, 0, half[None]) for i, half in enumerate(halves)], skip=0)[None]
        assert found.isoscore.value == pytest.approx(golden[name], abs=2e-6), name
    assert max(golden.values()) > 0.9 > 0.3 > min(golden.values())
