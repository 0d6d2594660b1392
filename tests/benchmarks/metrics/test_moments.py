"""Moments that merge exactly, and spectra."""

import numpy as np
import pytest

from benchmarks.metrics.moments import Moments, exp_entropy, isoscore, participation_ratio


def test_moments_merge_exactly():
    rng = np.random.default_rng(5)
    x = rng.normal(1e3, 1, size=(50, 4))  # far from the origin, where sums of squares would lose digits
    merged = sum((Moments.of(part) for part in np.split(x, [0, 7, 8, 30])), Moments())
    np.testing.assert_allclose(merged.scatter / 50, np.cov(x.T, bias=True), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(merged.mean, x.mean(0))
    assert merged.n == 50


def test_spectra_by_hand():
    assert isoscore(np.ones(7)) == pytest.approx(1)
    assert isoscore(np.eye(7)[0]) == 0
    assert participation_ratio(np.array([1.0, 1, 0, 0])) == 2
    assert exp_entropy(np.array([0.5, 0.25, 0.25])) == pytest.approx(2**1.5)
