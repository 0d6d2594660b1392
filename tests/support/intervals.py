"""The studentised bootstrap, written out."""

import numpy as np
from scipy import stats

from benchmarks.metrics import uncertainty


def studentised(rows, statistic, resamples, seed):
    """The interval, an obvious way: one resample after the other, one prompt left out after the other."""
    n = len(rows)

    def error(sample):
        without = [statistic(np.delete(sample, i, 0).sum(0)) for i in range(n)]
        return np.sqrt((n - 1) / n * np.sum((without - np.mean(without)) ** 2))

    value, distances = statistic(rows.sum(0)), []
    for counts in np.concatenate([*uncertainty.draws(n, resamples, seed)]):
        sample = np.repeat(rows, counts.astype(int), 0)
        if error(sample) > 1e-9 * error(rows):
            distances.append((statistic(sample.sum(0)) - value) / error(sample))
    t, (low, high) = stats.t.ppf(0.975, n - 1), np.quantile(distances, [0.025, 0.975])
    return value - max(high, t) * error(rows), value - min(low, -t) * error(rows)
