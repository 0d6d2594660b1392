"""The contrastive guides: each says what it weighs, and where the distributions come from."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from .context import Context
from .experts import load_expert, put_on, refuse_other_tokens
from .guidance import Guidance, check_range
from .readings import NoImage, Prompt, read_rows, rows_of


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


@dataclass(frozen=True, eq=False)
class ContextAware(Guidance):
    """(1 + alpha) log p(y | context, question) - alpha log p(y | question): Shi et al. 2023 (arXiv 2305.14739), eq. 3.

    Args:
        question: the prompt without its context, in any form of `Prompt`, or a reading such as `Span` or `Between`.
        alpha: at least 0; the paper's is 0.5 for summaries, 1 where context and memory disagree.
        beta: of a mask by p(y | context, question), 0 to 1; the paper has none.
        mask, tokenizer: of the question.

    Raises:
        ValueError: an argument out of range.

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
        """1 + alpha and -alpha."""
        return {"main": 1 + self.alpha, "question": -self.alpha}

    def context(self, name: str, main: Context) -> Context:
        """The question alone."""
        return as_reading(self.question, self.mask, self.tokenizer)(main)


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


@dataclass(frozen=True, eq=False)
class Steer(Guidance):
    """(1 + gamma) log p_expert(prompt) - gamma log p_base(prompt) - eta log p_expert(negatives): O'Neill et al. 2023.

    Steering Language Generation (arXiv 2308.07645): towards what fine-tuning taught, away from what the base would say,
    and away from examples that are there already. The authors sample with top_k=10 after it, and draw the negative
    examples anew for each example: `python -m decoding.steer` does that. From eta 0.8 on their outputs are word salad,
    since the weights sum to 1 - eta; a mask by p_expert (`beta`) is our addition.

    Args:
        expert: a fine-tuned model of the same tokens, a folder or hub id of one, or the folder of a LoRA adapter, which
            is switched on in the base for the expert's forwards: the base is in memory once.
        gamma: at least 0; the authors' is 0.2. eta: at least 0, None: 0.2 with negatives; the authors' are 0.2 and 0.6.
        negatives: examples that are there already, joined to one prompt (or one for each prompt), in any form of
            `Prompt`. None: that term is left out.
        base: None: the model being decoded. With another one given, the model being decoded has no part in the sum.
        beta: of the mask, 0 to 1; 0: none, as published.
        mask, tokenizer: of the negatives.

    Raises:
        ValueError: an argument out of range; eta without negatives, or negatives with eta 0; eta of 1 or more without a
            mask; in a call: models that do not speak the same tokens.

    Example:
        >>> import decoding
        >>> model, tokenizer = decoding.load()
        >>> steer = decoding.Steer(model, gamma=0.2, eta=0.2, negatives=["Seen already."], tokenizer=tokenizer)
        >>> steer.weights
        {'main': -0.2, 'expert': 1.2, 'negatives': -0.2}
    """

    expert: Any = field(repr=False)
    gamma: float = 0.2
    eta: float | None = None
    negatives: Any = field(default=None, repr=False)
    base: Any = field(default=None, repr=False)
    beta: float = 0.0
    mask: Any = field(default=None, repr=False)
    tokenizer: Any = field(default=None, repr=False)
    reference = "expert"

    def __post_init__(self) -> None:
        if self.eta is None:
            object.__setattr__(self, "eta", 0.0 if self.negatives is None else 0.2)
        check_range(self, "gamma", 0)
        check_range(self, "eta", 0)
        if self.eta and self.negatives is None:
            raise ValueError(f"Steer: eta={self.eta} needs negatives to steer away from")
        object.__setattr__(self, "expert", load_expert(self.expert))
        object.__setattr__(self, "base", load_expert(self.base))
        super().__post_init__()

    @property
    def weights(self) -> dict[str, float]:
        """-gamma of the base, 1 + gamma of the expert, -eta of the negatives."""
        base = {"main": -self.gamma} if self.base is None else {"main": 0.0, "base": -self.gamma}
        return base | {"expert": 1 + self.gamma, "negatives": -(self.eta or 0.0)}

    def check(self, model: Any, generation_config: GenerationConfig) -> None:
        """Refuse models of other tokens."""
        for other in (self.expert, self.base):
            if other is not None:
                refuse_other_tokens(model, other)

    def context(self, name: str, main: Context) -> Context:
        """The base or the expert on the prompt, or the expert on the negatives."""
        if name == "base":
            return main.again(self.base)
        expert = put_on(self.expert, main.model if self.base is None else self.base)
        if name == "negatives":
            return Prompt(self.negatives, self.mask, self.tokenizer, expert)(main)
        return main if expert is main.model else main.again(expert)


def as_reading(prompt: Any, mask: Any, tokenizer: Any) -> Callable[[Context], Context]:
    """A reading as it is, anything else as a second prompt."""
    return prompt if callable(prompt) else Prompt(prompt, mask, tokenizer)


def last_token(main: Context, model: Any = None) -> Context:
    """The context of each prompt's last token alone."""
    return read_rows([row[-1:] for row in rows_of(main)], main, model)
