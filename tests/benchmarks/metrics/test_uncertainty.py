"""Intervals and tests equal scipy's where scipy has them, cover what they say, and refuse what they do not fit."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from benchmarks.metrics import uncertainty
from benchmarks.metrics.diversity import distinct, unique_and_total
from benchmarks.metrics.uncertainty import Estimate, bootstrap, jackknife, over_runs
from tests.support.intervals import studentised

RNG = np.random.default_rng(0)


def ratio_of(a, b, axis=-1):
    return a.sum(axis) / b.sum(axis)


@pytest.mark.parametrize("n", [2, 3, 8, 20])
@pytest.mark.parametrize("kind", ["mean", "ratio", "product"])
def test_bootstrap_is_the_studentised_one_written_out(kind, n):
    rng = np.random.default_rng(n)
    counts = {
        "mean": np.stack([rng.exponential(size=n), np.ones(n)], 1),
        "ratio": np.stack([rng.poisson(5, n), rng.poisson(20, n) + 1], 1),
        "product": np.stack([rng.poisson(5, n), rng.poisson(9, n) + 1, rng.poisson(5, n), rng.poisson(9, n) + 1], 1),
    }[kind].astype(float)
    statistic = (lambda s: uncertainty.ratio(s[..., :2]) * uncertainty.ratio(s[..., 2:])) if kind == "product" else None
    found = bootstrap(counts, statistic or uncertainty.ratio, resamples=300, seed=4)
    expected = studentised(counts, statistic or uncertainty.ratio, 300, 4)
    assert (found.low, found.high) == pytest.approx(expected)
    assert found.low < found.value < found.high


def test_bootstrap_of_many_prompts_is_near_scipys():
    values = RNG.exponential(size=400)
    found = bootstrap(values)
    expected = stats.bootstrap((values,), np.mean, method="BCa", rng=np.random.default_rng(1)).confidence_interval
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.01)
    assert (found.n, found.how) == (400, "95% studentised bootstrap over 400 prompts")


def test_bootstrap_of_a_ratio_of_sums_is_near_scipys():
    a, b = RNG.poisson(5, 400), RNG.poisson(20, 400) + 1
    found = bootstrap(np.stack([a, b], 1))
    expected = stats.bootstrap(
        (a, b), ratio_of, paired=True, method="BCa", rng=np.random.default_rng(1)
    ).confidence_interval
    assert found.value == a.sum() / b.sum()
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.002)
    assert found.per_text == pytest.approx(a / b)


def test_prompts_that_agree_give_no_interval():
    found = bootstrap([0.0] * 12)
    assert (found.value, found.how) == (0.0, "none: all 12 prompts agree")
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    found = jackknife(lambda rows: 0.5, 12)
    assert (found.value, found.how) == (0.5, "none: all 12 blocks of prompts agree")
    assert math.isnan(found.low)


def test_intervals_end_at_the_bounds():
    found = bootstrap([0.0, 0.0, 1.0, 0.1], bounds=(0.0, 1.0))
    assert (found.low, found.high) == (0.0, 1.0)


def test_chunks_of_draws_change_nothing_but_memory(monkeypatch):
    tables = [*uncertainty.draws(7, 50, 3)]
    assert [table.shape for table in tables] == [(50, 7)]
    assert (tables[0].sum(1) == 7).all()
    monkeypatch.setattr(uncertainty, "CHUNK", 70)
    parts = [*uncertainty.draws(7, 55, 3)]
    assert [table.shape for table in parts] == [(10, 7)] * 5 + [(5, 7)]
    assert len(np.unique(np.concatenate(parts), axis=0)) > 40  # not the same draws again


def test_texts_of_one_prompt_are_drawn_together():
    """Three copies of each value tell no more than one."""
    values = RNG.normal(size=30)
    prompts = np.repeat(np.arange(30), 3).tolist()
    alone, thrice = bootstrap(values), bootstrap(np.repeat(values, 3), prompts=prompts)
    assert (thrice.low, thrice.high, thrice.n) == pytest.approx((alone.low, alone.high, 30))
    blind = bootstrap(np.repeat(values, 3))
    assert blind.high - blind.low < 0.7 * (alone.high - alone.low)
    assert thrice.per_text.shape == (90,)


def test_texts_without_a_value_are_left_out_but_keep_their_place():
    found = bootstrap([1.0, math.nan, 3.0])
    assert found.value == 2
    assert np.isnan(found.per_text[1])
    assert found.n == 3


@pytest.mark.parametrize("found", [bootstrap([1.0]), jackknife(lambda rows: 1.0, 1), over_runs([1.0])], ids=repr)
def test_of_one_prompt_nothing_is_known(found):
    assert found.value == 1
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.how.startswith("none: one")
    assert json.loads(json.dumps(found.as_dict(), allow_nan=False))["low"] is None


def test_jackknife_of_a_mean_is_the_t_interval():
    values = RNG.normal(size=15)
    found = jackknife(lambda rows: values[rows].mean(), 15)
    assert (found.low, found.high) == pytest.approx(
        stats.t.interval(0.95, 14, values.mean(), stats.sem(values)), abs=1e-12
    )


def test_blocks_leave_out_equal_numbers_of_prompts_and_never_the_rest():
    seen = []

    def statistic(rows):
        seen.append(rows)
        return float(rows[0])

    found = jackknife(statistic, 47, blocks=20)
    assert seen[0].tolist() == [*range(47)]
    gone = [set(range(47)) - set(rows) for rows in seen[1:]]
    assert [len(block) for block in gone] == [2] * 20
    assert len(set().union(*gone)) == 40
    assert all((np.diff(rows) > 0).all() for rows in seen)
    assert "20 blocks of 2 of 47" in found.how
    seen.clear()
    assert "39 blocks of 1 of 39" in jackknife(statistic, 39, blocks=20).how
    assert len(seen) == 40


def test_jackknife_with_blocks_and_leftovers_has_the_error_of_a_mean():
    values = RNG.normal(size=2010)
    found = jackknife(lambda rows: values[rows].mean(), 2010)
    t = stats.t.ppf(0.975, 19)
    assert (found.high - found.low) / 2 / t == pytest.approx(values.std() / np.sqrt(2010), rel=0.35)
    errors = [jackknife(lambda rows: values[rows].mean(), 2010, seed=seed) for seed in range(200)]
    mean = np.mean([((one.high - one.low) / 2 / t) ** 2 for one in errors]) ** 0.5
    assert mean == pytest.approx(values.std() / np.sqrt(2010), rel=0.03)


def test_jackknife_takes_prompts_not_texts():
    rows = []
    jackknife(lambda kept: rows.append(kept) or 0.0, 6, prompts=["a", "b", "a", "c", "b", "c"])
    assert [sorted(set(range(6)) - set(kept)) for kept in rows] == [[], [0, 2], [1, 4], [3, 5]]


def corpus(rng, texts=100, words=15):
    """Words of a Zipf law, as new as if more had been written."""
    return [" ".join(map(str, row)) for row in rng.zipf(1.6, size=(texts, words))]


def test_jackknife_fits_distinct_n_and_a_bootstrap_does_not():
    """The true deviation is that over corpora; a resampled corpus has a fifth fewer distinct words to begin with."""
    rng = np.random.default_rng(5)
    found = [distinct(corpus(rng), 1) for _ in range(150)]
    true = np.std([one.value for one in found])
    covered = np.mean([one.low <= np.mean([two.value for two in found]) <= one.high for one in found])
    error = np.mean([(one.high - one.low) / 2 / stats.t.ppf(0.975, 19) for one in found])
    assert 0.9 < error / true < 1.3
    assert covered > 0.92
    texts = corpus(rng)
    resampled = [distinct([texts[i] for i in rng.integers(0, 100, 100)], 1, blocks=2).value for _ in range(100)]
    assert np.max(resampled) < distinct(texts, 1).value - 2 * true


def test_bootstrap_covers_pooled_diversity():
    """Unique n-grams of each text alone are a sum, so this one may be bootstrapped."""
    rng = np.random.default_rng(6)
    counts = [unique_and_total(corpus(rng), [2], str.split) for _ in range(150)]
    found = [bootstrap(one, resamples=999) for one in counts]
    mean = np.mean([one.value for one in found])
    assert np.mean([one.low <= mean <= one.high for one in found]) > 0.88


def test_over_runs_is_the_t_interval():
    values = [0.91, 0.95, 0.9]
    found = over_runs(values)
    assert (found.low, found.high) == pytest.approx(stats.t.interval(0.95, 2, np.mean(values), stats.sem(values)))


# comparisons


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bootstrap([]), "counts must be"),
        (lambda: bootstrap(np.zeros((2, 2, 2))), "counts must be"),
        (lambda: bootstrap([1.0, math.inf]), "finite"),
        (lambda: bootstrap([1.0, 2.0], prompts=[1]), "1 prompts for 2 texts"),
        (lambda: jackknife(len, 0), "at least 1 text"),
        (lambda: jackknife(len, 4, blocks=1), "2 blocks"),
        (lambda: jackknife(len, 4, prompts=[1, 2, 3]), "3 prompts for 4 texts"),
        (lambda: over_runs([]), "at least one run"),
    ],
)
def test_refused(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def test_estimates_go_into_json():
    found = bootstrap([1.0, 2.0, 4.0]).as_dict()
    assert [*found] == ["value", "low", "high", "how", "n"]
    json.dumps(found, allow_nan=False)
    assert Estimate(1.0, 0.0, 2.0, "", 3, p=0.5).as_dict()["p"] == 0.5
