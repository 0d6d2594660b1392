"""The idea behind contrastive guides: a weighted sum of named next-token distributions, then a plausibility mask."""

import math
import warnings
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import GenerationConfig

from scorers._common.checks import check_range

from ..engine.context import Context
from ..parts import Guide


class Guidance(Guide):
    """s = sum_i w_i log p_i over named distributions; where p_ref(v) < beta max p_ref, token v is masked.

    "main" is the model being decoded, as it is: before other guides, processors and temperature. The others are
    contexts of this guide's own. log p is a float32 log-softmax over the vocabulary that all of them share, and a
    token that any of them gives no probability at all is forbidden, so that no infinity enters the sum. The weights'
    sum is an inverse temperature where the distributions agree.

    Several guides in one call add up: each adds its s - log p_main to what came before, in any order, and each has its
    mask. A mask compares with the best of the tokens that are still allowed, so it leaves at least one; where it rules
    out the best token of another guide's, the first of the two has its way. Where the call's own constraints, which
    come later, forbid all that is left in a row (`min_new_tokens` with a mask that keeps the end alone), the reference
    alone guides that row in that step.

    A subclass says `weights`, and makes a context for each name but "main". With weight 0 a distribution is not read;
    with none but "main" left, logits pass bit for bit.

    beta: 0 <= beta <= 1, 0 for no mask; reference: the name whose p the mask goes by; min_keep: tokens that the mask
    always leaves, the most probable ones.

    Raises:
        ValueError: beta out of range; weights that are not finite, or that sum to 0 or less without a mask.

    Warns:
        UserWarning: weights that sum to less than 0.4 without a mask: that is a temperature over 2.5.

    Example:
        >>> class Colder(Guidance):  # p^2: a distribution may be weighted on its own
        ...     weights = {"main": 2.0}
        ...     def context(self, name, main): ...
        >>> Colder()(None, torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 1.0]]))
        tensor([[-2.6265, -0.6265]])
    """

    beta: float = 0.0
    reference: str = "main"
    min_keep: int = 1

    @property
    @abstractmethod
    def weights(self) -> dict[str, float]:
        """The weight of each distribution, by name."""

    @abstractmethod
    def context(self, name: str, main: Context) -> Context:
        """What gives the distribution `name`; never asked for "main", nor for a weight of 0 that no mask goes by."""

    def __post_init__(self) -> None:
        check_range(self, "beta", 0, 1)
        if not all(map(math.isfinite, self.weights.values())):
            raise ValueError(f"{type(self).__name__}: weights must be finite, not {self.weights}")
        total = round(sum(self.weights.values()), 6)
        if total <= 0 and not self._masks:
            raise ValueError(
                f"{type(self).__name__}: the weights sum to {total:g}, which ranks unlikely tokens first: "
                "lower them, or give a mask (beta=0.1)"
            )
        if total < 0.4 and not self._masks:
            warnings.warn(
                f"{type(self).__name__}: the weights sum to {total:g}, like a temperature of {1 / total:.1f}: "
                "lower them, or give a mask (beta=0.1)",
                stacklevel=3,
            )

    def check(self, model: object, generation_config: GenerationConfig) -> None:
        """Nothing to refuse, for a guide that reads one model alone."""

    def contexts(self, main: Context) -> Sequence[Context]:
        """The main context, and one for every other name that counts."""
        return [main if name == "main" else self.context(name, main) for name in self._names]

    def __call__(self, tokens: Tensor | None, logits: Tensor, *streams: Tensor) -> Tensor:
        """(R, V) logits, and what each of the distributions has, (R, V_i) -> (R, V), masked."""
        logits_of = dict(zip(self._names, streams, strict=True))
        guided = combine(logits, logits_of, self.weights)
        if not self._masks:
            return guided
        return guided.masked_fill(
            ~self.keep(widened(logits_of[self.reference], logits), guided != -torch.inf), -torch.inf
        )

    def relaxed(self, tokens: Tensor | None, logits: Tensor, *streams: Tensor) -> Tensor:
        """The reference alone: what to go by where nothing that the mask leaves may be taken."""
        return combine(logits, dict(zip(self._names, streams, strict=True)), {self.reference: 1.0})

    def keep(self, reference: Tensor, allowed: Tensor) -> Tensor:
        """(R, V) logits of the reference, (R, V) bool of what is not forbidden yet -> (R, V) bool, what to keep."""
        return plausible(reference.masked_fill(~allowed, -torch.inf), self.beta, self.min_keep)

    @property
    def _masks(self) -> bool:
        return self.beta > 0

    @property
    def _names(self) -> list[str]:
        """ "main" and the others that count, in the order of the weights; none where there is nothing to do."""
        counted = {name for name, weight in self.weights.items() if weight != 0}
        others = [name for name in self.weights if name != "main" and (name in counted or self._needs(name))]
        return ["main", *others]

    def _needs(self, name: str) -> bool:
        return self._masks and name == self.reference


