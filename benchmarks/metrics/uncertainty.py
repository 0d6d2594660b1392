"""Uncertainty: how much a number would change with other prompts.

The unit is the prompt: texts of one prompt are resampled together. A sum of counts per text is bootstrapped. A
statistic of a whole corpus, such as the share of unique n-grams, is not: a resampled corpus holds the same text twice,
which no new corpus would. It gets a jackknife, which leaves out blocks of prompts and repeats none.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Statistic = Callable[[NDArray], NDArray]
CHUNK = 2**23  # how many numbers of a table of draws are held at once


@dataclass(frozen=True)
class Estimate:
    """A number and its uncertainty.

    Args:
        value: the number, over all texts.
        low: the lower end of the interval that `how` describes, cut off at `bounds`. NaN if there is no interval.
        high: the upper end.
        how: what kind of interval it is, and over how many prompts or runs.
        n: how many prompts there are, or texts if no prompts are known.
        p: the p-value of the test that belongs to the number, if there is one.
        bounds: the range of such numbers, which a t interval does not respect by itself.

    Example:
        >>> Estimate(0.98, 0.95, 1.01, "95% t interval over 5 k-means seeds", 1000, bounds=(0, 1)).as_dict()["high"]
        1.0
    """

    value: float
    low: float
    high: float
    how: str
    n: int
    p: float | None = field(default=None, kw_only=True)
    bounds: tuple[float, float] = field(default=(-np.inf, np.inf), kw_only=True, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            object.__setattr__(self, name, float(np.clip(getattr(self, name), *self.bounds)))

    def as_dict(self) -> dict[str, Any]:
        """A dictionary for JSON: value, low, high, how, n and, if there is a test, p.

        Numbers that are not finite become None.
        """
        found = {name: getattr(self, name) for name in ("value", "low", "high", "how", "n")}
        found |= {} if self.p is None else {"p": self.p}
        return {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in found.items()}


@dataclass(frozen=True)
class Bootstrapped(Estimate):
    """A function of sums over prompts, with its bootstrap interval.

    Args:
        counts: (n, K) float64, what each prompt adds to the sums.
        statistic: (..., K) sums -> (...) values. It must be the same for a sum and for any multiple of it.
        per_text: (N,) float64, the statistic of each text alone; NaN for a text that has none.
    """

    counts: NDArray = field(repr=False, compare=False)
    statistic: Statistic = field(repr=False, compare=False)
    per_text: NDArray = field(repr=False, compare=False)


@dataclass(frozen=True)
class Jackknifed(Estimate):
    """A statistic of the whole set, with its jackknife interval.

    Args:
        left_out: (B,) float64, the statistic without each block of prompts. B is 0 if there are under two prompts.
    """

    left_out: NDArray = field(repr=False, compare=False)


def ratio(sums: NDArray) -> NDArray:
    """(..., 2) sums -> first / second. It is NaN if the second is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return sums[..., 0] / sums[..., 1]


