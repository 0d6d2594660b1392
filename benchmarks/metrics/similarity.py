"""Cosines of embeddings: of a continuation and its prefix, within one set, and between two sets."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .diversity import Prompts
from .uncertainty import Bootstrapped, Jackknifed, bootstrap, jackknife


def embedding_coherence(prefixes: ArrayLike, continuations: ArrayLike, *, prompts: Prompts = None) -> Bootstrapped:
    """The mean cosine of each continuation's embedding with that of its own prefix, in [-1, 1].

    Su et al. 2022; Li et al. 2022. Their embeddings are those of SimCSE. Any `Featurizer` will do; sentence encoders do
    best.

    Args:
        prefixes: (N, D) embeddings.
        continuations: (N, D) embeddings; row i continues prefix i.
        prompts: see `diversity`.

    Raises:
        ValueError: the shapes differ, or a vector is zero or not finite.

    Example:
        >>> embedding_coherence([[1.0, 0.0], [1.0, 0.0]], [[2.0, 0.0], [0.0, 1.0]]).value
        0.5
    """
    a, b = units(prefixes), units(continuations)
    if a.shape != b.shape:
        raise ValueError(f"prefixes and continuations must have one shape, not {a.shape} and {b.shape}")
    return bootstrap((a * b).sum(1), prompts=prompts, bounds=(-1.0, 1.0))


def self_similarity(embeddings: ArrayLike, *, prompts: Prompts = None, blocks: int = 20) -> Jackknifed:
    """The mean cosine of all pairs of different rows, (|sum u|^2 - N) / (N (N - 1)), in [-1, 1].

    A high value is monotonous.

    Args:
        embeddings: (N, D), N at least 2.
        prompts: see `diversity`.
        blocks: the number of blocks of the jackknife.

    Raises:
        ValueError: there are fewer than 2 rows, or a vector is zero or not finite.

    Example:
        >>> self_similarity([[1.0, 0.0], [0.0, 2.0], [1.0, 0.0]]).value
        0.3333333333333333
    """
    u = units(embeddings)
    if len(u) < 2:
        raise ValueError("self-similarity is of pairs: give at least 2 rows")
    return jackknife(lambda rows: pairs(u[rows]), len(u), prompts=prompts, blocks=blocks, bounds=(-1.0, 1.0))


def cross_similarity(real: ArrayLike, made: ArrayLike, *, blocks: int = 20) -> Jackknifed:
    """The mean cosine of every row of one set with every row of the other: mean(u) . mean(v). O'Neill et al. 2023.

    The interval leaves blocks out of both sets at once, so they must be of one size. The measure needs that anyway.

    Args:
        real: (N, D) embeddings.
        made: (N, D) embeddings.
        blocks: the number of blocks of the jackknife.

    Raises:
        ValueError: the sets have different sizes, or a vector is zero or not finite.

    Example:
        >>> cross_similarity([[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [2.0, 0.0]]).value
        0.5
    """
    u, v = units(real), units(made)
    if u.shape != v.shape:
        raise ValueError(f"cross_similarity takes two sets of one size, not {u.shape} and {v.shape}: cut the larger")
    return jackknife(lambda rows: float(u[rows].mean(0) @ v[rows].mean(0)), len(u), blocks=blocks, bounds=(-1.0, 1.0))


def pairs(u: NDArray) -> float:
    """The mean dot product of all pairs of different unit rows."""
    n = len(u)
    return float(((u.sum(0) ** 2).sum() - n) / (n * (n - 1))) if n > 1 else float("nan")


def units(rows: ArrayLike | Sequence) -> NDArray:
    """The (N, D) rows divided by their lengths, in float64."""
    found = np.asarray(rows, dtype=float)
    if found.ndim != 2 or not len(found):
        raise ValueError(f"embeddings must be (N, D), N at least 1, not {found.shape}")
    norms = np.linalg.norm(found, axis=1, keepdims=True)
    if not np.isfinite(norms).all() or not norms.all():
        raise ValueError("embeddings must be finite and not zero")
    return found / norms
