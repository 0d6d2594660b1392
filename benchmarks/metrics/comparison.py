"""Comparison of two systems on the same prompts: a difference, its interval, and a p-value."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from .uncertainty import (
    CHUNK,
    Bootstrapped,
    Estimate,
    Jackknifed,
    interval_of_sums,
    jackknife_error,
    jackknife_interval,
)


@dataclass(frozen=True)
class Comparison:
    """How much one estimate exceeds another on the same prompts.

    Args:
        difference: the first estimate minus the second.
        low: the lower end of its 95% interval.
        high: the upper end of its 95% interval.
        p: the two-sided p-value of no difference.
        how: which test gave it.
        n: the number of prompts.
    """

    difference: float
    low: float
    high: float
    p: float
    how: str
    n: int


def compare_paired(a: Estimate, b: Estimate, *, permutations: int = 9999, seed: int = 0) -> Comparison:
    """a - b on the same prompts, its 95% interval, and the two-sided p-value of no difference.

    - Bootstrapped numbers: the names of the two systems are swapped prompt by prompt, at random. For a mean these are
      Fisher's sign flips; for a ratio, whole counts change sides. p = (1 + as large) / (1 + permutations). The interval
      draws the same prompts for both.
    - Jackknifed numbers: a t test of the differences without each block.

    Raises:
        ValueError: the two are not the same metric on the same number of prompts, or no paired test fits, as for MAUVE.

    Example:
        >>> from benchmarks.metrics.uncertainty import bootstrap
        >>> a, b = bootstrap([1.0, 2, 3, 4, 5, 6]), bootstrap([0.0, 1, 2, 3, 4, 6])
        >>> compare_paired(a, b).difference, compare_paired(a, b).p < 0.1
        (0.8333333333333335, True)
    """
    if isinstance(a, Bootstrapped) and isinstance(b, Bootstrapped):
        if a.counts.shape != b.counts.shape or a.statistic is not b.statistic:
            raise ValueError("compare_paired takes the same metric of two decoders on the same prompts, in order")
        return compare_counts(a, b, permutations, seed)
    if isinstance(a, Jackknifed) and isinstance(b, Jackknifed) and len(a.left_out) > 1:
        if (a.n, len(a.left_out)) != (b.n, len(b.left_out)):
            raise ValueError("compare_paired takes the same metric of two decoders on the same prompts, in order")
        difference, left_out = a.value - b.value, a.left_out - b.left_out
        error = jackknife_error(left_out, a.n)
        p = 2 * stats.t.sf(abs(difference) / error, len(left_out) - 1) if error else float(not difference)
        low, high = jackknife_interval(difference, left_out, a.n)
        return Comparison(difference, low, high, float(p), f"t test, {a.how[4:]}", a.n)
    raise ValueError(f"no paired test fits {type(a).__name__} ({a.how}) and {type(b).__name__} ({b.how})")


def compare_counts(a: Bootstrapped, b: Bootstrapped, permutations: int, seed: int) -> Comparison:
    """`compare_paired` for two functions of sums."""
    change, (of_a, of_b), n = b.counts - a.counts, (a.counts.sum(0), b.counts.sum(0)), a.n
    observed, larger, known = a.value - b.value, 0, 0
    rng, step = np.random.default_rng(seed), max(1, CHUNK // n)
    for start in range(0, permutations, step):
        swap = rng.integers(0, 2, (min(step, permutations - start), n)).astype(float) @ change
        found = a.statistic(of_a + swap) - a.statistic(of_b - swap)
        larger += int((np.abs(found) >= abs(observed) * (1 - 1e-9)).sum())
        known += int((~np.isnan(found)).sum())
    columns = a.counts.shape[1]

    def difference(sums: NDArray) -> NDArray:
        return a.statistic(sums[..., :columns]) - a.statistic(sums[..., columns:])

    low, high = interval_of_sums(np.concatenate([a.counts, b.counts], 1), difference, permutations, seed)
    if np.isnan(low) and not change.any():  # the counts of both are equal
        low = high = observed
    p = (1 + larger) / (1 + known) if not np.isnan(observed) else np.nan
    return Comparison(observed, low, high, p, f"swaps of {n} prompts, paired studentised bootstrap", n)


def holm(p: ArrayLike) -> NDArray:
    """p-values adjusted for M tests in one table: (M,) -> (M,). Holm 1979.

    They bound the probability of any false difference in the table.

    Example:
        >>> holm([0.01, 0.04, 0.03]).tolist()
        [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, dtype=float)
    order = np.argsort(values)
    raised = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    found = np.empty_like(values)
    found[order] = np.minimum(raised, 1)
    return found
