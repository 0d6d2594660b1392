"""MAUVE, by the package of its authors: the one file that imports it, and only when a number is asked for.

`mauve-text` is under the GPL 3, this project is not; it is called, not copied.
"""

import importlib.metadata
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from .distances import checked, halves
from .features import Featurizer
from .protocols import SU2023, Protocol
from .uncertainty import Estimate, over_runs


@dataclass(frozen=True)
class Mauve(Estimate):
    """MAUVE as the mean over k-means seeds; the interval is of those seeds alone, and holds nothing of other texts.

    Args:
        values: (S,) float64, of each seed.
        star: MAUVE*, with smoothed histograms; frontier_integral: of the same curve, 0 same to 1 disjoint.
        curves: (S, M, 2) the divergence frontier of each seed: exp(-c KL(q|r)), exp(-c KL(p|r)).
        ceiling: half of the humans against the other half; matched: half of the humans against the models of the other
            half's prompts, at the same size, so that these two compare. Ranges over random halves. None where not
            asked.
        signature: everything that the number depends on, in a line.
    """

    values: NDArray = field(repr=False, compare=False)
    star: Estimate
    frontier_integral: Estimate
    curves: NDArray = field(repr=False, compare=False)
    ceiling: Estimate | None
    matched: Estimate | None
    signature: str

    def as_dict(self) -> dict[str, Any]:
        """With star, frontier_integral, ceiling, matched, the seeds' values and curves, and the signature."""
        more = {name: getattr(self, name) for name in ("star", "frontier_integral", "ceiling", "matched")}
        found = super().as_dict() | {name: one.as_dict() for name, one in more.items() if one is not None}
        return found | {
            "values": self.values.tolist(), "frontier": self.curves.tolist(), "signature": self.signature
        }  # fmt: skip


