"""Decoding of token ids to text: continuations after their prompts, and single tokens."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel
from transformers.convert_slow_tokenizer import bytes_to_unicode

from scorers._common.loading import first_line, load_tokenizer

SPACE = "\N{LOWER ONE EIGHTH BLOCK}"  # stands for a space in SentencePiece
BYTES = {character: byte for byte, character in bytes_to_unicode().items()}  # of byte-level BPE


def tokenizer_of(model: PreTrainedModel) -> Any:
    """The tokenizer saved with the model, in the place from which the model was loaded.

    Raises:
        ValueError: there is none, or the model was not loaded from anywhere.
    """
    place = model.config.name_or_path
    try:
        if not place:
            raise OSError("the model was not loaded from anywhere")
        return load_tokenizer(place)
    except (OSError, ValueError, ImportError) as error:
        raise ValueError(f"a scorer reads texts: give the reranker tokenizer=... ({first_line(error)})") from error


def read_behind(tokenizer: Any, prompts: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]]) -> list[str]:
    """The text of each continuation after its prompt, without special tokens.

    The two are decoded together, since SentencePiece tokenizers drop the first space of a continuation on its own. A
    character that is incomplete at the end is left out.
    """
    decode, part = partial(tokenizer.batch_decode, skip_special_tokens=True), "\N{REPLACEMENT CHARACTER}"
    heads = [head.rstrip(part) for head in decode([list(prompt) for prompt in prompts])]
    wholes = decode([[*prompt, *new] for prompt, new in zip(prompts, continuations, strict=True)])
    alone = decode([list(new) for new in continuations])
    rows = zip(heads, wholes, alone, strict=True)
    return [(whole[len(head) :] if whole.startswith(head) else new).rstrip(part) for head, whole, new in rows]


def without_padding(tokens: Tensor, mask: Tensor) -> list[list[int]]:
    """(P, T) int64 ids and their (P, T) mask -> the ids of each row that are not padding."""
    return [row[real.bool()].tolist() for row, real in zip(tokens, mask.to(tokens.device), strict=True)]


class Pieces:
    """The texts of single tokens. Without a tokenizer, a token is shown as its number, such as "#5"."""

    def __init__(self, tokenizer: Any = None) -> None:
        self.tokenizer = tokenizer
        self.special = set(tokenizer.all_special_ids) if tokenizer is not None else set()
        self.known: dict[int, str] = {}

    def __getitem__(self, token: int) -> str:
        """The text of a token on its own: with its space, by name if special, as bytes if part of a character."""
        if token not in self.known:
            self.known[token] = self._look(token)
        return self.known[token]

    def behind(self, contexts: Sequence[Sequence[int]], tokens: Sequence[int]) -> list[str]:
        """The text that each token adds after its context. Special tokens and parts of a character add nothing.

        The token that completes a character adds it. A few tokens of context are enough.
        """
        if self.tokenizer is None or not tokens:
            return ["" for _ in tokens]
        return read_behind(self.tokenizer, contexts, [[token] for token in tokens])

    def _look(self, token: int) -> str:
        raw = None if self.tokenizer is None else self.tokenizer.convert_ids_to_tokens(token)
        if not raw:
            return f"#{token}"
        if isinstance(raw, bytes):
            return raw.decode("utf-8", "backslashreplace")
        if token in self.special:
            return raw
        text = self.tokenizer.decode([token])
        if raw.startswith(SPACE):
            return raw.replace(SPACE, " ")
        if text and "\N{REPLACEMENT CHARACTER}" not in text:
            return text
        if all(character in BYTES for character in raw):
            return bytes(BYTES[character] for character in raw).decode("utf-8", "backslashreplace")
        return raw