def bootstrap(
    counts: ArrayLike,
    statistic: Statistic = ratio,
    *,
    prompts: Sequence[Hashable] | None = None,
    resamples: int = 9999,
    seed: int = 0,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Bootstrapped:
    """`statistic` of the sum of all rows, and its 95% interval over resampled prompts; see `interval_of_sums`.

    Sums are resampled, not texts, as sacreBLEU does it, so that nothing is measured twice.

    Args:
        counts: (N,) numbers, one for each text, whose mean is taken; NaN for a text that has none. Or (N, K) counts.
        statistic: (..., K) sums -> (...) values. The default is first / second.
        prompts: (N,) what each text continues. Texts of one prompt stay together. None: each text has its own prompt.
        resamples: the number of resamples.
        seed: the seed of the draws.
        bounds: the range of the statistic. The interval ends there.

    Raises:
        ValueError: there are no texts, a count is infinite, or there is not one prompt for each text.

    Example:
        >>> mean = bootstrap([1.0, 2.0, 3.0, 4.0, 5.0])
        >>> mean.value, mean.low < 1.1, mean.high > 4.9
        (3.0, True, True)
    """
    rows = np.asarray(counts, dtype=float)
    if rows.ndim == 1:
        known = ~np.isnan(rows)
        rows = np.stack([np.where(known, rows, 0.0), known.astype(float)], 1)
    if rows.ndim != 2 or not len(rows):
        raise ValueError(f"counts must be (N,) or (N, K), N at least 1, not {rows.shape}")
    if not np.isfinite(rows).all():
        raise ValueError("counts must be finite: leave out the texts that have none, with rows of zeros")
    per_text, grouped = statistic(rows), grouped_sums(rows, prompts)
    n = len(grouped)
    low, high = interval_of_sums(grouped, statistic, resamples, seed)
    how = f"95% studentised bootstrap over {n} prompts"
    if np.isnan(low):
        how = "none: one prompt" if n == 1 else f"none: all {n} prompts agree"
    value = float(statistic(grouped.sum(0)))
    return Bootstrapped(value, low, high, how, n, counts=grouped, statistic=statistic, per_text=per_text, bounds=bounds)


def interval_of_sums(counts: NDArray, statistic: Statistic, resamples: int, seed: int) -> tuple[float, float]:
    """The 95% interval of `statistic` of the sum of (n, K) rows: studentised bootstrap or t, whichever is wider.

    Each resample is measured in its own standard errors, by its jackknife (Efron & Tibshirani 1993, chapter 12). This
    is what covers skewed numbers of few prompts. If prompts take few values, such as 0 and 1, many resamples have no
    error at all. There the t interval of the jackknife is the wider one and counts. Measured coverage is in
    docs/results/metrics.md. The interval is NaN if nothing can be said: one prompt, or prompts that all agree.
    """
    n = len(counts)
    value, error = float(statistic(counts.sum(0))), float(leave_one_out(counts, statistic, np.ones((1, n)))[1][0])
    if n < 2 or not error > 0:
        return np.nan, np.nan
    found = []
    for draw in draws(n, resamples, seed, columns=counts.shape[1]):
        values, errors = leave_one_out(counts, statistic, draw)
        told = errors > 1e-9 * error  # in resamples of equal prompts the error is mere rounding
        found.append((values[told] - value) / errors[told])
    distances = np.concatenate(found)
    least = stats.t.ppf([0.025, 0.975], n - 1)
    below, above = np.quantile(distances, [0.025, 0.975]) if len(distances) else least
    return float(value - max(above, least[1]) * error), float(value - min(below, least[0]) * error)


def leave_one_out(counts: NDArray, statistic: Statistic, draw: NDArray) -> tuple[NDArray, NDArray]:
    """The (b,) values of resamples of (n, K) counts, and their (b,) standard errors by the jackknife.

    A value or an error that is not defined is NaN.

    Args:
        counts: (n, K).
        statistic: (..., K) sums -> (...) values.
        draw: (b, n), how often each row occurs in each resample.
    """
    n = len(counts)
    sums = draw @ counts  # (b, K)
    without = np.where(draw > 0, statistic(sums[:, None] - counts), 0.0)  # (b, n): without one copy of each row
    mean = (draw * without).sum(1, keepdims=True) / n
    return statistic(sums), np.sqrt((n - 1) / n * (draw * (without - mean) ** 2).sum(1))


def jackknife(
    statistic: Callable[[NDArray], float],
    n: int,
    *,
    prompts: Sequence[Hashable] | None = None,
    blocks: int = 20,
    seed: int = 0,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Jackknifed:
    """`statistic` of all texts, and a 95% t interval from its values without each of `blocks` random blocks of prompts.

    Var = (n - m) / (m B) sum_b (theta_b - mean)^2 for B blocks of m of n prompts: Shao & Wu 1989, and for m = 1
    Quenouille and Tukey's. The jackknife variance is too large rather than too small (Efron & Stein 1981). A smaller
    corpus changes the statistic in every block alike, so its dependence on size does not enter the interval.

    Args:
        statistic: (k,) int64 numbers of texts, in order -> its value on those texts.
        n: the number of texts.
        prompts: see `bootstrap`.
        blocks: the number of blocks. If there are fewer than twice as many prompts, there is one block for each prompt.
        seed: the seed of the blocks. Equal prompts, blocks and seed give equal blocks, so that two results can be
            compared.
        bounds: the range of the statistic. The interval ends there.

    Raises:
        ValueError: there are no texts, fewer than 2 blocks, or not one prompt for each text.

    Example:
        >>> values = np.array([1.0, 2.0, 3.0, 4.0])
        >>> mean = jackknife(lambda rows: values[rows].mean(), 4)
        >>> mean.value, round(mean.high - mean.value, 3)  # t(3) times the standard error of a mean
        (2.5, 2.054)
    """
    if n < 1 or blocks < 2:
        raise ValueError(f"a jackknife needs at least 1 text and 2 blocks, not {n} and {blocks}")
    owners = prompt_numbers(n, prompts)
    block = blocks_of(int(owners.max()) + 1, blocks, seed)[owners]
    count, size = int(owners.max()) + 1, int(block.max()) + 1
    value = float(statistic(np.arange(n)))
    if size < 2:
        return Jackknifed(value, np.nan, np.nan, "none: one prompt", count, left_out=np.empty(0), bounds=bounds)
    left_out = np.array([statistic(np.flatnonzero(block != b)) for b in range(size)])
    low, high = jackknife_interval(value, left_out, count)
    how = f"95% jackknife over {size} blocks of {count // size} of {count} prompts"
    if low == high:
        low, high, how = np.nan, np.nan, f"none: all {size} blocks of prompts agree"
    return Jackknifed(value, low, high, how, count, left_out=left_out, bounds=bounds)


def jackknife_interval(value: float, left_out: NDArray, n: int) -> tuple[float, float]:
    """The 95% t interval around `value`, from its (B,) values without each of B equal blocks of n prompts.

    See `jackknife`.
    """
    half = jackknife_error(left_out, n) * stats.t.ppf(0.975, len(left_out) - 1)
    return float(value - half), float(value + half)


def jackknife_error(left_out: NDArray, n: int) -> float:
    """The standard error, from the (B,) values without each of B equal blocks of n prompts."""
    size = n // len(left_out)
    return float(np.sqrt((n - size) / size * np.mean((left_out - left_out.mean()) ** 2)))


def over_runs(
    values: Sequence[float], what: str = "generation seeds", bounds: tuple[float, float] = (-np.inf, np.inf)
) -> Estimate:
    """The mean of the values of several runs, with a 95% t interval: how far chance in `what` changes the mean.

    Args:
        values: the value of each run.
        what: what differs between the runs.
        bounds: the range of the values.

    Raises:
        ValueError: there are no values.

    Example:
        >>> over_runs([0.9, 0.92, 0.94]).how
        '95% t interval over 3 generation seeds'
    """
    if not len(values):
        raise ValueError("over_runs needs the value of at least one run")
    n, mean = len(values), float(np.mean(values))
    if n == 1:
        return Estimate(mean, np.nan, np.nan, f"none: one of {what}", 1, bounds=bounds)
    half = float(stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n))
    return Estimate(mean, mean - half, mean + half, f"95% t interval over {n} {what}", n, bounds=bounds)


def draws(n: int, resamples: int, seed: int, columns: int = 1) -> Iterator[NDArray]:
    """Yield (b, n) float64 tables: how often each of n prompts is drawn in each resample.

    `columns` is how many numbers are made of each entry at once. It limits b.
    """
    rng, step = np.random.default_rng(seed), max(1, CHUNK // (n * columns))
    for start in range(0, resamples, step):
        yield rng.multinomial(n, np.full(n, 1 / n), size=min(step, resamples - start)).astype(float)


def blocks_of(n: int, blocks: int, seed: int) -> NDArray:
    """(n,) int64: the block of each prompt.

    Blocks have one size. Prompts left over have block -1, and are never left out.
    """
    if n < 2 * blocks:
        return np.arange(n)
    order = np.random.default_rng(seed).permutation(n)
    block = np.full(n, -1)
    block[order[: n // blocks * blocks]] = np.arange(n // blocks * blocks) % blocks
    return block


def prompt_numbers(n: int, prompts: Sequence[Hashable] | None) -> NDArray:
    """(n,) int64: the number of the prompt that each of n texts continues, in order of first appearance."""
    if prompts is None:
        return np.arange(n)
    if len(prompts) != n:
        raise ValueError(f"{len(prompts)} prompts for {n} texts: give one for each text")
    places: dict[Hashable, int] = {}
    return np.array([places.setdefault(prompt, len(places)) for prompt in prompts])


def grouped_sums(rows: NDArray, prompts: Sequence[Hashable] | None) -> NDArray:
    """(N, K) counts of texts -> (n, K) counts of prompts."""
    owners = prompt_numbers(len(rows), prompts)
    found = np.zeros((int(owners.max()) + 1, rows.shape[1]))
    np.add.at(found, owners, rows)
    return found
