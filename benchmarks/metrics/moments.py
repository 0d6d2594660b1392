"""The covariance of a stream of vectors, and measures of how many dimensions it uses."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


@dataclass
class Moments:
    """The moments of a set of vectors. Two sets are merged exactly: Chan et al. 1979.

    Args:
        n: how many vectors there are.
        mean: (D,) float64.
        scatter: (D, D) float64: sum (x - mean)(x - mean)^T.
    """

    n: int = 0
    mean: NDArray = field(default_factory=lambda: np.zeros(0))
    scatter: NDArray = field(default_factory=lambda: np.zeros((0, 0)))

    @classmethod
    def of(cls, x: NDArray) -> "Moments":
        """The moments of (n, D) vectors."""
        if not len(x):
            return cls()
        centred = x - x.mean(0)
        return cls(len(x), x.mean(0), centred.T @ centred)

    def __add__(self, other: "Moments") -> "Moments":
        """The moments of both sets together."""
        if not (self.n and other.n):
            return self if self.n else other
        n, apart = self.n + other.n, other.mean - self.mean
        scatter = self.scatter + other.scatter + np.outer(apart, apart) * (self.n * other.n / n)
        return Moments(n, self.mean + apart * (other.n / n), scatter)


def isoscore(values: NDArray) -> float:
    """IsoScore of (D,) eigenvalues: (PR - 1) / (D - 1), which is Rudman et al.'s Algorithm 1 without its detours.

    Example:
        >>> isoscore(np.array([1.0, 1.0, 1.0])), isoscore(np.array([1.0, 0.0, 0.0]))
        (1.0, 0.0)
    """
    return (participation_ratio(values) - 1) / (len(values) - 1) if len(values) > 1 else float("nan")


def participation_ratio(values: NDArray) -> float:
    """(sum of eigenvalues)^2 / sum of their squares, in [1, D]. It is NaN if all are zero, as for a single point.

    Example:
        >>> participation_ratio(np.array([2.0, 2.0, 0.0]))
        2.0
    """
    return float(values.sum() ** 2 / (values**2).sum()) if values.any() else float("nan")


def exp_entropy(values: NDArray) -> float:
    """exp of the entropy of non-negative values, divided by their sum, in [1, D]. It is NaN if all are zero.

    Example:
        >>> round(exp_entropy(np.array([2.0, 2.0, 0.0])), 9)
        2.0
    """
    if not values.any():
        return float("nan")
    p = values / values.sum()
    return float(np.exp(-(p[p > 0] * np.log(p[p > 0])).sum()))


def as_float64(h: Any) -> NDArray:
    """A tensor of any dtype and device, or an array, as an array in float64."""
    return h.detach().double().cpu().numpy() if isinstance(h, torch.Tensor) else np.asarray(h, dtype=float)
