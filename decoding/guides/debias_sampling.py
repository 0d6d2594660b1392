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
    Contrastive Decoding (Leng et al. 2023, arXiv 2311.16922). The mask goes by p. Its authors only sampled; here it
    serves every picker. Several ways of leaving the evidence out are averaged, in log p: the authors' `both` is
    `without=[NoImage(), UnknownImage()]`.

    Args:
        alpha: strength of the contrast, at least 0; 0 is the mask alone. The authors' is 1.
        beta: of the mask, 0 to 1, 0 for none. The authors' are 0.1 and 0.2.
        without: what p_without reads: a second prompt (`Prompt` has its forms), or one of `NoImage`, `UnknownImage`,
            `NoisyImage`, `Span`, `Between`, or any function of the main context to another; or a list of these. None:
            `NoImage()`.
        mask, tokenizer: of a second prompt.

    Raises:
        ValueError: an argument out of range; in a call: no image, or no evidence, where there should be some.

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
        """1 + alpha, and -alpha over all the readings without evidence."""
        n = len(self.readings())
        return {"main": 1 + self.alpha} | {f"without {i}": -self.alpha / n for i in range(n)}

    def context(self, name: str, main: Context) -> Context:
        """The main prompt without its evidence."""
        return self.readings()[int(name.split()[1])](main)

    def readings(self) -> list[Callable[[Context], Context]]:
        """The ways of leaving out the evidence."""
        if self.without is None:
            return [NoImage()]
        if callable(self.without):
            return [self.without]
        if isinstance(self.without, (list, tuple)) and self.without and all(map(callable, self.without)):
            return list(self.without)
        return [Prompt(self.without, self.mask, self.tokenizer)]
