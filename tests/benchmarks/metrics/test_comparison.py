"""P values of pairs of decoders: swaps, t tests, Holm."""

import itertools

import numpy as np
import pytest
from scipy import stats

from benchmarks.metrics import uncertainty
from benchmarks.metrics.comparison import compare_paired, holm
from benchmarks.metrics.diversity import distinct, diversity
from benchmarks.metrics.uncertainty import bootstrap, jackknife, over_runs
from tests.support.intervals import studentised

RNG = np.random.default_rng(0)


def test_swaps_are_exact_sign_flips_of_a_mean():
    a, b = RNG.normal(0.4, 1, 10), RNG.normal(size=10)
    every = [np.mean(np.multiply(signs, a - b)) for signs in itertools.product([-1, 1], repeat=10)]
    exact = np.mean(np.abs(every) >= abs((a - b).mean()) - 1e-12)
    found = compare_paired(bootstrap(a), bootstrap(b), permutations=20000)
    assert found.p == pytest.approx(exact, abs=0.015)
    assert found.difference == pytest.approx((a - b).mean())
    differences = np.stack([a - b, np.ones(10)], 1)
    low, high = studentised(differences, uncertainty.ratio, 4000, 0)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.04 * (high - low))  # an end may be near 0
    assert compare_paired(bootstrap(b), bootstrap(a), permutations=20000).p == pytest.approx(found.p, abs=0.02)


def test_swaps_of_a_ratio_change_whole_counts():
    a, b = RNG.poisson([6, 15], (9, 2)), RNG.poisson([6, 15], (9, 2))
    every = []
    for swapped in itertools.product([False, True], repeat=9):
        one, other = np.where(np.array(swapped)[:, None], (b, a), (a, b))
        every.append(one[:, 0].sum() / one[:, 1].sum() - other[:, 0].sum() / other[:, 1].sum())
    exact = np.mean(np.abs(every) >= abs(every[0]) - 1e-12)
    assert compare_paired(bootstrap(a), bootstrap(b), permutations=20000).p == pytest.approx(exact, abs=0.015)


def test_p_values_of_equal_decoders_are_uniform_and_of_others_small():
    rng = np.random.default_rng(3)
    p = []
    for _ in range(120):
        a, b = (bootstrap(rng.normal(size=40), resamples=9) for _ in range(2))
        p.append(compare_paired(a, b, permutations=199).p)
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert min(p) >= 1 / 200
    shared = rng.normal(size=40)  # the prompts' own difficulty cancels
    a, b = bootstrap(shared + 0.3 + rng.normal(0, 0.1, 40)), bootstrap(shared + rng.normal(0, 0.1, 40))
    assert compare_paired(a, b).p < 0.001
    assert compare_paired(a, b, permutations=99).p == 0.01  # what was seen is one of the permutations
    assert compare_paired(a, b).low > 0
    assert a.low < b.high  # their own intervals overlap


def test_equal_results_have_p_1():
    a = diversity(["a b a b a", "c d e f g"])
    found = compare_paired(a, a)
    assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)
    texts = ["a b c", "a c d", "b d e"]
    assert compare_paired(distinct(texts, 1), distinct(texts, 1)).p == 1


def test_jackknifed_numbers_compare_by_a_t_test():
    a, b = RNG.normal(0.8, 1, 12), RNG.normal(size=12)
    found = compare_paired(*(jackknife(lambda rows, v=values: v[rows].mean(), 12) for values in (a, b)))
    expected = stats.ttest_rel(a, b)
    assert found.p == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval()
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_what_cannot_be_compared_is_refused():
    a, b = bootstrap([1.0, 2.0]), bootstrap([1.0, 2.0, 3.0])
    for one, other in ((a, b), (a, bootstrap([1.0, 2.0], lambda sums: sums[..., 0] / sums[..., 1]))):
        with pytest.raises(ValueError, match="same metric of two decoders on the same prompts"):
            compare_paired(one, other)
    with pytest.raises(ValueError, match="same metric of two decoders on the same prompts"):
        compare_paired(jackknife(len, 4), jackknife(len, 5))
    seeds = over_runs([0.9, 0.8], "k-means seeds")
    with pytest.raises(ValueError, match="no paired test fits Estimate"):
        compare_paired(seeds, seeds)
    with pytest.raises(ValueError, match="no paired test fits"):
        compare_paired(a, jackknife(len, 2))


def test_holm_by_hand():
    p = [0.01, 0.02, 0.03, 0.5]
    assert holm(p).tolist() == pytest.approx([0.04, 0.06, 0.06, 0.5])
    assert holm(p[::-1]).tolist() == pytest.approx([0.5, 0.06, 0.06, 0.04])
    assert holm([0.9, 0.8]).tolist() == [1, 1]
