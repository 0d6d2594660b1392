"""DExperts: Liu et al. 2021; and proxy tuning: Liu et al. 2024."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from scorers._common.checks import check_range

from ..engine.context import Context
from .guidance import Guidance
from .second_models import load_expert, put_on, refuse_other_tokens


@dataclass(frozen=True, eq=False)
class DExperts(Guidance):
    """log p + alpha (log p_expert - log p_antiexpert): Liu et al. 2021 (arXiv 2105.03023), eq. 1; and proxy tuning.

    Proxy tuning (Liu et al. 2024, arXiv 2401.08565) is `DExperts(small_tuned, small_untuned, alpha=1)`. If one of
    the two is missing, the model itself takes its place.

    Args:
        expert: a model with the same tokenizer, or its folder. At least one of expert and antiexpert must be given.
        antiexpert: likewise.
        alpha: weight of the difference, at least 0; the paper's are 2.0 and 3.2, proxy tuning's 1.
        top_p: the mask keeps the most probable tokens of p that together have this probability, above 0, up to 1; the
            paper's is 0.9. 1: no mask.

    Raises:
        ValueError: neither model is given, or an argument is out of range. In a call: a model has another tokenizer.

    Example:
        >>> import decoding
        >>> model, _ = decoding.load()
        >>> decoding.DExperts(antiexpert=model, alpha=2.0).weights
        {'main': 3.0, 'antiexpert': -2.0}
    """

    expert: Any = field(default=None, repr=False)
    antiexpert: Any = field(default=None, repr=False)
    alpha: float = 2.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if self.expert is None and self.antiexpert is None:
            raise ValueError("DExperts needs an expert or an antiexpert")
        check_range(self, "alpha", 0)
        check_range(self, "top_p", 1e-6, 1)
        object.__setattr__(self, "expert", load_expert(self.expert))
        object.__setattr__(self, "antiexpert", load_expert(self.antiexpert))
        super().__post_init__()

    @property
    def weights(self) -> dict[str, float]:
        """The weights 1, alpha and -alpha. The weight of a missing model is added to that of the main model."""
        if self.expert is None:
            return {"main": 1 + self.alpha, "antiexpert": -self.alpha}
        if self.antiexpert is None:
            return {"main": 1 - self.alpha, "expert": self.alpha}
        return {"main": 1.0, "expert": self.alpha, "antiexpert": -self.alpha}

    def check(self, model: Any, generation_config: GenerationConfig) -> None:
        """Refuse models with another tokenizer."""
        for other in (self.expert, self.antiexpert):
            if other is not None:
                refuse_other_tokens(model, other)

    def context(self, name: str, main: Context) -> Context:
        """The context in which the expert or the antiexpert reads the same prompt."""
        return main.again(put_on(getattr(self, name), main.model))

    @property
    def _masks(self) -> bool:
        return self.top_p < 1

    def keep(self, reference: Tensor, allowed: Tensor) -> Tensor:
        """The nucleus of the allowed tokens: (R, V) logits and (R, V) bool -> (R, V) bool."""
        p, order = reference.masked_fill(~allowed, -torch.inf).softmax(-1).sort(-1, descending=True)
        inside = p.cumsum(-1) - p < self.top_p  # the token that crosses the bound is kept
        return torch.zeros_like(allowed).scatter(-1, order, inside)
