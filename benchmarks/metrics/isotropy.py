"""Isotropy: do a model's hidden states point everywhere, or into a narrow cone? The measures disagree with each other.

Isotropy is a property of a model on texts, not of a decoder's output. "Of an output" means: of the states of generated
tokens, after a prefix that is read and left out. Do not maximise any of these numbers. Cosine measures look at
directions from the origin. Covariance measures (IsoScore, participation ratio, effective rank) look at the spread
around the mean. The same states can be isotropic by one and not by the other, so report both.

All are computed in one pass over the texts. Every measure is a closed form of sums in float64, linear in the number of
tokens. For u = h / |h|, the sum over pairs is the square of the sum minus the diagonal. IsoScore and the participation
ratio need only the traces of the covariance C and of C^2.
"""

import warnings
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .moments import Moments, as_float64, exp_entropy, isoscore, participation_ratio
from .states import TextStates
from .uncertainty import Bootstrapped, Estimate, Jackknifed, bootstrap, jackknife_interval, ratio


@dataclass(frozen=True)
class Isotropy:
    """The measures of one layer's states.

    Args:
        layer: the place of the layer among those that were read.
        texts: how many texts entered the measures other than `within`.
        tokens: how many tokens did.
        within: 1 - the mean cosine of two tokens of one text, where all pairs have the same weight: Su & Collier 2023.
            In [0, 2]; high is isotropic.
        within_per_text: the mean over texts of each text's own value of `within`.
        across: the mean cosine of two tokens of two texts, the anisotropy of Ethayarajh 2019. In [-1, 1]; 0 is
            isotropic.
        rogue: the three dimensions that add most to `across`, as pairs (dimension, share of `across`): Timkey & van
            Schijndel 2021.
        isoscore: (PR - 1) / (D - 1): Rudman et al. 2022. In [0, 1]; high is isotropic.
        participation_ratio: PR = tr(C)^2 / tr(C^2), the number of dimensions used. In [1, D].
        effective_rank: exp of the entropy of the singular values of the centred states: Roy & Vetterli 2007. In [1, D].
        effective_rank_of_variance: the same of the eigenvalues of C. In [1, D].
    """

    layer: int
    texts: int
    tokens: int
    within: Bootstrapped
    within_per_text: Bootstrapped
    across: Jackknifed
    rogue: list[tuple[int, float]]
    isoscore: Jackknifed
    participation_ratio: Jackknifed
    effective_rank: Jackknifed
    effective_rank_of_variance: Jackknifed

    def as_dict(self) -> dict[str, Any]:
        """The measures as a dictionary for JSON."""
        found = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {k: v.as_dict() if isinstance(v, Estimate) else v for k, v in found.items()}


def isotropy(
    states: Iterable[TextStates],
    *,
    skip: int = 1,
    blocks: int = 10,
    groups: Sequence[Hashable] | None = None,
) -> dict[Hashable, list[Isotropy]]:
    """All measures of each layer, in one pass over the texts, for each group of texts, such as their language.

    Memory is groups x layers x blocks x D^2 float64: 27 MB a layer at D = 576 and 10 blocks. For wide models read fewer
    layers or use fewer blocks. `within` is bootstrapped over texts. The other measures are of all tokens at once; they
    are jackknifed over blocks of texts (text i is in block i modulo `blocks`).

    Args:
        states: those of `read_states`, or any (text, start, (L, T, D)) of tensors or arrays, T at least 1.
        skip: how many positions at the beginning of a text are left out of `across` and of all that comes of C. In most
            models the first token is an attention sink, and its norm would dominate the covariance. `within` has all
            tokens, as in its paper.
        blocks: the number of blocks of the jackknife, at least 2.
        groups: (N,) the group of each text. None: all texts are in one group, named None.

    Returns:
        {group: [Isotropy of each layer]}, in the order in which groups first appear in `groups`.

    Raises:
        ValueError: a text has no group, a group has fewer than 2 texts of at least 2 tokens after `skip`, or there are
            fewer than 2 blocks.

    Warns:
        UserWarning: there are under 10 tokens a dimension. Isotropic states of n tokens have an IsoScore near n / (n +
            D).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> noise = [TextStates(i, 0, rng.normal(size=(1, 50, 4))) for i in range(20)]
        >>> [measured] = isotropy(noise)[None]
        >>> measured.within.value > 0.95, abs(measured.across.value) < 0.05, measured.isoscore.value > 0.95
        (True, True, True)
    """
    if blocks < 2:
        raise ValueError(f"a jackknife needs at least 2 blocks, not {blocks}")
    sums: dict[Hashable, list[LayerSums]] = {}
    for text, start, hidden in states:
        if groups is not None and text >= len(groups):
            raise ValueError(f"text {text} has no group: {len(groups)} groups are given")
        group = groups[text] if groups is not None else None
        layers = sums.setdefault(group, [LayerSums(blocks) for _ in hidden])
        for layer, h in zip(layers, hidden, strict=True):
            layer.add(text, start, as_float64(h), skip)
    order = sums if groups is None else [group for group in dict.fromkeys(groups) if group in sums]
    return {group: [layer.measure(i, group) for i, layer in enumerate(sums[group])] for group in order}


