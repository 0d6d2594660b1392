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

    Proxy tuning (Liu et al. 2024, arXiv 2401.08565) is `DExperts(small_tuned, small_untuned, alpha=1)`. Without one of
    the two, the model itself stands in for it.

    Args:
        expert, antiexpert: models of the same tokens, or folders; at least one.
        alpha: at least 0; the paper's are 2.0 and 3.2, proxy tuning's 1.
        top_p: over 0 to 1: the mask keeps the most probable tokens of p that make up this much; the paper's is 0.9.
            1: no mask.

    Raises:
        ValueError: neither model; an argument out of range; in a call: models that do not speak the same tokens.

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
        """1, alpha and -alpha; what is missing counts for the model itself."""
        if self.expert is None:
            return {"main": 1 + self.alpha, "antiexpert": -self.alpha}
        if self.antiexpert is None:
            return {"main": 1 - self.alpha, "expert": self.alpha}
        return {"main": 1.0, "expert": self.alpha, "antiexpert": -self.alpha}

    def check(self, model: Any, generation_config: GenerationConfig) -> None:
        """Refuse models of other tokens."""
        for other in (self.expert, self.antiexpert):
            if other is not None:
                refuse_other_tokens(model, other)

    def context(self, name: str, main: Context) -> Context:
        """The expert or the antiexpert on the same prompt."""
        return main.again(put_on(getattr(self, name), main.model))

    @property
    def _masks(self) -> bool:
        return self.top_p < 1

    def keep(self, reference: Tensor, allowed: Tensor) -> Tensor:
        """The nucleus of what is allowed."""
        p, order = reference.masked_fill(~allowed, -torch.inf).softmax(-1).sort(-1, descending=True)
        inside = p.cumsum(-1) - p < self.top_p  # the token that crosses the bound is in
        return torch.zeros_like(allowed).scatter(-1, order, inside)
