"""Scorers that are made of others: weighted sums, and means of pairwise comparisons."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ._common.checks import require_one_of
from .encoding import distinct
from .scorer import Scorer, as_scorer


@dataclass(frozen=True, eq=False)
class Weighted(Scorer):
    """A weighted sum of scorers: Σ_k w_k f(s_k), where f brings the scores of a prefix's continuations to one scale.

    Scorers have units of their own: dot products may be about 10, log-likelihoods about -300. With "z" and "rank" a
    score depends on the other continuations, so the sum is set-wise. A continuation that a term rejects (-inf) is
    rejected, and the others are compared without it. A scorer of weight 0 does not run.

    Args:
        terms: pairs (w_k, s_k), where w_k is finite and s_k is a scorer or a function of (prefixes, continuations).
        normalise: f. "none": the scores as they are; the weights must fit their units. "z": (s - mean) / deviation over
            the continuations of the prefix in this call, or 0 if all are the same. "rank": the share of the other
            continuations that it beats, in [0, 1], where a tie counts half; a single continuation gets 1/2.

    Raises:
        ValueError: there are no terms, a weight is not finite, or there is no such f.

    Example:
        >>> length = lambda prefixes, texts: [len(text) for text in texts]
        >>> vowels = lambda prefixes, texts: [sum(c in "aeiou" for c in text) for text in texts]
        >>> Weighted([(1, vowels), (-0.5, length)])(["x"] * 2, ["aloe", "rhythm"])
        tensor([ 1., -3.])
        >>> Weighted([(1, vowels), (1, length)], normalise="rank")(["x"] * 2, ["aloe", "rhythm"])
        tensor([1., 1.])
    """

    terms: Sequence[tuple[float, Any]]
    normalise: str = "none"

    def __post_init__(self) -> None:
        require_one_of("normalise", self.normalise, ("none", "z", "rank"))
        terms = tuple((float(weight), as_scorer(scorer)) for weight, scorer in self.terms)
        if not terms or not all(torch.tensor(weight).isfinite() for weight, _ in terms):
            raise ValueError("a weighted sum needs at least one term, and finite weights")
        object.__setattr__(self, "terms", terms)
        counted = [scorer for _, scorer in self._counted()]
        object.__setattr__(self, "partial", all(scorer.partial for scorer in counted))
        object.__setattr__(self, "setwise", self.normalise != "none" or any(scorer.setwise for scorer in counted))

    def __call__(self, prefixes: Sequence[str], continuations: Sequence[str]) -> Tensor:
        """Score by calling each term, so that a term that reads prefixes a few at a time still does so."""
        if isinstance(prefixes, str) or isinstance(continuations, str) or len(prefixes) != len(continuations):
            return super().__call__(prefixes, continuations)  # raises the error
        return self._sum([scorer(prefixes, continuations) for _, scorer in self._counted()], distinct(prefixes)[1])

    def read(self, prefixes: Sequence[str]) -> Any:
        """The state of each scorer whose weight is not 0."""
        return [scorer.read(prefixes) for _, scorer in self._counted()]

    def score(self, state: Any, owners: Sequence[int], continuations: Sequence[str]) -> Tensor:
        """(N,) weighted sums."""
        counted = zip(self._counted(), state, strict=True)
        return self._sum([scorer.score(own, owners, continuations) for (_, scorer), own in counted], owners)

    def _counted(self) -> list[tuple[float, Scorer]]:
        return [(weight, scorer) for weight, scorer in self.terms if weight]

    def _sum(self, scores: Sequence[Tensor], owners: Sequence[int]) -> Tensor:
        total = torch.zeros(len(owners), dtype=torch.float64)
        for (weight, _), own in zip(self._counted(), scores, strict=True):
            total += weight * normalised(own.double(), owners, self.normalise)
        for own in scores:
            total[own == -torch.inf] = -torch.inf
        return total.float()


class Pairwise(Scorer):
    """The mean of comparisons with the other continuations of a prefix, for rankers that compare two, such as PairRM.

    s_i = mean over j != i of (P(i before j) + 1 - P(j before i)) / 2. Each pair is compared in both orders, because
    rankers prefer one place. Equal texts are not compared: they draw, which is 1/2. A single continuation scores 1/2
    too. n different continuations of a prefix cost n (n - 1) comparisons, which `compare` gets all at once.

    Example:
        >>> class Longer(Pairwise):
        ...     def compare(self, state, owners, first, second):
        ...         lengths = [len(a) - len(b) for a, b in zip(first, second)]
        ...         return torch.tensor(lengths, dtype=torch.float32).sigmoid()
        >>> Longer()(["x"] * 3, ["a", "aa", "aaaa"])
        tensor([0.1582, 0.4251, 0.9167])
    """

    partial: bool = False
    setwise: bool = True

    @abstractmethod
    def compare(self, state: Any, owners: Sequence[int], first: Sequence[str], second: Sequence[str]) -> Tensor:
        """(M,) in [0, 1]: the probability that `first[m]` is better than `second[m]` after prefix `owners[m]`."""

    def score(self, state: Any, owners: Sequence[int], continuations: Sequence[str]) -> Tensor:
        """(N,) in [0, 1]: the mean result of each continuation.

        Raises:
            ValueError: `compare` returned something else than M probabilities.
        """
        groups: dict[int, dict[str, None]] = {}
        for owner, text in zip(owners, continuations, strict=True):
            groups.setdefault(owner, {})[text] = None
        duels = [(owner, a, b) for owner, texts in groups.items() for a in texts for b in texts if a != b]
        wins: dict[tuple[int, str, str], float] = {}
        if duels:
            first, second = [a for _, a, _ in duels], [b for _, _, b in duels]
            found = torch.as_tensor(self.compare(state, [owner for owner, _, _ in duels], first, second))
            found = found.detach().to("cpu", torch.float64)
            if found.shape != (len(duels),) or not ((found >= 0) & (found <= 1)).all():
                raise ValueError(f"{type(self).__name__}.compare must give {len(duels)} numbers in 0 to 1")
            wins = dict(zip(duels, found.tolist(), strict=True))
        scores = []
        for i, (owner, text) in enumerate(zip(owners, continuations, strict=True)):
            others = [continuations[j] for j, other in enumerate(owners) if other == owner and j != i]
            points = [(wins.get((owner, text, b), 0.5) + 1 - wins.get((owner, b, text), 0.5)) / 2 for b in others]
            scores.append(sum(points) / len(points) if points else 0.5)
        return torch.tensor(scores, dtype=torch.float32)


def normalised(scores: Tensor, owners: Sequence[int], how: str) -> Tensor:
    """(N,) scores on the common scale, computed among the continuations of one owner.

    Scores of -inf become 0, and do not count.
    """
    found = scores.masked_fill(scores == -torch.inf, 0.0)
    if how == "none":
        return found
    owner = torch.tensor(owners)
    for group in owner.unique():
        rows = ((owner == group) & (scores != -torch.inf)).nonzero().flatten()
        own = scores[rows]
        if how == "z":
            centred = own - own.mean()
            deviation = centred.square().mean().sqrt()
            same = deviation <= 1e-6 * own.abs().max().clamp(min=1e-30) if len(own) else True
            found[rows] = torch.zeros_like(own) if same else centred / deviation
        else:
            beaten = (own[:, None] > own).sum(1) + ((own[:, None] == own).sum(1) - 1) / 2
            found[rows] = beaten.double() / (len(own) - 1) if len(own) > 1 else torch.full_like(own, 0.5)
    return found
