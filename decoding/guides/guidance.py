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

    "main" is the distribution of the model being decoded, before other guides, processors and temperature. This guide
    has a context of its own for each of the others. log p is a float32 log-softmax over the vocabulary that all of them
    share. A token to which any of them gives probability 0 is forbidden, so that no infinity enters the sum. Where the
    distributions agree, the sum of the weights acts as an inverse temperature.

    Several guides in one call add up, in any order: each adds its s - log p_main to what came before, and each applies
    its mask. A mask compares with the best token that is still allowed, so it keeps at least one. If two masks
    disagree, the guide that comes first prevails. The call's own constraints come later. If they forbid every token
    that is left in a row (`min_new_tokens` with a mask that keeps only the end of sequence), only the reference guides
    that row in that step.

    A subclass defines `weights`, and makes a context for each name but "main". A distribution with weight 0 is not
    read. If only "main" is left, with weight 1, the logits are returned bit for bit.

    Attributes:
        beta: threshold of the plausibility mask, 0 (no mask) to 1.
        reference: the name of the distribution by which the mask goes.
        min_keep: how many of the most probable tokens the mask always keeps.

    Raises:
        ValueError: beta is out of range, the weights are not finite, or they sum to 0 or less without a mask.

    Warns:
        UserWarning: the weights sum to less than 0.4 without a mask, which acts like a temperature above 2.5.

    Example:
        >>> class Colder(Guidance):  # p^2: a single distribution can have a weight too
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
        """Make the context of the distribution `name`, which is never "main", nor one that is not used."""

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
        """Accept every call. A guide that reads a second model refuses one with another tokenizer."""

    def contexts(self, main: Context) -> Sequence[Context]:
        """The main context, and a context for every other distribution that is used."""
        return [main if name == "main" else self.context(name, main) for name in self._names]

    def __call__(self, tokens: Tensor | None, logits: Tensor, *streams: Tensor) -> Tensor:
        """Guide (R, V) logits by the (R, V_i) logits of each distribution -> (R, V), masked."""
        logits_of = dict(zip(self._names, streams, strict=True))
        guided = combine(logits, logits_of, self.weights)
        if not self._masks:
            return guided
        return guided.masked_fill(
            ~self.keep(widened(logits_of[self.reference], logits), guided != -torch.inf), -torch.inf
        )

    def relaxed(self, tokens: Tensor | None, logits: Tensor, *streams: Tensor) -> Tensor:
        """Guide by the reference alone, for rows in which every token that the mask keeps is forbidden."""
        return combine(logits, dict(zip(self._names, streams, strict=True)), {self.reference: 1.0})

    def keep(self, reference: Tensor, allowed: Tensor) -> Tensor:
        """The tokens to keep, (R, V) bool, from (R, V) logits of the reference and (R, V) bool of those allowed."""
        return plausible(reference.masked_fill(~allowed, -torch.inf), self.beta, self.min_keep)

    @property
    def _masks(self) -> bool:
        return self.beta > 0

    @property
    def _names(self) -> list[str]:
        """The names of the distributions to read: "main", then the others in use, in the order of the weights."""
        counted = {name for name, weight in self.weights.items() if weight != 0}
        others = [name for name in self.weights if name != "main" and (name in counted or self._needs(name))]
        return ["main", *others]

    def _needs(self, name: str) -> bool:
        return self._masks and name == self.reference


def combine(logits: Tensor, streams: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    """Add sum_i w_i log p_i - log p_main to `logits`; -inf where `logits` or any used distribution has it.

    Args:
        logits: (R, V) float32, what came before: the main logits, unless other guides changed them.
        streams: the logits of each distribution by name, (R, V_i), "main" among them.
        weights: the weight of each distribution by name; one that is missing or 0 is not used.

    Returns:
        (R, V) float32. If only "main" is used, with weight 1, this is `logits` itself.

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
    """Cut (R, V_i) logits to the (R, V) of `like`, or fill them up with -inf, on the device of `like`."""
    narrow = narrow.to(like.device, torch.float32)[:, : like.shape[-1]]
    missing = like.shape[-1] - narrow.shape[-1]
    return torch.nn.functional.pad(narrow, (0, missing), value=-torch.inf) if missing else narrow


def plausible(reference: Tensor, beta: float, min_keep: int = 1) -> Tensor:
    """The tokens at least `beta` times as probable as the most probable one: Li et al. 2022, eq. 2 (there alpha).

    Args:
        reference: (R, V) logits, before any temperature.
        beta: 0 < beta <= 1.
        min_keep: how many tokens to keep at least.

    Returns:
        (R, V) bool. Tokens exactly at the threshold are kept.

    Example:
        >>> plausible(torch.tensor([[0.5, 0.4, 0.1]]).log(), beta=0.5)
        tensor([[ True,  True, False]])
    """
    keep = reference >= reference.amax(-1, keepdim=True) + math.log(beta)
    if min_keep > 1:
        keep |= reference >= reference.topk(min(min_keep, reference.shape[-1])).values[:, -1:]
    return keep
