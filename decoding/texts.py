"""Token ids back to texts: a continuation as it reads behind its prompt."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor
from transformers import AutoTokenizer, PreTrainedModel


def tokenizer_of(model: PreTrainedModel) -> Any:
    """The tokenizer that lies where the model came from.

    Raises:
        ValueError: there is none, or the model came from nowhere.
    """
    place = model.config.name_or_path
    try:
        if not place:
            raise OSError("the model was not loaded from anywhere")
        return AutoTokenizer.from_pretrained(place)
    except (OSError, ValueError, ImportError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"a scorer reads texts: give the reranker tokenizer=... ({reason})") from error


def read_behind(tokenizer: Any, prompts: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]]) -> list[str]:
    """The text of each continuation behind its prompt, without special tokens.

    Both are decoded together: on its own, a continuation loses its first space where the tokenizer is SentencePiece's.
    A character of which the last token holds only a part is left out.
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
