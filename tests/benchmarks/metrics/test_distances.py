"""Distances between sets of texts are their definitions, and their p values hold."""

import itertools

import numpy as np
import pytest
from scipy import linalg, stats
from scipy.spatial.distance import cdist
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.naive_bayes import GaussianNB
from sklearn.preprocessing import StandardScaler

from benchmarks.metrics import distances, synthetic
from benchmarks.metrics.distances import classifier_auroc, energy_distance, frechet_distance
from benchmarks.metrics.uncertainty import draws

RNG = np.random.default_rng(0)


X, Y = RNG.normal(size=(40, 6)), RNG.normal(0.4, 1.3, size=(40, 6))


def energy(x, y):
    return 2 * cdist(x, y).mean() - cdist(x, x).mean() - cdist(y, y).mean()


def frechet(x, y):
    a, b = np.cov(x.T), np.cov(y.T)
    return ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a + b - 2 * linalg.sqrtm(a @ b).real)


def test_energy_distance_is_its_definition():
    found = energy_distance(X, Y)
    assert found.value == pytest.approx(energy(X, Y))
    assert energy_distance(X + 1e6, Y + 1e6).value == pytest.approx(energy(X, Y))
    assert energy_distance(X, X).value == pytest.approx(0, abs=1e-8)
    assert energy_distance(X, X).p == 1
    flat = energy_distance(X[:, :1], Y[:, :1]).value  # in one dimension scipy has its square root
    assert flat == pytest.approx(stats.energy_distance(X[:, 0], Y[:, 0]) ** 2)


def test_permutation_p_value_is_that_of_all_swaps():
    x, y = X[:8], Y[:8] + 0.3
    every = []
    for swap in itertools.product([False, True], repeat=8):
        choose = np.array(swap)[:, None]
        every.append(energy(np.where(choose, y, x), np.where(choose, x, y)))
    exact = np.mean(np.array(every) >= every[0] - 1e-12)
    assert 0.02 < exact < 0.9
    assert energy_distance(x, y, permutations=9999).p == pytest.approx(exact, abs=0.015)


def test_energy_p_values_are_uniform_for_one_distribution():
    rng = np.random.default_rng(1)
    p = [energy_distance(rng.normal(size=(30, 3)), rng.normal(size=(30, 3)), permutations=99).p for _ in range(150)]
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert energy_distance(X, Y + 1).p == 0.001


def test_rows_of_one_prompt_change_sides_together():
    x, y = np.repeat(X[:6], 10, 0), np.repeat(Y[:6], 10, 0)
    prompts = np.repeat(np.arange(6), 10).tolist()
    blind, known = energy_distance(x, y), energy_distance(x, y, prompts=prompts)
    assert known.value == pytest.approx(blind.value)
    assert known.p > 1 / 2**6 > blind.p
    assert known.n == 6
    assert known.high - known.low > blind.high - blind.low


@pytest.mark.parametrize("rows", [40, 5])
def test_frechet_distance_is_its_definition(rows):
    """Also with fewer rows than dimensions, where the root of the product is of a singular matrix."""
    x, y = X[:rows], Y[:rows]
    found = frechet_distance(x, y)
    assert found.value == pytest.approx(frechet(x, y), rel=1e-4 if rows == 5 else 1e-9)
    assert frechet_distance(x, x).value == pytest.approx(0, abs=1e-10)


def test_distances_without_a_block_are_those_of_the_rest():
    for measure, slow in ((energy_distance, energy), (frechet_distance, frechet)):
        found = measure(X[:30], Y[:30])  # a block a row
        expected = [slow(np.delete(X[:30], i, 0), np.delete(Y[:30], i, 0)) for i in range(30)]
        assert found.left_out == pytest.approx(expected)
        assert found.low < found.value < found.high


def test_jackknife_of_the_energy_distance_covers_it():
    rng = np.random.default_rng(2)
    found = [energy_distance(rng.normal(size=(60, 2)), rng.normal(0.8, 1, size=(60, 2)), permutations=9)
             for _ in range(120)]  # fmt: skip
    mean = np.mean([one.value for one in found])
    assert np.mean([one.low <= mean <= one.high for one in found]) > 0.88


def test_auroc_is_scikit_learns_of_each_fold(monkeypatch):
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(60, 4)), rng.normal(0.5, 1, (60, 4))
    x, y = x * [1, 30, 900, 0.01], y * [1, 30, 900, 0.01]  # dimensions differ in scale
    weights = [*draws(60, 100, 7)]
    monkeypatch.setattr(distances, "draws", lambda n, resamples, seed: weights)
    for classifier in (None, GaussianNB()):
        found = classifier_auroc(x, y, classifier, seed=7)
        fold = np.random.default_rng(7).permutation(60) % 5
        expected, resampled = [], []
        for held in range(5):
            train = np.concatenate([x[fold != held], y[fold != held]])
            labels, test = np.repeat([1, 0], 48), np.concatenate([x[fold == held], y[fold == held]])
            machine = classifier
            if machine is None:
                scale = StandardScaler().fit(train)
                machine, train, test = LogisticRegression(max_iter=2000), scale.transform(train), scale.transform(test)
            scores = machine.fit(train, labels).predict_proba(test)[:, 1]
            truth = np.repeat([1, 0], 12)
            expected.append(roc_auc_score(truth, scores))
            each = [np.tile(w[fold == held], 2) for w in weights[0]]
            resampled.append([roc_auc_score(truth, scores, sample_weight=w) for w in each])
        assert found.value == pytest.approx(np.mean(expected), abs=1e-9)
        interval = np.quantile(np.mean(resampled, axis=0), [0.025, 0.975])
        assert (found.low, found.high) == pytest.approx(tuple(interval), abs=1e-9)


def test_auroc_finds_a_half_between_equals_and_one_between_others():
    rng = np.random.default_rng(4)
    same = [classifier_auroc(rng.normal(size=(60, 3)), rng.normal(size=(60, 3))) for _ in range(30)]
    assert np.mean([one.value for one in same]) == pytest.approx(0.5, abs=0.05)
    assert classifier_auroc(X, Y + 9).value == 1
    assert classifier_auroc(X, X).value == pytest.approx(0.5)  # ties


def test_folds_do_not_part_a_prompt():
    """Each prompt has a place of its own, so that a classifier that saw the prompt would know nothing, and one that saw
    the same text would know all."""
    rng = np.random.default_rng(5)
    x = np.repeat(rng.normal(size=(20, 3)), 5, 0)
    y = np.repeat(rng.normal(size=(20, 3)), 5, 0)
    prompts = np.repeat(np.arange(20), 5).tolist()
    from sklearn.neighbors import KNeighborsClassifier

    leaking = classifier_auroc(x, y, KNeighborsClassifier(1))
    assert leaking.value == 1
    assert classifier_auroc(x, y, KNeighborsClassifier(1), prompts=prompts).value < 0.8


def test_authenticity_is_of_trees():
    rng = np.random.default_rng(6)
    ring = rng.normal(size=(150, 2))
    real = 3 * ring / np.linalg.norm(ring, axis=1, keepdims=True)
    made = rng.normal(size=(150, 2)) * 0.5  # one around the other: no line parts them
    assert synthetic.authenticity(real, made).value > 0.9
    assert synthetic.authenticity(real, made, LogisticRegression()).value < 0.7