class LayerSums:
    """The sums that a pass keeps of one layer: of each text for `within`, and of each block of texts for the rest."""

    def __init__(self, blocks: int) -> None:
        # of each text: the sum of the cosines of its ordered pairs, and their number
        self.within: dict[int, tuple[float, int]] = {}
        self.units: list[NDArray | float] = [0.0] * blocks  # sum of u
        self.inside: list[NDArray | float] = [0.0] * blocks  # by dimension, sum over texts of (sum of u)^2
        self.tokens, self.pairs_inside = np.zeros(blocks), np.zeros(blocks)
        self.moments = [Moments() for _ in range(blocks)]
        self.texts = 0

    def add(self, text: int, start: int, h: NDArray, skip: int) -> None:
        """Add the (T, D) states of a text, the first of which stands at position `start`."""
        u = h / np.linalg.norm(h, axis=1, keepdims=True)
        self.within[text] = float((u.sum(0) ** 2).sum() - (u * u).sum()), len(u) * (len(u) - 1)
        first = max(0, skip - start)
        if len(h) <= first:
            return
        block, total = text % len(self.moments), u[first:].sum(0)
        self.units[block] = self.units[block] + total
        self.inside[block] = self.inside[block] + total**2
        self.tokens[block] += len(u) - first
        self.pairs_inside[block] += (len(u) - first) ** 2
        self.moments[block] = self.moments[block] + Moments.of(h[first:])
        self.texts += 1

    def measure(self, layer: int, group: Hashable) -> Isotropy:
        """All measures of the states that were added."""
        used = [b for b, moments in enumerate(self.moments) if moments.n]
        pairs = np.array([self.within[text] for text in sorted(self.within)])
        if self.texts < 2 or not pairs[:, 1].any() or sum(moments.n for moments in self.moments) <= self.texts:
            about = "" if group is None else f" of {group!r}"
            raise ValueError(f"isotropy needs at least 2 texts{about} of a few tokens: there are {self.texts}")
        dimensions = len(self.moments[used[0]].mean)
        tokens = int(self.tokens.sum())
        if tokens < 10 * dimensions:
            warnings.warn(
                f"{tokens} tokens for {dimensions} dimensions: below 10 tokens a dimension IsoScore and ranks are too "
                "low",
                stacklevel=3,
            )
        shares = self.cosines(used)
        dimension = np.argsort(-np.abs(shares))[:3]
        spectra = {skipped: self.spectrum(used, skipped) for skipped in [None, *used]}

        def spread(statistic: Callable[[NDArray], float], low: float = 1.0, high: float = dimensions) -> Jackknifed:
            return self.over_blocks(used, lambda skipped: statistic(spectra[skipped]), (low, high))

        return Isotropy(
            layer,
            self.texts,
            tokens,
            within=bootstrap(pairs, one_less, bounds=(0.0, 2.0)),
            within_per_text=bootstrap(1 - ratio(pairs), bounds=(0.0, 2.0)),
            across=self.over_blocks(
                used, lambda skipped: float(self.cosines([b for b in used if b != skipped]).sum()), (-1.0, 1.0)
            ),
            rogue=[(int(j), float(shares[j] / shares.sum())) for j in dimension],
            isoscore=spread(isoscore, 0.0, 1.0),
            participation_ratio=spread(participation_ratio),
            effective_rank=spread(lambda values: exp_entropy(np.sqrt(values))),
            effective_rank_of_variance=spread(exp_entropy),
        )

    def cosines(self, blocks: Sequence[int]) -> NDArray:
        """(D,) what each dimension adds to the mean cosine of tokens of two texts of `blocks`; NaN for one text."""
        total = sum(self.units[b] for b in blocks) ** 2 - sum(self.inside[b] for b in blocks)
        number = self.tokens[list(blocks)].sum() ** 2 - self.pairs_inside[list(blocks)].sum()
        return np.asarray(total) / number if number else np.full(len(np.atleast_1d(total)), np.nan)

    def spectrum(self, blocks: Sequence[int], skipped: int | None) -> NDArray:
        """(D,) eigenvalues of the covariance of all blocks but `skipped`, none below 0."""
        together = sum((self.moments[b] for b in blocks if b != skipped), Moments())
        if not together.n:
            return np.full(1, np.nan)
        return np.maximum(np.linalg.eigvalsh(together.scatter / together.n), 0)

    def over_blocks(
        self, used: Sequence[int], statistic: Callable[[int | None], float], bounds: tuple[float, float]
    ) -> Jackknifed:
        """`statistic(None)`, of all blocks, and its interval from `statistic(block)`, without each block."""
        left_out = np.array([statistic(block) for block in used])
        value = statistic(None)
        low, high = jackknife_interval(value, left_out, len(used)) if len(used) > 1 else (np.nan, np.nan)
        how = f"95% jackknife over {len(used)} blocks of {self.texts} texts"
        return Jackknifed(value, low, high, how, self.texts, left_out=left_out, bounds=bounds)


def one_less(sums: NDArray) -> NDArray:
    """(..., 2) sum and number of cosines -> 1 - their mean."""
    return 1 - ratio(sums)
