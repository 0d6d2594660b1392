"""Classifier-free guidance with a negative prompt: Sanchez et al. 2023."""

from dataclasses import dataclass, field
from typing import Any

from ..engine.context import Context
from .guidance import Guidance
from .second_prompts import as_reading, last_token


@dataclass(frozen=True, eq=False)
class NegativePrompt(Guidance):
    """log p_negative + gamma (log p - log p_negative): classifier-free guidance, Sanchez et al. 2023, eq. 7.

    Stay on topic with Classifier-Free Guidance (arXiv 2306.17806). This does what the options `guidance_scale` and
    `negative_prompt_ids` of transformers are for. Theirs goes wrong in these cases:

    - left-padded negative prompts in models with absolute positions;
    - beams;
    - several returned sequences;
    - bfloat16.

    Args:
        prompt: the negative prompt, in any form of `Prompt`, or a reading; None: the last token of the prompt, as in
            transformers ("unconditional").
        gamma: 1 is plain decoding, more leads away from the negative prompt, less leads towards it. The paper's is 1.5.
        beta: threshold of the plausibility mask, by p, 0 to 1; the paper has no mask.
        mask: (P, T) mask of the negative prompt, 0 for padding.
        tokenizer: needed if the negative prompt is text.

    Raises:
        ValueError: an argument is out of range.

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
        """The weights: gamma for the main prompt, and 1 - gamma for the negative one."""
        return {"main": self.gamma, "negative": 1 - self.gamma}

    def context(self, name: str, main: Context) -> Context:
        """The context that reads the negative prompt, or the last token of the main one."""
        return last_token(main) if self.prompt is None else as_reading(self.prompt, self.mask, self.tokenizer)(main)
