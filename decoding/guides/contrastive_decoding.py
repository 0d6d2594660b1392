"""Contrastive decoding against an amateur model: Li et al. 2022."""

from dataclasses import dataclass, field
from typing import Any

from transformers import GenerationConfig

from scorers._common.checks import check_range

from ..engine.context import Context
from .guidance import Guidance
from .second_models import load_expert, put_on, refuse_other_tokens
from .second_prompts import last_token


@dataclass(frozen=True, eq=False)
class ContrastiveDecoding(Guidance):
    """log p - alpha log p_amateur^(1/temperature), masked by p: Li et al. 2022 (arXiv 2210.15097), eq. 3.

    The paper writes lambda for alpha, and alpha for beta. Its beam search takes candidates by the expert's own step
    scores; inside transformers' beam search this guide is scored like any other.

    Args:
        amateur: a smaller or weaker model with the same tokenizer, or its folder.
        alpha: weight of the contrast, at least 0; the paper's is 1.
        beta: threshold of the plausibility mask, above 0, up to 1; the paper's is 0.1.
        temperature: temperature of the amateur, above 0; the paper's is 0.5 for GPT-2, 1 for OPT. Only
            alpha / temperature has an effect.
        last_token_only: whether the amateur reads only the last token of the prompt, as the released code does by
            default.
        min_keep: how many tokens the mask always keeps, at least 1; the released code's is 2 for beams.

    Raises:
        ValueError: an argument is out of range. In a call: the amateur and the model have different tokenizers.

    Example:
        >>> import decoding
        >>> decoding.ContrastiveDecoding("amateur", temperature=0.5).weights  # doctest: +SKIP
        {'main': 1.0, 'amateur': -2.0}
    """

    amateur: Any = field(repr=False)
    alpha: float = 1.0
    beta: float = 0.1
    temperature: float = 1.0
    last_token_only: bool = False
    min_keep: int = 1

    def __post_init__(self) -> None:
        check_range(self, "alpha", 0)
        check_range(self, "temperature", 1e-6)
        check_range(self, "min_keep", 1)
        object.__setattr__(self, "amateur", load_expert(self.amateur))
        super().__post_init__()

    @property
    def weights(self) -> dict[str, float]:
        """The weights: 1 for the model, and -alpha / temperature for the amateur."""
        return {"main": 1.0, "amateur": -self.alpha / self.temperature}

    def check(self, model: Any, generation_config: GenerationConfig) -> None:
        """Refuse an amateur with another tokenizer."""
        refuse_other_tokens(model, self.amateur)

    def context(self, name: str, main: Context) -> Context:
        """The context in which the amateur reads the same prompt."""
        amateur = put_on(self.amateur, main.model)
        return last_token(main, amateur) if self.last_token_only else main.again(amateur)
