"""Debias sampling: Zhang et al. 2024; with noise on the image, Visual Contrastive Decoding: Leng et al. 2023."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from scorers._common.checks import check_range

from ..engine.context import Context
from .guidance import Guidance
from .second_prompts import NoImage, Prompt


@dataclass(frozen=True, eq=False)
class DebiasSampling(Guidance):
    """(1 + alpha) log p - alpha log p_without, where p_without reads the prompt without its evidence.

    Zhang et al. 2024, Debiasing Multimodal Large Language Models (arXiv 2403.05262); with `NoisyImage`, Visual
    Contrastive Decoding (Leng et al. 2023, arXiv 2311.16922). The mask goes by p. The authors only sampled; here every
    picker can follow. If there are several readings, their log p are averaged: the authors' `both` is
    `without=[NoImage(), UnknownImage()]`.

    Args:
        alpha: weight of the contrast, at least 0; with 0 only the mask acts. The authors' is 1.
        beta: threshold of the plausibility mask, 0 (no mask) to 1. The authors' are 0.1 and 0.2.
        without: what p_without reads. This is a second prompt in any form of `Prompt`; a reading (`NoImage`,
            `UnknownImage`, `NoisyImage`, `Span`, `Between`, or any function from the main context to another one); or a
            list of readings. None: `NoImage()`.
        mask: (P, T) mask of a second prompt, 0 for padding.
        tokenizer: needed if the second prompt is text.

    Raises:
        ValueError: an argument is out of range. In a call: the prompt has no image, or no evidence, to leave out.

    Example:
        >>> import decoding
        >>> model, tokenizer = decoding.load()
        >>> inputs = tokenizer("The bird in the photo is green. The bird is a", return_tensors="pt")
        >>> debias = decoding.DebiasSampling(without="The bird is a", tokenizer=tokenizer)
        >>> decoding.generate(model, **inputs, processors=[debias], max_new_tokens=4).shape
        torch.Size([1, 16])
    """

    alpha: float = 1.0
    beta: float = 0.1
    without: Any = None
    mask: Any = field(default=None, repr=False)
    tokenizer: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_range(self, "alpha", 0)
        super().__post_init__()
        self.readings()

    @property
    def weights(self) -> dict[str, float]:
        """The weights: 1 + alpha for the main prompt, and -alpha / n for each of the n readings without evidence."""
        n = len(self.readings())
        return {"main": 1 + self.alpha} | {f"without {i}": -self.alpha / n for i in range(n)}

    def context(self, name: str, main: Context) -> Context:
        """The context that reads the main prompt without its evidence."""
        return self.readings()[int(name.split()[1])](main)

    def readings(self) -> list[Callable[[Context], Context]]:
        """The readings that leave out the evidence."""
        if self.without is None:
            return [NoImage()]
        if callable(self.without):
            return [self.without]
        if isinstance(self.without, (list, tuple)) and self.without and all(map(callable, self.without)):
            return list(self.without)
        return [Prompt(self.without, self.mask, self.tokenizer)]
