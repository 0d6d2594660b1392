"""Second prompts that a guide reads, and readings: the prompt with its evidence left out.

A reading is called with the main context, before that has read anything, and returns a context with the same rows. Any
function that does this is a reading.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from ..engine.context import Context
from ..engine.prompt_checks import refuse_tokens

# the names in configurations for the tokens that stand for an image in a prompt, and for those around it
PLACES = ("image_token_id", "image_token_index", "video_token_id")
BORDERS = ("vision_start_token_id", "vision_end_token_id", "boi_token_id", "eoi_token_id")


@dataclass(frozen=True, eq=False)
class Prompt:
    """A second prompt.

    Args:
        prompt: the prompt in one of these forms:

            - (P, T) int64 token ids, as a tensor, a pair of tensors (ids, mask), or lists of any lengths;
            - one text or several, with `tokenizer`;
            - what a tokenizer returns.

            One prompt serves all rows; P prompts serve `num_return_sequences` rows each.
        mask: (P, T), 0 for padding, on either side; None: nothing is padded.
        tokenizer: needed for texts.
        model: the model that reads it; None: the model being decoded.

    Raises:
        ValueError: there are texts and no tokenizer, or a prompt has no tokens. When called: the number of prompts does
            not fit the rows, a prompt is longer than the model allows, or it has a token that the model does not know.

    Example:
        >>> from decoding.guides.second_prompts import Prompt
        >>> Prompt([[5, 6, 7], [8]]).rows
        [[5, 6, 7], [8]]
    """

    prompt: Any
    mask: Any = None
    tokenizer: Any = None
    model: Any = None

    def __post_init__(self) -> None:
        if not self.rows or not all(self.rows):
            raise ValueError("a second prompt has no tokens: give at least one, such as the beginning of sequence")

    @property
    def rows(self) -> list[list[int]]:
        """The token ids of each prompt, without padding."""
        prompt, mask = self.prompt, self.mask
        if isinstance(prompt, str) or (isinstance(prompt, Sequence) and any(isinstance(text, str) for text in prompt)):
            if self.tokenizer is None:
                raise ValueError("a second prompt as text needs the tokenizer: pass tokenizer=")
            prompt = self.tokenizer([prompt] if isinstance(prompt, str) else list(prompt))["input_ids"]
        elif isinstance(prompt, Mapping):
            prompt, mask = prompt["input_ids"], prompt.get("attention_mask")
        elif isinstance(prompt, tuple) and all(isinstance(part, Tensor) and part.dim() == 2 for part in prompt):
            prompt, mask = prompt
        rows = [row.tolist() if isinstance(row, Tensor) else row for row in prompt]
        rows = [rows] if rows and isinstance(rows[0], int) else rows
        if mask is None:
            return rows
        kept = torch.as_tensor(mask).reshape(len(rows), -1).tolist()
        return [[t for t, keep in zip(row, keeps, strict=True) if keep] for row, keeps in zip(rows, kept, strict=True)]

    def __call__(self, main: Context) -> Context:
        """The context of these prompts, for the rows of `main`."""
        return read_rows(self.rows, main, self.model)


@dataclass(frozen=True, eq=False)
class Span:
    """The prompt without the characters from `start` up to `end`, read anew from its text.

    Args:
        start: the first character left out, counted as in a slice: from 0, or from the end if negative.
        end: the first character after those left out, counted likewise; None: the end of the text.
        tokenizer: the tokenizer of the prompt.

    Raises:
        ValueError: when called: the span is empty or covers the whole text, or the tokenizer does not give the prompt's
            tokens back from its text.
    """

    start: int
    end: int | None
    tokenizer: Any

    def __call__(self, main: Context) -> Context:
        """The context that reads the prompt without the span, for the rows of `main`."""
        return read_texts(main, self.tokenizer, self.cut)

    def cut(self, text: str) -> str:
        """The text without the span."""
        start, end, _ = slice(self.start, self.end).indices(len(text))
        return text[:start] + text[end:] if start < end else text


@dataclass(frozen=True, eq=False)
class Between:
    """The prompt without everything from each `left` to the next `right`, and without these markers.

    Args:
        left: the text that stands before the evidence in the prompt.
        right: the text that stands after it.
        tokenizer: the tokenizer of the prompt.

    Raises:
        ValueError: when called: there are no markers or nothing else, or the tokenizer does not give the prompt's
            tokens back from its text.

    Example:
        >>> from decoding.guides.second_prompts import Between
        >>> Between("<doc>", "</doc>", None).cut("<doc>It rained.</doc>What fell?")
        'What fell?'
    """

    left: str
    right: str
    tokenizer: Any

    def __call__(self, main: Context) -> Context:
        """The context that reads the prompt without the marked text, for the rows of `main`."""
        return read_texts(main, self.tokenizer, self.cut)

    def cut(self, text: str) -> str:
        """The text without what stands between the markers, and without these."""
        before, left, rest = text.partition(self.left)
        _, right, after = rest.partition(self.right)
        return before + self.cut(after) if left and right else text


@dataclass(frozen=True)
class NoImage:
    """The prompt without its images. The tokens that stand for them, and those around these, are left out."""

    def __call__(self, main: Context) -> Context:
        """The context that reads the prompt without images, for the rows of `main`."""
        left_out = image_tokens(main.model.config, PLACES + BORDERS)
        return read_rows([[token for token in row if token not in left_out] for row in rows_of(main)], main)


@dataclass(frozen=True)
class UnknownImage:
    """The prompt with one unknown token in the place of each image: LLaVA-Align's `unk`.

    Args:
        token: the id of the unknown token; 0 in Llama's vocabulary.
    """

    token: int = 0

    def __call__(self, main: Context) -> Context:
        """The context that reads unknown tokens in place of images, for the rows of `main`."""
        places = image_tokens(main.model.config, PLACES)
        return read_rows([list(self.replace(row, places)) for row in rows_of(main)], main)

    def replace(self, row: list[int], places: set[int]) -> list[int]:
        """The row with each run of tokens in `places` replaced by one unknown token."""
        runs = [(is_image, list(run)) for is_image, run in groupby(row, places.__contains__)]
        return [token for is_image, run in runs for token in ([self.token] if is_image else run)]


@dataclass(frozen=True)
class NoisyImage:
    """The prompt with noise over its images: Visual Contrastive Decoding (Leng et al. 2023), q(x_t | x_0).

    x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) e, where e is standard normal, a_t = prod_{s <= t} (1 - b_s), and b_s is a
    sigmoid from 1e-5 to 5e-3 over 1,000 steps. x_0 is the image as the processor gives its pixel values.

    Args:
        step: t, 0 <= step < 1000; the paper's is 500.
        seed: seed of the noise, which is the same in every call.

    Raises:
        ValueError: step is out of range. When called: there is no image.
    """

    step: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.step < 1000:
            raise ValueError(f"step must lie in [0, 999], not {self.step}")

    def __call__(self, main: Context) -> Context:
        """The context that reads noisy images, for the rows of `main`."""
        raw = main.raw or {}
        noised = {name: self.add_to(value) for name, value in raw.items() if name.startswith("pixel_values")}
        if not noised:
            raise ValueError("no image to add noise to: call decoding.generate, or GuideProcessor, with pixel_values")
        return main.again(**noised)

    def add_to(self, pixels: Tensor) -> Tensor:
        """Add the noise to pixel values: x_0 -> x_t, of the same shape and dtype."""
        kept = self.kept()
        noise = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(self.seed), dtype=torch.float64)
        return (kept.sqrt() * pixels.double() + (1 - kept).sqrt() * noise.to(pixels.device)).to(pixels.dtype)

    def kept(self) -> Tensor:
        """The share a_t of the image, () float64."""
        b = torch.linspace(-6, 6, 1000, dtype=torch.float64).sigmoid() * (5e-3 - 1e-5) + 1e-5
        return (1 - b).cumprod(0)[self.step]


def rows_of(main: Context) -> list[list[int]]:
    """The token ids of the main prompts, without padding."""
    if main.model.config.is_encoder_decoder:
        raise ValueError("an encoder's prompt cannot be read a second time: give the prompt without its evidence")
    return [row[real.bool()].tolist() for row, real in zip(main.prompt, main.mask, strict=True)]


def read_rows(rows: list[list[int]], main: Context, model: Any = None) -> Context:
    """A context that reads `rows`, left-padded: one row for all main rows, or one for each of their prompts."""
    model = main.model if model is None else model
    wanted, copies = len(main.prompt), main.generation_config.num_return_sequences or 1
    if len(rows) not in (1, wanted, wanted // copies):
        raise ValueError(f"{len(rows)} second prompts do not fit {wanted // copies} prompts: give one, or as many")
    if not all(rows):
        raise ValueError("nothing is left of a prompt without its evidence: give the second prompt itself")
    rows = [row for row in rows for _ in range(wanted // len(rows))]
    width = max(map(len, rows))
    room = getattr(model.config.get_text_config(decoder=True), "max_position_embeddings", None) or width
    if width > room:
        raise ValueError(f"a second prompt of {width} tokens does not fit the model's {room}: shorten it")
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    refuse_tokens(model, ids, "a second prompt")
    return Context.of(model, ids, mask)


def read_texts(main: Context, tokenizer: Any, cut: Any) -> Context:
    """A context that reads the texts of the main prompts, shortened by `cut`."""
    rows = rows_of(main)
    texts = [tokenizer.decode(row, skip_special_tokens=False, clean_up_tokenization_spaces=False) for row in rows]
    if encode(tokenizer, texts) != rows:
        raise ValueError("the tokenizer does not give the prompt's tokens back from its text: give the second prompt")
    for text, shorter in zip(texts, map(cut, texts), strict=True):
        if text == shorter:
            raise ValueError(f"the prompt {text[:40]!r} has no evidence where it was said to be")
    return read_rows(encode(tokenizer, list(map(cut, texts))), main)


def encode(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """The token ids of each text, without special tokens."""
    return tokenizer(texts, add_special_tokens=False)["input_ids"]


def image_tokens(config: Any, names: Sequence[str]) -> set[int]:
    """The token ids that a model's configuration has under these names."""
    found = {token for name in names if (token := getattr(config, name, None)) is not None}
    if not found:
        raise ValueError(f"{config.model_type} says of no token that it stands for an image: give the second prompt")
    return found


def as_reading(prompt: Any, mask: Any, tokenizer: Any) -> Callable[[Context], Context]:
    """A reading from `prompt`: a function is returned as it is, anything else becomes a second prompt."""
    return prompt if callable(prompt) else Prompt(prompt, mask, tokenizer)


def last_token(main: Context, model: Any = None) -> Context:
    """The context that reads only the last token of each prompt."""
    return read_rows([row[-1:] for row in rows_of(main)], main, model)
