"""How often a ranker is right, with an interval of documents."""

import numpy as np
import pytest
import torch

from scorers.ranker_training.accuracy import identify, mean_with_interval
from scorers.ranker_training.pairs import (  # fmt: skip
    draw_distractors,
)
from tests.support.chains import window_at


def test_interval_is_of_documents():
    draw = np.random.default_rng(0)
    documents = draw.integers(0, 9, 200)
    values = (documents * 7919 % 10) / 10 + draw.random(200) / 100
    found = mean_with_interval(values.tolist(), documents.tolist())
    means = []
    for _ in range(2000):  # the same, by drawing documents one by one
        rows = np.concatenate([np.flatnonzero(documents == i) for i in draw.choice(np.unique(documents), 9)])
        means.append(values[rows].mean())
    assert found["mean"] == pytest.approx(values.mean(), abs=1e-4)
    assert [found["low"], found["high"]] == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.02)
    assert (found["windows"], found["documents"]) == (200, 9)
    assert mean_with_interval(values.tolist(), documents.tolist()) == found
    assert mean_with_interval([0.0] * 8 + [1.0], list(range(9)))["low"] == 0  # quantiles of what was drawn
    alone = mean_with_interval([0.0, 1.0], [3, 3])
    assert alone == {"mean": 0.5, "low": None, "high": None, "windows": 2, "documents": 1}


def test_ties_lose():
    windows = [window_at(0, 0, 1, 2, "made"), window_at(0, 2, 3, 4, "made"), window_at(1, 0, 1, 2)]
    vectors = lambda texts, values: {text: torch.tensor([value]) for text, value in zip(texts, values, strict=True)}
    prefix = vectors([w.prefix for w in windows], [1.0, 1.0, 1.0])
    suffix = vectors([*(w.continuation for w in windows), "made"], [1.0, 2.0, 1.0, 1.0])
    tasks = identify(windows, draw_distractors(windows), prefix, suffix)
    assert tasks == {"document": {0: 0.0, 1: 1.0}, "random": {0: 0.0, 1: 1.0, 2: 0.0}, "generated": {0: 0.0, 1: 1.0}}
