"""Multiple choice: how probable each choice is after a prompt, and how to calibrate these probabilities.

Calibration corrects the answer of the model by its answer to a content-free question, such as one without its image:
Zhao et al. 2021, Calibrate Before Use (arXiv 2102.09690), and as Post-Hoc debias, Zhang et al. 2024, Debiasing Large
Visual Language Models (arXiv 2403.05262).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, ProcessorMixin

from scorers._common.checks import require_count
from scorers.language_model import token_log_p

from .engine.context import Context

Choices = Sequence[str | tuple[str, ...]]


@torch.no_grad()
def score_choices(
    model: PreTrainedModel,
    tokenizer: Any,
    prompts: Sequence[str],
    choices: Choices | Sequence[Choices],
    *,
    length: str = "sum",
    batch_size: int = 8,
    **inputs: Any,
) -> Tensor:
    """The log-probability of each choice after each prompt, normalised over the choices.

    The log-probability of a text y is Σ_t log p(y_t | x, y_<t), over the whole vocabulary, in float32, without warpers,
    forced tokens or end of text. Each prompt is read once. Choices of one token need no further forward pass. Longer
    ones need one for each further token of the longest choice, with a row for each variant that is this long,
    `batch_size` prompts together.

    Args:
        model: any model that `model.generate` serves; an encoder-decoder continues with its decoder.
        tokenizer: its tokenizer or its processor, called with `text=` and `inputs`. The side of the padding is chosen
            here.
        prompts: P texts.
        choices: C choices for all prompts, or a list of P lists of C. A choice is a text exactly as it continues the
            prompt, with its leading space, and is tokenised on its own. Or it is a tuple of variants, such as
            (" yes", " Yes"), whose probabilities are summed. Variants with the same tokens count once. No variant
            should be the beginning of another.
        length: "sum", or "mean", which divides the sum by the number of tokens. With "mean", the probability of a
            variant is the geometric mean of those of its tokens, and these means are summed over variants.
        batch_size: prompts in a forward pass, at least 1.
        inputs: arguments for the tokenizer or processor. A list has an entry for each prompt, such as `images` with an
            image or a list of them. Anything else is an option for all prompts, such as `add_special_tokens=False`
            after a chat template.

    Returns:
        (P, C) float64 on the CPU; `.exp()` is the distribution over the choices.

    Raises:
        ValueError: before any forward pass, if an argument is wrong:

            - there are no prompts or no choices, or not C choices for every prompt;
            - a prompt or choice has no tokens;
            - a list in `inputs` does not have an entry for each prompt;
            - `length` has another value, or `batch_size` is below 1.

            After the first forward pass, if choices have several tokens and the model's state cannot be forked.

    Example:
        >>> import decoding
        >>> model, tokenizer = decoding.load()
        >>> prompts = ["The capital of France is", "The capital of Italy is"]
        >>> score_choices(model, tokenizer, prompts, [" Rome", " Paris", " London"]).argmax(1)
        tensor([1, 0])
    """
    labels = tokens_of_choices(tokenizer, prompts, choices, length=length, batch_size=batch_size, **inputs)
    scores = []
    for start in range(0, len(prompts), batch_size):
        batch = slice(start, start + batch_size)
        content = {name: entry[batch] if isinstance(entry, list) else entry for name, entry in inputs.items()}
        context = read_prompts(model, tokenizer, list(prompts[batch]), content)
        texts = [text for row in labels[batch] for text in chain(*row)]
        rows = [i for i, row in enumerate(labels[batch]) for _ in chain(*row)]
        log_p = score_texts(context, texts, rows)
        if length == "mean":
            log_p /= torch.tensor([len(text) for text in texts])
        scores += [variants.logsumexp(0) for variants in log_p.split([len(choice) for choice in chain(*labels[batch])])]
    return torch.stack(scores).view(len(prompts), -1).log_softmax(-1)


@dataclass(frozen=True)
class PostHocDebias:
    """Post-Hoc debias: the affine calibration W p + b of label distributions, Zhao et al. 2021, eq. 1.

    p_cf is the prior: the distribution over the labels after a content-free input. There are two forms:

    - "diagonal": W = diag(1 / (p_cf + floor)), b = 0, normalised: q ∝ p / (p_cf + floor). With the sums of
      `score_choices`, the domain's premise as content-free text and floor 0, the choices are ordered as by DC-PMI
      (Holtzman et al. 2021, arXiv 2104.08315).
    - "identity": W = I, b = -p_cf, then the softmax, as in Zhao et al.: q = softmax(p - p_cf). LLaVA-Align's code
      divides p - p_cf by its sum instead. That sum is always 0, up to a rounding error that can reverse the order.

    Args:
        weight: "diagonal" or "identity".
        floor: added to the prior, at least 0; LLaVA-Align's is 1e-4. It is for "diagonal" only.

    Raises:
        ValueError: the weight has another value, the floor is out of range, or it is given with "identity".

    Example:
        >>> p, prior = torch.tensor([[0.75, 0.25], [0.875, 0.125]]), torch.tensor([0.875, 0.125])
        >>> PostHocDebias()(p, prior)
        tensor([[0.3000, 0.7000],
                [0.5000, 0.5000]], dtype=torch.float64)
    """

    weight: str = "diagonal"
    floor: float = 0.0

    def __post_init__(self) -> None:
        if self.weight not in ("diagonal", "identity"):
            raise ValueError(f'weight must be "diagonal" or "identity", not {self.weight!r}')
        if not 0 <= self.floor < math.inf:
            raise ValueError(f"floor must be finite and at least 0, not {self.floor!r}")
        if self.floor and self.weight == "identity":
            raise ValueError('floor is for weight="diagonal" only: leave it out')

    def __call__(self, p: Tensor, prior: Tensor) -> Tensor:
        """Calibrate distributions.

        Args:
            p: (P, C) distributions over C labels, of any float type.
            prior: (C,), or (P, C) with one for each row; `content_free_prior` makes it of several content-free inputs.

        Returns:
            (P, C) float64 on the CPU, whose rows sum to 1.

        Raises:
            ValueError: a shape is wrong, an entry is below 0, a row does not sum to 1 within 1e-3, or the prior of a
                label is 0 and there is no floor.
        """
        p, prior = as_distributions(p, "p"), as_distributions(prior, "the prior")
        if p.dim() != 2 or prior.shape not in (p.shape, p.shape[1:]):
            raise ValueError(
                f"p must be (P, C) and the prior (C,) or (P, C), not {tuple(p.shape)} and {tuple(prior.shape)}"
            )
        if self.weight == "identity":
            return (p - prior).softmax(-1)
        floored = prior + self.floor
        if (floored == 0).any():
            raise ValueError("the prior of a label is 0, and nothing can be divided by it: pass a floor, such as 1e-4")
        return (p.log() - floored.log()).softmax(-1)  # p / floored, normalised; this does not overflow

    def choose(
        self,
        model: PreTrainedModel,
        tokenizer: Any,
        prompts: Sequence[str],
        choices: Choices | Sequence[Choices],
        content_free: Sequence[str] | Sequence[Sequence[str]],
        **options: Any,
    ) -> Tensor:
        """Answer multiple-choice questions by calibrated distributions over the choices.

        Args:
            model, tokenizer, prompts, choices: see `score_choices`.
            content_free: M texts for all prompts, such as the question's template with "N/A", "" and "[MASK]"; or a
                list of P lists, one for each prompt (LLaVA-Align's "individual"). The prior is the mean over them. They
                are read without images, so leave out the places of images ("none"). For other images (noise), call
                `score_choices` and `content_free_prior` yourself.
            options: `length`, `batch_size` and the inputs of `score_choices`; lists are for the prompts only.

        Returns:
            (P, C) float64 on the CPU; `.argmax(1)` gives the answers.

        Raises:
            ValueError: there are no content-free texts, or not a list of them for every prompt; or as `score_choices`
                and `__call__`. The errors of `score_choices` come before any forward pass.

        Example:
            >>> import decoding
            >>> model, tokenizer = decoding.load()
            >>> seen = ["The cast is great.", "What a treat.", "I smiled all through.", "Wonderful."]
            >>> template = "".join(f"Review: {review}\\nMood: good\\n\\n" for review in seen) + "Review: {}\\nMood:"
            >>> asked = [template.format(review) for review in ("A waste of time.", "A joy to watch.")]
            >>> score_choices(model, tokenizer, asked, [" good", " bad"]).argmax(1)
            tensor([0, 0])
            >>> free = [template.format(nothing) for nothing in ("N/A", "", "[MASK]")]
            >>> PostHocDebias().choose(model, tokenizer, asked, [" good", " bad"], free).argmax(1)
            tensor([1, 0])
        """
        tokens_of_choices(tokenizer, prompts, choices, **options)  # refuses before the content-free texts are read
        free = for_each_prompt(content_free, len(prompts))
        if not all(free) or len(free) != len(prompts) or isinstance(content_free, str):
            raise ValueError("content_free must be a list of at least one text, or such a list for every prompt")
        place: dict[Any, int] = {}  # each different text is read once
        rows = [
            [place.setdefault((text, tuple(labels)), len(place)) for text in texts]
            for texts, labels in zip(free, for_each_prompt(choices, len(prompts)), strict=True)
        ]
        texts, labels = [text for text, _ in place], [list(labels) for _, labels in place]
        shared = {name: option for name, option in options.items() if not isinstance(option, list)}
        p_cf = score_choices(model, tokenizer, texts, labels, **shared).exp()
        prior = torch.stack([content_free_prior(p_cf[own]) for own in rows])
        return self(score_choices(model, tokenizer, prompts, choices, **options).exp(), prior)


def content_free_prior(distributions: Tensor) -> Tensor:
    """The prior p_cf from M content-free inputs: the arithmetic mean of their distributions, renormalised.

    This is as in Zhao et al. 2021, sec. 5, and LLaVA-Align's "none_unk". (Its VDD "both" averages logits instead.)

    Args:
        distributions: (M, C) or (M, P, C), over C labels.

    Returns:
        (C,) or (P, C) float64 on the CPU.

    Raises:
        ValueError: an entry is below 0, a row does not sum to 1 within 1e-3, or there are no rows.

    Example:
        >>> content_free_prior(torch.tensor([[0.75, 0.25], [0.25, 0.75], [0.875, 0.125]]))
        tensor([0.6250, 0.3750], dtype=torch.float64)
    """
    distributions = as_distributions(distributions, "the prior")
    if distributions.dim() < 2 or not len(distributions):
        raise ValueError(f"distributions must be (M, C) or (M, P, C), M at least 1, not {tuple(distributions.shape)}")
    mean = distributions.mean(0)
    return mean / mean.sum(-1, keepdim=True)


def as_distributions(p: Tensor, name: str) -> Tensor:
    """Convert `p` to float64 on the CPU. ValueError if its rows are not distributions."""
    p = torch.as_tensor(p, dtype=torch.float64, device="cpu")
    if not ((p >= 0).all() and ((p.sum(-1) - 1).abs() <= 1e-3).all()):
        raise ValueError(f"{name} must hold distributions: entries of at least 0 that sum to 1, within 1e-3")
    return p


def for_each_prompt(entries: Any, prompts: int) -> list[Any]:
    """A list of entries for every prompt: a list of lists is returned as it is, anything else serves all."""
    return list(entries) if entries and all(isinstance(entry, list) for entry in entries) else [entries] * prompts


def tokens_of_choices(
    tokenizer: Any, prompts: Sequence[str], choices: Any, *, length: str = "sum", batch_size: int = 1, **inputs: Any
) -> list[list[list[tuple[int, ...]]]]:
    """The tokens of each variant of each choice of each prompt. ValueError for what `score_choices` refuses."""
    refuse_options(prompts, length, batch_size, inputs)
    rows = for_each_prompt(choices, len(prompts))
    refuse_choices(choices, rows, len(prompts))
    words: Any = tokenizer.tokenizer if isinstance(tokenizer, ProcessorMixin) else tokenizer
    special = inputs.get("add_special_tokens", True)
    for prompt, ids in zip(prompts, words(list(prompts), add_special_tokens=special)["input_ids"], strict=True):
        if not ids:
            raise ValueError(f"the prompt {prompt!r} has no tokens: give it one, such as the beginning of sequence")

    @cache
    def tokens(text: str) -> tuple[int, ...]:
        if not (ids := words(text, add_special_tokens=False)["input_ids"]):
            raise ValueError(f"the choice {text!r} has no tokens")
        return tuple(ids)

    variants = [[choice if isinstance(choice, tuple) else (choice,) for choice in row] for row in rows]
    return [[list(dict.fromkeys(map(tokens, choice))) for choice in row] for row in variants]


def refuse_options(prompts: Any, length: str, batch_size: int, inputs: dict[str, Any]) -> None:
    """Raise ValueError for prompts and options that `score_choices` cannot serve."""
    if length not in ("sum", "mean"):
        raise ValueError(f'length must be "sum" or "mean", not {length!r}')
    require_count("batch_size", batch_size)
    if not prompts or isinstance(prompts, str) or not all(isinstance(prompt, str) for prompt in prompts):
        raise ValueError("prompts must be a list of at least one text")
    for name, entry in inputs.items():
        if isinstance(entry, list) and len(entry) != len(prompts):
            raise ValueError(f"{name} has {len(entry)} entries for {len(prompts)} prompts: give one each")


def refuse_choices(choices: Any, rows: Sequence[Any], prompts: int) -> None:
    """Raise ValueError unless every prompt has the same number of choices, each a text or a tuple of texts.

    Args:
        choices: the choices as given.
        rows: the choices as a list for each prompt.
        prompts: the number of prompts.
    """
    if isinstance(choices, str) or len(rows) != prompts or not rows[0] or len({len(row) for row in rows}) > 1:
        raise ValueError("choices must be a list of at least one, or such a list for every prompt, all of one length")
    for choice in chain(*rows):
        texts = choice if isinstance(choice, tuple) else (choice,)
        if not texts or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"a choice must be a text or a tuple of texts, not {choice!r}")


def read_prompts(model: PreTrainedModel, tokenizer: Any, prompts: list[str], inputs: dict[str, Any]) -> Context:
    """Make the context of a batch of prompts, with the inputs that a processor makes of `inputs`."""
    side = "right" if model.config.is_encoder_decoder else "left"
    encoded = tokenizer(text=prompts, return_tensors="pt", padding=True, padding_side=side, **inputs)
    ids, mask, content = encoded["input_ids"], encoded["attention_mask"], {}
    if isinstance(tokenizer, ProcessorMixin):  # no token_type_ids of a tokenizer, which `generate` does not take
        content = {name: value for name, value in encoded.items() if name not in ("input_ids", "attention_mask")}
    for name, value in content.items():
        if isinstance(value, Tensor):
            content[name] = value.to(model.device, model.dtype if value.is_floating_point() else value.dtype)
    return Context.of(model, ids, mask, **content)


def score_texts(context: Context, texts: list[tuple[int, ...]], rows: list[int]) -> Tensor:
    """The log p of N texts, (N,) float64, each after the prompt in its row of `context`. The context is used up."""
    lengths = torch.tensor([len(text) for text in texts])
    tokens = pad_sequence([torch.tensor(text) for text in texts], batch_first=True)
    scores = torch.zeros(len(texts), dtype=torch.float64)
    fed = tokens.new_empty(len(context.prompt), 0)
    going, row = torch.arange(len(texts)), torch.tensor(rows)  # the texts that go on, and their rows in the context
    for i in range(tokens.shape[1]):
        logits = context(fed)
        scores[going] += token_log_p(logits[row.to(logits.device)], tokens[going, i])
        longer = lengths[going] > i + 1
        going, row = going[longer], row[longer]
        if len(going):
            context.select(row)
            fed, row = tokens[going, : i + 1], torch.arange(len(going))
    return scores