def combine(logits: Tensor, streams: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    """Add sum_i w_i log p_i - log p_main to `logits`; -inf where `logits` or any counted distribution has it.

    Args:
        logits: (R, V) float32, what came before: the main logits, unless other guides changed them.
        streams: the logits of each distribution, (R, V_i), "main" among them.
        weights: by name; a name that is missing or 0 does not count.

    Returns:
        (R, V) float32; `logits` itself where only "main" counts, with weight 1.

    Example:
        >>> main, biased = torch.tensor([[2.0, 1.0]]), torch.tensor([[1.0, 0.0]])
        >>> combine(main, {"main": main, "biased": biased}, {"main": 2.0, "biased": -1.0}).softmax(-1)
        tensor([[0.7311, 0.2689]])
    """
    weights = {name: weight for name, weight in weights.items() if weight != 0}
    if weights == {"main": 1}:
        return logits
    width = min(stream.shape[-1] for stream in (logits, *(streams[name] for name in {"main", *weights})))
    parts = {name: streams[name].to(logits.device, torch.float32)[:, :width] for name in {"main", *weights}}
    before = logits[:, :width] - parts["main"]  # what other guides added; exactly 0 without them
    forbidden = logits[:, :width] == -torch.inf
    for name in weights:
        forbidden = forbidden | (parts[name] == -torch.inf)
    total = before.masked_fill(forbidden, 0)
    for name, weight in weights.items():
        total = total + weight * parts[name].log_softmax(-1).masked_fill(forbidden, 0)
    return widened(total.masked_fill(forbidden, -torch.inf), logits)


def widened(narrow: Tensor, like: Tensor) -> Tensor:
    """(R, V_i) -> the (R, V) of `like`, on its device: cut, or filled with -inf."""
    narrow = narrow.to(like.device, torch.float32)[:, : like.shape[-1]]
    missing = like.shape[-1] - narrow.shape[-1]
    return torch.nn.functional.pad(narrow, (0, missing), value=-torch.inf) if missing else narrow


def plausible(reference: Tensor, beta: float, min_keep: int = 1) -> Tensor:
    """The tokens at least `beta` times as probable as the most probable one: Li et al. 2022, eq. 2 (there alpha).

    Args:
        reference: (R, V) logits, before any temperature. beta: 0 < beta <= 1. min_keep: how many to keep at least.

    Returns:
        (R, V) bool; ties with the bound are kept.

    Example:
        >>> plausible(torch.tensor([[0.5, 0.4, 0.1]]).log(), beta=0.5)
        tensor([[ True,  True, False]])
    """
    keep = reference >= reference.amax(-1, keepdim=True) + math.log(beta)
    if min_keep > 1:
        keep |= reference >= reference.topk(min(min_keep, reference.shape[-1])).values[:, -1:]
    return keep
