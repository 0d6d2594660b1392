"""Distances of two sets of feature vectors: on the same features as MAUVE, and sharper than it.

Each function takes humans and models, both (N, D): row i of both should continue prompt i. The two rows of a prompt are
swapped, left out or resampled together, which is valid for unrelated rows too. Distances depend on N and on the feature
model, so compare only equal ones. The human-against-human row of `halves` is the floor.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import euclidean_distances
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from .diversity import Prompts
from .uncertainty import Estimate, Jackknifed, draws, jackknife, prompt_numbers


def energy_distance(
    humans: ArrayLike,
    models: ArrayLike,
    *,
    prompts: Prompts = None,
    permutations: int = 999,
    blocks: int = 20,
    seed: int = 0,
) -> Jackknifed:
    """The energy distance 2 E|X - Y| - E|X - X'| - E|Y - Y'|, Euclidean, over all pairs. Szekely & Rizzo 2013.

    It is at least 0, in units of the features, and 0 for equal sets. Two samples of one distribution have a distance
    above 0, which is smaller for larger samples. `p` accounts for this: it is the p-value of one distribution. The two
    rows of each prompt are swapped at random, and p = (1 + as large) / (1 + permutations). One matrix of distances
    serves all, (2 N)^2 float64: 32 MB at N = 1,000.

    Args:
        humans: (N, D), N at least 2.
        models: (N, D).
        prompts: (N,) what each row continues. Rows of one prompt stay together. None: each row has its own prompt.
        permutations: the number of swaps of the test.
        blocks: the number of blocks of the jackknife interval.
        seed: the seed of both.

    Raises:
        ValueError: the sets have different sizes, or values are not finite.

    Example:
        >>> found = energy_distance([[0.0], [1.0], [0.5]], [[10.0], [11.0], [10.5]])
        >>> round(found.value, 3), found.p > 0.05  # three pairs cannot show more
        (19.111, True)
    """
    x, y = checked(humans, models)
    n, both = len(x), np.concatenate([x, y])
    apart = euclidean_distances(both - both.mean(0))
    owners = prompt_numbers(n, prompts)
    count = int(owners.max()) + 1

    def distance(weights: NDArray) -> NDArray:
        """(b, 2 N) weights, 1/N of humans and -1/N of models -> (b,) distances."""
        return -((weights @ apart) * weights).sum(1)

    def without(rows: NDArray) -> float:
        weights = np.zeros((1, 2 * n))
        weights[0, rows], weights[0, n + rows] = 1 / len(rows), -1 / len(rows)
        return float(distance(weights)[0])

    found = jackknife(without, n, prompts=prompts, blocks=blocks, seed=seed, bounds=(0.0, np.inf))
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], (permutations, count))[:, owners] / n
    # the tolerance is for rounding
    larger = (distance(np.concatenate([signs, -signs], 1)) >= found.value - 1e-7 * apart.mean()).sum()
    p = float((1 + larger) / (1 + permutations))
    how = f"{found.how}; p by {permutations} swaps"
    return Jackknifed(
        found.value, found.low, found.high, how, found.n, p=p, left_out=found.left_out, bounds=found.bounds
    )


def frechet_distance(
    humans: ArrayLike, models: ArrayLike, *, prompts: Prompts = None, blocks: int = 20, seed: int = 0
) -> Jackknifed:
    """|mu_x - mu_y|^2 + tr(S_x + S_y - 2 (S_x S_y)^(1/2)) of two Gaussians; at least 0. Heusel et al. 2017 (FID).

    It is strongly biased upwards unless N is many times D. Compare only equal N; the jackknife does not show the bias.
    tr (S_x S_y)^(1/2) is computed as the sum of the singular values of the product of the centred sets. So no square
    root of a matrix is taken, and N may be below D.

    Args:
        humans: see `energy_distance`.
        models: see `energy_distance`.
        prompts: see `energy_distance`.
        blocks: see `energy_distance`.
        seed: see `energy_distance`.

    Raises:
        ValueError: the sets have different sizes, or values are not finite.

    Example:
        >>> round(frechet_distance([[0.0], [1.0], [0.5]], [[10.0], [11.0], [10.5]]).value, 6)
        100.0
    """
    x, y = checked(humans, models)
    return jackknife(
        lambda rows: frechet(x[rows], y[rows]), len(x), prompts=prompts, blocks=blocks, seed=seed, bounds=(0.0, np.inf)
    )


def frechet(x: NDArray, y: NDArray) -> float:
    """The Fréchet distance of two sets. It is NaN for single rows."""
    if len(x) < 2:
        return float("nan")
    a, b = (rows - rows.mean(0) for rows in (x, y))
    a, b = (np.asarray(np.linalg.qr(rows, mode="r")) for rows in (a, b))  # the same products, in at most D rows
    shared = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    spread = (a**2).sum() + (b**2).sum() - 2 * shared
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + max(spread, 0.0) / (len(x) - 1))


def classifier_auroc(
    humans: ArrayLike,
    models: ArrayLike,
    classifier: ClassifierMixin | Any = None,
    *,
    prompts: Prompts = None,
    folds: int = 5,
    seed: int = 0,
) -> Estimate:
    """How well a classifier tells the sets apart: the mean AUROC over folds. 0.5 is not at all. Lopez-Paz & Oquab 2017.

    Rows of one prompt are in one fold, so that no classifier has seen the human side of what it judges. The interval
    resamples prompts and keeps the classifiers. It says how other prompts would change the number, not how other
    training would.

    Args:
        humans: (N, D), N at least 2 * folds.
        models: (N, D).
        classifier: a classifier of scikit-learn's kind, with `predict_proba`. None: logistic regression on standardised
            features.
        prompts: see `energy_distance`.
        folds: the number of folds, at least 2.
        seed: the seed of folds and resampling.

    Raises:
        ValueError: the sets have different sizes, values are not finite, or there are too few prompts for the folds.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> found = classifier_auroc(rng.normal(0, 1, (50, 2)), rng.normal(1, 1, (50, 2)))
        >>> found.low > 0.5
        True
    """
    x, y = checked(humans, models)
    owners = prompt_numbers(len(x), prompts)
    count = int(owners.max()) + 1
    if folds < 2 or count < 2 * folds:
        raise ValueError(
            f"{folds} folds need at least {2 * max(folds, 2)} prompts, not {count}: give more, or fewer folds"
        )
    machine = classifier
    if machine is None:
        machine = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    fold = (np.random.default_rng(seed).permutation(count) % folds)[owners]
    wins = []  # for each fold, (human rows, model rows): 1 if the human row scores higher, 1/2 for a tie
    for held in range(folds):
        seen, asked = fold != held, fold == held
        labels = np.repeat([1, 0], int(seen.sum()))
        fitted = clone(machine).fit(np.concatenate([x[seen], y[seen]]), labels)
        human, model = (fitted.predict_proba(rows[asked])[:, 1] for rows in (x, y))
        wins.append((human[:, None] > model).astype(float) + (human[:, None] == model) / 2)
    rows = [np.flatnonzero(fold == held) for held in range(folds)]

    def auroc(weights: NDArray) -> NDArray:
        """(b, N) weights of rows -> (b,) the mean over folds."""
        total = np.zeros(len(weights))
        for won, mine in zip(wins, rows, strict=True):
            w = weights[:, mine]
            with np.errstate(invalid="ignore"):
                total += ((w @ won) * w).sum(1) / w.sum(1) ** 2
        return total / folds

    found = np.concatenate([auroc(draw[:, owners]) for draw in draws(count, 1999, seed)])
    low, high = np.nanquantile(found, [0.025, 0.975])
    how = f"95% bootstrap over {count} prompts, the {folds} classifiers kept"
    return Estimate(float(auroc(np.ones((1, len(x))))[0]), float(low), float(high), how, count)


def halves(n: int, seeds: int) -> Iterator[tuple[NDArray, NDArray]]:
    """For each of `seeds` splits, the rows of two random halves of n // 2 each: human against human, at half the size.

    Example:
        >>> [(len(a), len(b), not set(a) & set(b)) for a, b in halves(7, 2)]
        [(3, 3, True), (3, 3, True)]
    """
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(n)
        yield order[: n // 2], order[n // 2 : 2 * (n // 2)]


def checked(humans: ArrayLike, models: ArrayLike) -> tuple[NDArray, NDArray]:
    """Both sets in float64. Raises ValueError unless both have one shape (N, D), N at least 2, and are finite."""
    x, y = np.asarray(humans, dtype=float), np.asarray(models, dtype=float)
    if x.ndim != 2 or x.shape != y.shape or len(x) < 2:
        raise ValueError(
            f"two sets must be (N, D) of one size, N at least 2, not {x.shape} and {y.shape}: cut the larger"
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("features must be finite")
    return x, y
