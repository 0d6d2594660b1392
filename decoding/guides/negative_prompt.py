"""Classifier-free guidance with a negative prompt: Sanchez et al. 2023."""

from dataclasses import dataclass, field
from typing import Any

from ..engine.context import Context
from .guidance import Guidance
from .second_prompts import as_reading, last_token


@dataclass(frozen=True, eq=False)
class NegativePrompt(Guidance):
    """log p_negative + gamma (log p - log p_negative): classifier-free guidance, Sanchez et al. 2023, eq. 7.

    Stay on topic with Classifier-Free Guidance (arXiv 2306.17806). What `guidance_scale` and `negative_prompt_ids` of
    transformers ask for; that one goes wrong for left-padded negative prompts on absolute positions, for beams, for
    several returned sequences, and in bfloat16.

    Args:
        prompt: the negative prompt, in any form of `Prompt`, or a reading; None: the last token of the prompt, as in
            transformers ("unconditional").
        gamma: 1 is plain decoding, above it away from the negative prompt, below it towards it. The paper's is 1.5.
        beta: of a mask by p, 0 to 1; the paper has none.
        mask, tokenizer: of the negative prompt.

    Raises:
        ValueError: an argument out of range.

    Example:
        >>> import decoding
        >>> decoding.NegativePrompt([[5, 6]], gamma=1.5).weights
        {'main': 1.5, 'negative': -0.5}
    """

    prompt: Any = None
    gamma: float = 1.5
    beta: float = 0.0
    mask: Any = field(default=None, repr=False)
    tokenizer: Any = field(default=None, repr=False)

    @property
    def weights(self) -> dict[str, float]:
        """gamma and 1 - gamma."""
        return {"main": self.gamma, "negative": 1 - self.gamma}

    def context(self, name: str, main: Context) -> Context:
        """The negative prompt, or the last token."""
        return last_token(main) if self.prompt is None else as_reading(self.prompt, self.mask, self.tokenizer)(main)
