"""STEER: O'Neill et al. 2023."""

from dataclasses import dataclass, field
from typing import Annotated, Any

from transformers import GenerationConfig

from scorers._common.ranges import NOT_NEGATIVE, UNIT, check_fields

from ..engine.context import Context
from .guidance import Guidance
from .second_models import load_expert, put_on, refuse_other_tokens
from .second_prompts import Prompt


@dataclass(frozen=True, eq=False)
class Steer(Guidance):
    """(1 + gamma) log p_expert(prompt) - gamma log p_base(prompt) - eta log p_expert(negatives): O'Neill et al. 2023.

    Steering Language Generation (arXiv 2308.07645) leads towards what fine-tuning taught, away from what the base model
    would say, and away from examples that exist already. The authors sample with top_k=10, and draw the negative
    examples anew for each example: `python -m decoding.steer` does that. With eta of 0.8 or more their outputs are word
    salad, since the weights sum to 1 - eta. The mask by p_expert (`beta`) is our addition.

    Args:
        expert: a fine-tuned model with the same tokenizer, its folder or hub id, or the folder of a LoRA adapter. An
            adapter is switched on in the base for the expert's forward passes, so the base is in memory only once.
        gamma: weight of the contrast with the base, at least 0; the authors' is 0.2.
        eta: weight of the contrast with the negatives, at least 0; the authors' are 0.2 and 0.6. None: 0.2 if there are
            negatives, else 0.
        negatives: examples that exist already, joined to one prompt (or one for each prompt), in any form of `Prompt`.
            None: that term is left out.
        base: the base model; None: the model being decoded. If another one is given, the model being decoded has no
            part in the sum.
        beta: threshold of the plausibility mask, 0 to 1; 0 is no mask, as published.
        mask: (P, T) mask of the negatives, 0 for padding.
        tokenizer: needed if the negatives are text.

    Raises:
        ValueError: an argument is out of range, eta is given without negatives, or eta is 1 or more without a mask. In
            a call: a model has another tokenizer.

    Example:
        >>> import decoding
        >>> model, tokenizer = decoding.load()
        >>> steer = decoding.Steer(model, gamma=0.2, eta=0.2, negatives=["Seen already."], tokenizer=tokenizer)
        >>> steer.weights
        {'main': -0.2, 'expert': 1.2, 'negatives': -0.2}
    """

    expert: Any = field(repr=False)
    gamma: Annotated[float, NOT_NEGATIVE] = 0.2
    eta: Annotated[float | None, NOT_NEGATIVE] = None
    negatives: Any = field(default=None, repr=False)
    base: Any = field(default=None, repr=False)
    beta: Annotated[float, UNIT] = 0.0
    mask: Any = field(default=None, repr=False)
    tokenizer: Any = field(default=None, repr=False)
    reference = "expert"

    def __post_init__(self) -> None:
        if self.eta is None:
            object.__setattr__(self, "eta", 0.0 if self.negatives is None else 0.2)
        check_fields(self)
        if self.eta and self.negatives is None:
            raise ValueError(f"Steer: eta={self.eta} needs negatives to steer away from")
        object.__setattr__(self, "expert", load_expert(self.expert))
        object.__setattr__(self, "base", load_expert(self.base))
        super().__post_init__()

    @property
    def weights(self) -> dict[str, float]:
        """The weights: -gamma for the base, 1 + gamma for the expert, -eta for the negatives."""
        base = {"main": -self.gamma} if self.base is None else {"main": 0.0, "base": -self.gamma}
        return base | {"expert": 1 + self.gamma, "negatives": -(self.eta or 0.0)}

    def check(self, model: Any, generation_config: GenerationConfig) -> None:
        """Refuse models with another tokenizer."""
        for other in (self.expert, self.base):
            if other is not None:
                refuse_other_tokens(model, other)

    def context(self, name: str, main: Context) -> Context:
        """The context in which the base or the expert reads the prompt, or the expert the negatives."""
        if name == "base":
            return main.again(self.base)
        expert = put_on(self.expert, main.model if self.base is None else self.base)
        if name == "negatives":
            return Prompt(self.negatives, self.mask, self.tokenizer, expert)(main)
        return main if expert is main.model else main.again(expert)
