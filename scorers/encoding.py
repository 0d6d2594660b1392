"""What all scorers with a model share: evaluation mode, tokenisation, and batches of rows of similar length."""

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

Item = TypeVar("Item", bound=Hashable)
Row = dict[str, list[int]]  # input_ids, and the other lists that the tokenizer returns for a text


def distinct(items: Sequence[Item]) -> tuple[list[Item], list[int]]:
    """The different items in order of first appearance, and the place of each item among them.

    Example:
        >>> distinct(["b", "a", "b"])
        (['b', 'a'], [0, 1, 0])
    """
    places = {item: i for i, item in enumerate(dict.fromkeys(items))}
    return list(places), [places[item] for item in items]


def batches(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """The indices of rows in batches of `size`, longest rows first.

    Rows of similar length need little padding. With the longest first, memory runs out in the first batch or never.

    Example:
        >>> list(batches([3, 9, 5], 2))
        [[1, 2], [0]]
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    for start in range(0, len(order), size):
        yield order[start : start + size]


def tokenise(
    tokenizer: Any,
    texts: Sequence[str],
    length: int | None = None,
    keep: Literal["start", "end"] = "end",
    *,
    spans: Sequence[tuple[int, int]] | None = None,
    **options: Any,
) -> list[Row]:
    """The tokens of each text, cut to at most `length`. Special tokens are never cut.

    Args:
        tokenizer: any tokenizer of transformers.
        texts: N texts.
        length: the most tokens to keep, at least 1. None: no limit.
        keep: which end of a text is kept if the text is too long.
        spans: (start, end) of each text, in characters. Only tokens within the span may be cut. None: any token may.
        options: more arguments for the tokenizer, such as `text_pair` or `add_special_tokens`.

    Raises:
        ValueError: the tokens that must stay are more than `length`.
    """
    if not texts:
        return []
    asked = {"return_special_tokens_mask": True, "return_attention_mask": False, "verbose": False, **options}
    encoded = tokenizer(list(texts), return_offsets_mapping=spans is not None, **asked)
    special = encoded.pop("special_tokens_mask")
    offsets = encoded.pop("offset_mapping", None)
    rows: list[Row] = [dict(zip(encoded, entries, strict=True)) for entries in zip(*encoded.values(), strict=True)]
    for i, row in enumerate(rows):
        excess = 0 if length is None else len(row["input_ids"]) - length
        if excess <= 0:
            continue
        free = [j for j, fixed in enumerate(special[i]) if not fixed]
        if spans is not None:
            start, end = spans[i]
            free = [j for j in free if offsets[i][j][0] >= start and offsets[i][j][1] <= end]
        if excess > len(free):
            raise ValueError(f"{len(row['input_ids']) - len(free)} tokens must stay, and {length} are read: allow more")
        gone = set(free[:excess] if keep == "end" else free[len(free) - excess :])
        for name, values in row.items():
            row[name] = [value for j, value in enumerate(values) if j not in gone]
    return rows


def pad(rows: Sequence[Row], value: int, device: Any, side: Literal["left", "right"] = "right") -> dict[str, Tensor]:
    """Rows as one batch: (B, T) int64 of each entry, and the attention mask.

    Ids are padded with `value`, the rest with 0.
    """
    masked = [{**row, "attention_mask": [1] * len(row["input_ids"])} for row in rows]
    columns = {name: [torch.tensor(row[name], dtype=torch.long) for row in masked] for name in masked[0]}
    return {
        name: pad_sequence(
            column, batch_first=True, padding_value=value if name == "input_ids" else 0, padding_side=side
        ).to(device)
        for name, column in columns.items()
    }


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Switch off dropout and gradients for the length of a block. Afterwards every module is in its earlier mode."""
    training = [module for module in model.modules() if module.training]
    try:
        for module in training:
            module.training = False
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


def wide(values: Tensor) -> Tensor:
    """The values in float32, or in their own type if that is wider."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def context_length(model: Any, tokenizer: Any) -> int | None:
    """The number of tokens that a model can read, if its configuration or its tokenizer says it; else None."""
    config = model.config.get_text_config()
    limits = [getattr(config, "max_position_embeddings", None), getattr(tokenizer, "model_max_length", None)]
    return min((limit for limit in limits if limit and 0 < limit < 10**9), default=None)
