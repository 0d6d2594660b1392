"""The partition function of Mu & Viswanath 2018, in logarithms.

It has a module of its own because it reads states twice.
"""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from .moments import Moments, as_float64
from .states import TextStates
from .uncertainty import Jackknifed, jackknife_interval


def partition_ratio(
    read: Callable[[], Iterable[TextStates]], *, centred: bool = True, skip: int = 1, blocks: int = 10
) -> list[Jackknifed]:
    """log I of each layer, I = min_c Z(c) / max_c Z(c), Z(c) = sum exp(c . h): Mu & Viswanath 2018. 0 is isotropic.

    The c are the eigenvectors of H^T H, with both signs of each, since the sign of an eigenvector is arbitrary. They
    are the same in each block of the jackknife.

    The measure was made for word vectors. The norms of a model's own states reach thousands, and there log I is minus
    hundreds or thousands: it only says how large the largest state is. So `centred` takes the mean out and divides each
    state by its norm. Then log I lies in [-2, 0]. This is not the paper's measure.

    Args:
        read: returns the states anew; it is called twice: `lambda: read_states(...)`.
        centred: see above. False: the paper's measure.
        skip: see `isotropy`.
        blocks: see `isotropy`.

    Raises:
        ValueError: there are no states after `skip`.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> noise = [TextStates(i, 0, rng.normal(size=(1, 50, 4))) for i in range(20)]
        >>> -0.2 < partition_ratio(lambda: noise)[0].value < 0
        True
    """
    moments: list[Moments] = []
    for _, start, hidden in read():
        moments = moments or [Moments() for _ in hidden]
        found = [Moments.of(as_float64(h)[max(0, skip - start) :]) for h in hidden]
        moments = [one + other for one, other in zip(moments, found, strict=True)]
    if not moments or not moments[0].n:
        raise ValueError("there are no states to measure")
    mean = [one.mean if centred else np.zeros(len(one.mean)) for one in moments]
    second = [one.scatter + (0 if centred else one.n * np.outer(one.mean, one.mean)) for one in moments]
    directions = [np.linalg.eigh(matrix)[1] for matrix in second]
    log_z = [np.full((blocks, 2 * len(one)), -np.inf) for one in directions]
    seen, texts = set(), 0
    for text, start, hidden in read():
        seen.add(text % blocks)
        texts += 1
        for layer, h in enumerate(hidden):
            x = as_float64(h)[max(0, skip - start) :] - mean[layer]
            if not len(x):
                continue
            x = x / np.linalg.norm(x, axis=1, keepdims=True) if centred else x
            along = x @ directions[layer]
            both = np.logaddexp.reduce(np.concatenate([along, -along], 1), axis=0)
            log_z[layer][text % blocks] = np.logaddexp(log_z[layer][text % blocks], both)
    return [log_ratio(table[sorted(seen)], texts, -2.0 if centred else -np.inf) for table in log_z]


def log_ratio(log_z: NDArray, texts: int, least: float) -> Jackknifed:
    """log min Z - log max Z over all texts, from (B, 2 D) log Z(c) of each block of texts.

    It lies between `least` and 0.
    """

    def of(rows: NDArray) -> float:
        total = np.logaddexp.reduce(rows, axis=0)
        return float(total.min() - total.max())

    value, n = of(log_z), len(log_z)
    left_out = np.array([of(np.delete(log_z, block, 0)) for block in range(n)]) if n > 1 else np.empty(0)
    low, high = jackknife_interval(value, left_out, n) if n > 1 else (np.nan, np.nan)
    how = f"95% jackknife over {n} blocks of {texts} texts"
    return Jackknifed(value, low, high, how, texts, left_out=left_out, bounds=(least, 0.0))
