"""Intervals cover what they say, where docs/results/metrics.md says so."""

import numpy as np
import pytest

from benchmarks.studies import coverage
from benchmarks.studies.coverage import LAWS, cover, cover_difference, summarise


@pytest.mark.slow
@pytest.mark.parametrize(("law", "least"), [(LAWS[0], 0.93), (LAWS[1], 0.86), (LAWS[2], 0.92), (LAWS[3], 0.92)])
def test_intervals_of_ten_prompts_cover(law, least):
    """The percentile bootstrap covers 0.90, 0.80, 0.88 and 0.89 there."""
    assert cover(law, 10, draws=400, resamples=499).share > least


@pytest.mark.slow
def test_intervals_of_paired_differences_cover():
    assert cover_difference(10, draws=300, resamples=499).share > 0.93


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_laws_have_the_truth_that_they_say(law):
    found = coverage.bootstrap(law.draw(np.random.default_rng(0), 40_000), resamples=2)
    assert found.value == pytest.approx(law.truth, abs=0.03)


def test_counts_by_hand():
    intervals = [(0.0, 1.0), (0.6, 1.0), (float("nan"), float("nan")), (0.4, 0.8)]
    assert summarise("x", 9, intervals, 0.5) == ("x", 9, pytest.approx(2 / 3), pytest.approx(0.4), 0.25)
