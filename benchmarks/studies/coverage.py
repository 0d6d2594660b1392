"""The coverage of 95 % intervals. Small sets of prompts are drawn from known laws.

What is counted is how often the truth is inside the interval.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from ..metrics.comparison import compare_paired
from ..metrics.uncertainty import bootstrap

SIZES = (5, 10, 20, 30, 100)


class Law(NamedTuple):
    """A law that prompts are drawn from.

    Attributes:
        name: its name.
        draw: (rng, n) -> counts of n prompts, as `bootstrap` takes them.
        truth: the true value.
    """

    name: str
    draw: Callable[[Generator, int], NDArray]
    truth: float


class Coverage(NamedTuple):
    """How often an interval had the truth inside.

    Attributes:
        law: the name of the law.
        n: the number of prompts.
        share: the share of intervals with the truth inside, among those that were given; in [0, 1].
        width: the median width of the intervals.
        none: the share of draws without an interval, since all prompts agreed.
    """

    law: str
    n: int
    share: float
    width: float
    none: float


def draw_ratio(rng: Generator, n: int) -> NDArray:
    """(n, 2) successes and trials. Longer prompts weigh more, and each prompt has its own rate."""
    trials = rng.poisson(40, n) + 5
    return np.stack([rng.binomial(trials, rng.beta(2, 6, n)), trials], 1)


LAWS = [
    Law("mean of normal numbers", lambda rng, n: rng.normal(5, 1, n), 5.0),
    Law("mean of lognormal numbers, skewed", lambda rng, n: rng.lognormal(0, 1, n), float(np.exp(0.5))),
    Law("ratio of sums", draw_ratio, 0.25),
    Law("share of prompts, 0.5", lambda rng, n: (rng.random(n) < 0.5).astype(float), 0.5),
    Law("share of prompts, 0.9", lambda rng, n: (rng.random(n) < 0.9).astype(float), 0.9),
]


def cover(law: Law, n: int, draws: int = 1000, resamples: int = 1999, seed: int = 0) -> Coverage:
    """The coverage of `bootstrap`'s interval over sets of n prompts.

    Args:
        law: the law that prompts are drawn from.
        n: the number of prompts in a set.
        draws: the number of sets.
        resamples: the number of resamples in the bootstrap of each set.
        seed: the seed of all draws.
    """
    rng = np.random.default_rng(seed)
    found = [bootstrap(law.draw(rng, n), resamples=resamples, seed=i) for i in range(draws)]
    return summarise(law.name, n, [(one.low, one.high) for one in found], law.truth)


def cover_difference(n: int, draws: int = 1000, resamples: int = 1999, seed: int = 0) -> Coverage:
    """The coverage of `compare_paired`'s interval: two systems on the same prompts, skewed, with means 0.5 apart."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(draws):
        shared, noise = rng.lognormal(0, 1, n), rng.lognormal(0, 1, (2, n))
        a, b = (bootstrap(shared + extra, resamples=2) for extra in (noise[0] + 0.5, noise[1]))
        one = compare_paired(a, b, permutations=resamples, seed=i)
        found.append((one.low, one.high))
    return summarise("paired difference of skewed numbers", n, found, 0.5)


def summarise(name: str, n: int, intervals: list[tuple[float, float]], truth: float) -> Coverage:
    """The coverage of (low, high) pairs, which are NaN where no interval was given."""
    given = np.array([pair for pair in intervals if not np.isnan(pair[0])]).reshape(-1, 2)
    inside = (given[:, 0] <= truth) & (truth <= given[:, 1])
    width = float(np.median(given[:, 1] - given[:, 0])) if len(given) else float("nan")
    return Coverage(
        name, n, float(inside.mean()) if len(given) else float("nan"), width, 1 - len(given) / len(intervals)
    )


def cover_all(draws: int = 1000, seed: int = 0) -> Iterator[Coverage]:
    """Yield the coverage of every law at every size."""
    for n in SIZES:
        for law in LAWS:
            yield cover(law, n, draws, seed=seed)
        yield cover_difference(n, draws, seed=seed)
