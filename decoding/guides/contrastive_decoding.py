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
        amateur: a smaller or weaker model of the same tokens, or a folder of one.
        alpha: at least 0; the paper's is 1.
        beta: of the mask, over 0 to 1; the paper's is 0.1.
        temperature: of the amateur, above 0; the paper's is 0.5 for GPT-2, 1 for OPT. The same as alpha / temperature.
        last_token_only: whether the amateur reads the last token of the prompt alone, the released code's default.
        min_keep: tokens that the mask always leaves; the released code's is 2 for beams.

    Raises:
        ValueError: an argument out of range; in a call: amateur and model do not speak the same tokens.

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
        """1 and -alpha / temperature."""
        return {"main": 1.0, "amateur": -self.alpha / self.temperature}

    def check(self, model: Any, generation_config: GenerationConfig) -> None:
        """Refuse an amateur of other tokens."""
        refuse_other_tokens(model, self.amateur)

    def context(self, name: str, main: Context) -> Context:
        """The amateur on the same prompt."""
        amateur = put_on(self.amateur, main.model)
        return last_token(main, amateur) if self.last_token_only else main.again(amateur)
