"""Context-aware decoding: Shi et al. 2023."""

from dataclasses import dataclass, field
from typing import Any

from scorers._common.checks import check_range

from ..engine.context import Context
from .guidance import Guidance
from .second_prompts import as_reading


@dataclass(frozen=True, eq=False)
class ContextAware(Guidance):
    """(1 + alpha) log p(y | context, question) - alpha log p(y | question): Shi et al. 2023 (arXiv 2305.14739), eq. 3.

    Args:
        question: the prompt without its context, in any form of `Prompt`, or a reading such as `Span` or `Between`.
        alpha: weight of the contrast, at least 0; the paper's is 0.5 for summaries, 1 if context and memory disagree.
        beta: threshold of the plausibility mask, by p(y | context, question), 0 to 1; the paper has no mask.
        mask: (P, T) mask of the question, 0 for padding.
        tokenizer: needed if the question is text.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> import decoding
        >>> decoding.ContextAware([[5, 6]], alpha=0.5).weights
        {'main': 1.5, 'question': -0.5}
    """

    question: Any
    alpha: float = 0.5
    beta: float = 0.0
    mask: Any = field(default=None, repr=False)
    tokenizer: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_range(self, "alpha", 0)
        super().__post_init__()

    @property
    def weights(self) -> dict[str, float]:
        """The weights: 1 + alpha for the main prompt, and -alpha for the question."""
        return {"main": 1 + self.alpha, "question": -self.alpha}

    def context(self, name: str, main: Context) -> Context:
        """The context that reads the question alone."""
        return as_reading(self.question, self.mask, self.tokenizer)(main)