def mauve(
    humans: ArrayLike,
    models: ArrayLike,
    *,
    seeds: int = 5,
    buckets: int | None = None,
    scaling: float = 5.0,
    ceiling: bool = True,
    about: str = "",
) -> Mauve:
    """MAUVE(humans, models), mean over k-means seeds; (0, 1], 1 is alike. Pillutla et al. 2021; 2023 for MAUVE*.

    Never bootstrap it: a text drawn twice makes a cluster of one side. One seed moves it by 0.03 and more; another
    number of texts, of buckets, another c or feature model by far more, so all are in the signature. Keep humans first,
    and the order of rows. Where both histograms are equal it is 1, which mauve-text misses for some (0.75). Five
    settings, because the number has them.

    Args:
        humans, models: (N, D) features, of one size; N at least 500 to tell anything.
        seeds: of k-means, at least 5.
        buckets: of the histograms; None: N / 10, at least 2.
        scaling: c.
        ceiling: whether to measure humans against humans too; it takes as long again.
        about: what to put before the signature, such as the protocol's name and the features' signature.

    Raises:
        ValueError: sets of two sizes, values that are not finite, fewer than 5 seeds, more buckets than texts.
        ModuleNotFoundError: mauve-text or faiss is not installed; the message has the command.

    Warns:
        UserWarning: fewer than 500 texts a side.

    Example:
        >>> import warnings
        >>> rng = np.random.default_rng(0)
        >>> with warnings.catch_warnings(action="ignore"):
        ...     found = mauve(rng.normal(size=(100, 4)), rng.normal(2, 1, size=(100, 4)))
        >>> found.value < 0.5 < found.ceiling.value, found.curves.shape
        (True, (5, 27, 2))
    """
    p, q = checked(humans, models)
    if seeds < 5:
        raise ValueError(f"average MAUVE over at least 5 k-means seeds, not {seeds}: one moves it by 0.03 and more")
    if buckets is not None and not 2 <= buckets <= len(p):
        raise ValueError(f"buckets must be between 2 and the {len(p)} texts of a side, not {buckets}")
    if len(p) < 500:
        warnings.warn(
            f"MAUVE of {len(p)} texts a side tells little: below 500 even looping text can score like a human's",
            stacklevel=2,
        )
    found = [once(p, q, seed, buckets, scaling) for seed in range(seeds)]
    half = None if buckets is None else max(2, buckets // 2)
    splits = [*enumerate(halves(len(p), seeds))] if ceiling and len(p) > 3 else []
    top = [once(p[a], p[b], seed, half, scaling).mauve for seed, (a, b) in splits]
    matched = [once(p[a], q[b], seed, half, scaling).mauve for seed, (a, b) in splits]
    values = np.array([one.mauve for one in found])
    mean = over_seeds(values, len(p))
    version, faiss = (importlib.metadata.version(name) for name in ("mauve-text", "faiss-cpu"))
    settings = f"n:{len(p)}|k:{found[0].num_buckets}|c:{scaling:g}|kseeds:{seeds}|v:{version}|faiss:{faiss}"
    return Mauve(
        mean.value, mean.low, mean.high, mean.how, mean.n,
        values=values,
        star=over_seeds([one.mauve_star for one in found], len(p)),
        frontier_integral=over_seeds([one.frontier_integral for one in found], len(p)),
        curves=np.stack([one.divergence_curve for one in found]),
        ceiling=span(top, len(p) // 2), matched=span(matched, len(p) // 2),
        signature="|".join(["mauve", *filter(None, [about]), settings]), bounds=mean.bounds,
    )  # fmt: skip


def mauve_of_texts(
    features: Featurizer,
    prefixes: Sequence[str],
    references: Sequence[str],
    continuations: Sequence[str],
    *,
    protocol: Protocol = SU2023,
    **settings: Any,
) -> Mauve:
    """MAUVE of texts, prepared as `protocol` says; `features` reads as many tokens as the protocol's model did.

    With any other feature model than the protocol's the number is not the publication's; compare orders.

    Args:
        features: takes the vectors, last token; its own max_length gives way to the protocol's.
        prefixes, references, continuations: N texts each.
        protocol: of `protocols.py`, or your own.
        settings: seeds, buckets, ceiling of `mauve`.

    Raises:
        ValueError: as `Protocol.prepare`, `Featurizer` and `mauve`.
    """
    reader = replace(features, max_length=protocol.max_length)
    pairs = protocol.prepare(reader.tokenizer, prefixes, references, continuations)
    about = f"{protocol.name}|{reader.signature}|len:{protocol.length}{protocol.tokens or ''}|of:{len(prefixes)}"
    return mauve(reader(pairs.humans), reader(pairs.models), scaling=protocol.scaling, about=about, **settings)


def once(p: NDArray, q: NDArray, seed: int, buckets: int | None, scaling: float) -> Any:
    """What mauve-text finds with one k-means seed; one BLAS thread, since more make it ten times slower."""
    try:
        from mauve import compute_mauve
    except ImportError as error:
        raise ModuleNotFoundError("MAUVE is not installed: pip install 'mauve-text>=0.4' 'faiss-cpu>=1.14'") from error
    with threadpool_limits(1, user_api="blas"), few_points_are_meant():
        found = compute_mauve(
            p_features=p, q_features=q, seed=seed, verbose=False, mauve_scaling_factor=scaling,
            num_buckets="auto" if buckets is None else int(buckets),
        )  # fmt: skip
    found.mauve = area(found.divergence_curve)
    found.mauve_star = area(frontier(smoothed(found.p_hist, len(p)), smoothed(found.q_hist, len(q)), scaling))
    return found


def smoothed(histogram: NDArray, n: int) -> NDArray:
    """A histogram of n texts with half a text more in each bucket (Krichevsky-Trofimov): MAUVE* is made of these."""
    counts = np.rint(histogram * n) + 0.5
    return counts / counts.sum()


def frontier(p: NDArray, q: NDArray, scaling: float, points: int = 25) -> NDArray:
    """(points + 2, 2): exp(-c KL(q | r)) and exp(-c KL(p | r)) for r = w p + (1 - w) q, from w = 0 to w = 1.

    Pillutla et al. 2021, eq. 2 and 3, with the ends (1, 0) and (0, 1); p and q have no empty bucket.
    """
    weights = np.linspace(1e-6, 1 - 1e-6, points)[:, None]
    mixed = weights * p + (1 - weights) * q
    divergences = [(one * np.log(one / mixed)).sum(1) for one in (q, p)]
    inner = np.exp(-scaling * np.stack(divergences, 1))
    return np.concatenate([[[1.0, 0.0]], inner, [[0.0, 1.0]]])


def area(curve: NDArray) -> float:
    """The area under a frontier, the mean of the two ways to read it: what MAUVE is.

    The points are taken in the order in which the curve runs, x falling and y rising. mauve-text 0.4.0 sorts them by x
    and by y, with a sort that leaves equal points in an order which depends on the processor: numpy's AVX2 and AVX-512
    kernels order them otherwise than its plain one. Where no two points are equal, both give the same.
    """
    x, y = curve.T
    return float(-np.trapezoid(y, x) + np.trapezoid(x, y)) / 2


@contextmanager
def few_points_are_meant() -> Iterator[None]:
    """Without faiss's line on standard error for every k-means of under 39 texts a bucket.

    N / 10 buckets always have fewer, and the authors say to ignore it. faiss has a setting that does nothing but ask
    for the line; mauve-text does not pass it on, so it is a default of faiss's for as long as the number takes.
    """
    from faiss import ClusteringParameters

    made = ClusteringParameters.__init__

    def quiet(self: Any, *arguments: Any) -> None:
        made(self, *arguments)
        self.min_points_per_centroid = 1

    setattr(ClusteringParameters, "__init__", quiet)  # noqa: B010
    try:
        yield
    finally:
        setattr(ClusteringParameters, "__init__", made)  # noqa: B010


def over_seeds(values: ArrayLike, n: int) -> Estimate:
    """The mean and its interval over k-means seeds, of n texts."""
    return replace(over_runs(np.asarray(values, dtype=float).tolist(), "k-means seeds", (0.0, 1.0)), n=n)


def span(values: Sequence[float], n: int) -> Estimate | None:
    """The mean and the range over random halves of n texts."""
    if not len(values):
        return None
    return Estimate(
        float(np.mean(values)), float(min(values)), float(max(values)), f"range over {len(values)} random halves", n
    )
