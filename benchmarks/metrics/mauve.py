"""MAUVE, by the package of its authors. This is the one file that imports it, and only when a number is asked for.

`mauve-text` is under the GPL 3 and this project is not, so it is called and not copied.
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
    """MAUVE as the mean over k-means seeds. The interval is of those seeds alone, and does not cover other texts.

    Args:
        values: (S,) float64, the value of each seed.
        star: MAUVE*, with smoothed histograms.
        frontier_integral: the integral of the same curve: 0 is the same, 1 is disjoint.
        curves: (S, M, 2) the divergence frontier of each seed: exp(-c KL(q|r)), exp(-c KL(p|r)).
        ceiling: half of the humans against the other half, with the range over random halves. None if not asked for.
        matched: half of the humans against the models of the other half's prompts, with the range over random halves.
            It has the same size as `ceiling`, so that these two compare. None if not asked for.
        signature: all that the number depends on, in a line.
    """

    values: NDArray = field(repr=False, compare=False)
    star: Estimate
    frontier_integral: Estimate
    curves: NDArray = field(repr=False, compare=False)
    ceiling: Estimate | None
    matched: Estimate | None
    signature: str

    def as_dict(self) -> dict[str, Any]:
        """A dictionary for JSON: the estimate with star, frontier_integral, ceiling, matched, values and signature.

        The curves are under `frontier`.
        """
        more = {name: getattr(self, name) for name in ("star", "frontier_integral", "ceiling", "matched")}
        found = super().as_dict() | {name: one.as_dict() for name, one in more.items() if one is not None}
        return found | {"values": self.values.tolist(), "frontier": self.curves.tolist(), "signature": self.signature}


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
    """MAUVE(humans, models), the mean over k-means seeds, in (0, 1]; 1 is alike. Pillutla et al. 2021; 2023 for MAUVE*.

    Never bootstrap MAUVE: a text that is drawn twice makes a cluster of one side. One seed changes it by 0.03 and more.
    The number of texts or buckets, c and the feature model change it by far more, so all are in the signature. Keep the
    humans first, and keep the order of rows. If both histograms are equal it is 1, where mauve-text gives 0.75 for
    some. The function has five settings because the number depends on them.

    Args:
        humans: (N, D) features, N at least 500 to say anything.
        models: (N, D) features.
        seeds: the number of k-means seeds, at least 5.
        buckets: the number of buckets of the histograms. None: N / 10, at least 2.
        scaling: c.
        ceiling: whether to measure humans against humans too, which takes as long again.
        about: what to put before the signature, such as the protocol's name and the features' signature.

    Raises:
        ValueError: the sets have different sizes, values are not finite, there are fewer than 5 seeds, or more buckets
            than texts.
        ModuleNotFoundError: mauve-text or faiss is not installed. The message has the command that installs them.

    Warns:
        UserWarning: there are fewer than 500 texts a side.

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
        mean.value,
        mean.low,
        mean.high,
        mean.how,
        mean.n,
        values=values,
        star=over_seeds([one.mauve_star for one in found], len(p)),
        frontier_integral=over_seeds([one.frontier_integral for one in found], len(p)),
        curves=np.stack([one.divergence_curve for one in found]),
        ceiling=span(top, len(p) // 2),
        matched=span(matched, len(p) // 2),
        signature="|".join(["mauve", *filter(None, [about]), settings]),
        bounds=mean.bounds,
    )


def mauve_of_texts(
    features: Featurizer,
    prefixes: Sequence[str],
    references: Sequence[str],
    continuations: Sequence[str],
    *,
    protocol: Protocol = SU2023,
    **settings: Any,
) -> Mauve:
    """MAUVE of texts that are prepared as `protocol` says. `features` reads as many tokens as the protocol's model did.

    With another feature model than the protocol's, the number is not the publication's. Then only the order of systems
    compares.

    Args:
        features: makes the vectors, of the last token. The protocol's max_length replaces its own.
        prefixes: N texts.
        references: N texts.
        continuations: N texts.
        protocol: one of `protocols.py`, or your own.
        settings: seeds, buckets and ceiling of `mauve`.

    Raises:
        ValueError: see `Protocol.prepare`, `Featurizer` and `mauve`.
    """
    reader = replace(features, max_length=protocol.max_length)
    pairs = protocol.prepare(reader.tokenizer, prefixes, references, continuations)
    about = f"{protocol.name}|{reader.signature}|len:{protocol.length}{protocol.tokens or ''}|of:{len(prefixes)}"
    return mauve(reader(pairs.humans), reader(pairs.models), scaling=protocol.scaling, about=about, **settings)


def once(p: NDArray, q: NDArray, seed: int, buckets: int | None, scaling: float) -> Any:
    """The result of mauve-text with one k-means seed. It uses one BLAS thread, since more make it ten times slower."""
    try:
        from mauve import compute_mauve
    except ImportError as error:
        raise ModuleNotFoundError("MAUVE is not installed: pip install 'mauve-text>=0.4' 'faiss-cpu>=1.14'") from error
    with threadpool_limits(1, user_api="blas"), few_points_are_meant():
        found = compute_mauve(
            p_features=p,
            q_features=q,
            seed=seed,
            verbose=False,
            mauve_scaling_factor=scaling,
            num_buckets="auto" if buckets is None else int(buckets),
        )
    found.mauve = area(found.divergence_curve)
    found.mauve_star = area(frontier(smoothed(found.p_hist, len(p)), smoothed(found.q_hist, len(q)), scaling))
    return found


def smoothed(histogram: NDArray, n: int) -> NDArray:
    """A histogram of n texts with half a text added to each bucket (Krichevsky-Trofimov), as MAUVE* needs it."""
    counts = np.rint(histogram * n) + 0.5
    return counts / counts.sum()


def frontier(p: NDArray, q: NDArray, scaling: float, points: int = 25) -> NDArray:
    """(points + 2, 2): exp(-c KL(q | r)) and exp(-c KL(p | r)) for r = w p + (1 - w) q, from w = 0 to w = 1.

    Pillutla et al. 2021, eq. 2 and 3, with the ends (1, 0) and (0, 1). p and q must have no empty bucket.
    """
    weights = np.linspace(1e-6, 1 - 1e-6, points)[:, None]
    mixed = weights * p + (1 - weights) * q
    divergences = [(one * np.log(one / mixed)).sum(1) for one in (q, p)]
    inner = np.exp(-scaling * np.stack(divergences, 1))
    return np.concatenate([[[1.0, 0.0]], inner, [[0.0, 1.0]]])


def area(curve: NDArray) -> float:
    """MAUVE: the area under a frontier, as the mean of the two ways to read it.

    The points are taken in the order in which the curve runs: x falls and y rises. mauve-text 0.4.0 sorts them by x and
    by y, with a sort whose order of equal points depends on the processor: numpy's AVX2 and AVX-512 kernels order them
    otherwise than its plain one. If no two points are equal, both ways give the same.
    """
    x, y = curve.T
    return float(-np.trapezoid(y, x) + np.trapezoid(x, y)) / 2


@contextmanager
def few_points_are_meant() -> Iterator[None]:
    """Silence the line that faiss prints on standard error for every k-means of under 39 texts a bucket.

    With N / 10 buckets there are always fewer, and the authors say to ignore the line. faiss has a setting that does
    nothing but ask for it, but mauve-text does not pass it on. So the setting's default in faiss is changed for the
    length of the block.
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
    """The mean over k-means seeds of n texts, and its interval."""
    return replace(over_runs(np.asarray(values, dtype=float).tolist(), "k-means seeds", (0.0, 1.0)), n=n)


def span(values: Sequence[float], n: int) -> Estimate | None:
    """The mean over random halves of n texts, and its range."""
    if not len(values):
        return None
    return Estimate(
        float(np.mean(values)), float(min(values)), float(max(values)), f"range over {len(values)} random halves", n
    )
