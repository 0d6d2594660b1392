"""What scorers over models share: models in evaluation mode, texts as tokens, rows of like length in batches."""

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoTokenizer

Item = TypeVar("Item", bound=Hashable)
Row = dict[str, list[int]]  # input_ids, and whatever else the tokenizer gives a token

UNREAD = ("pooler.",)  # weights of encoders that no scorer reads


def distinct(items: Sequence[Item]) -> tuple[list[Item], list[int]]:
    """The different items in order, and where each item stands among them.

    Example:
        >>> distinct(["b", "a", "b"])
        (['b', 'a'], [0, 1, 0])
    """
    places = {item: i for i, item in enumerate(dict.fromkeys(items))}
    return list(places), [places[item] for item in items]


def batches(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """The places of rows, `size` at a time, the longest first: little padding, and memory runs out at once or never.

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
    """The tokens of each text, of which no more than `length` are left.

    Args:
        tokenizer: any of transformers'. texts: N texts.
        length: at least 1; None: all of them. keep: which end of a text stays where it is longer. Special tokens stay.
        spans: (start, end) of each text, in characters: only tokens within may go; None: any.
        options: of the tokenizer, such as `text_pair` or `add_special_tokens`.

    Raises:
        ValueError: what must stay is longer than `length`.
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
    """(B, T) int64 of each entry, and the attention mask; `value` fills up the ids, and 0 the rest."""
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
    """No dropout and no gradients; afterwards every module is in the mode it was in."""
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
    """In float32, or wider where it is."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def context_length(model: Any, tokenizer: Any) -> int | None:
    """How many tokens a model reads, as far as it or its tokenizer says."""
    config = model.config.get_text_config()
    limits = [getattr(config, "max_position_embeddings", None), getattr(tokenizer, "model_max_length", None)]
    return min((limit for limit in limits if limit and 0 < limit < 10**9), default=None)


def load_model(kind: Any, source: str | Path, *, device: Any = None, dtype: Any = None, exact: bool = False) -> Any:
    """The weights of a hub id or folder in evaluation mode: safetensors, or a .bin read as tensors alone.

    Args:
        kind: a class of transformers with `from_pretrained`.
        device: None: the accelerator if there is one, else the CPU. dtype: None: the checkpoint's.
        exact: refuse weights that this kind of model has no place for.

    Raises:
        ValueError: there is no such model, or it lacks weights of this kind, which would be random.
    """
    refuse_lost_folder(source)
    if device is None:
        device = torch.accelerator.current_accelerator(check_available=True) or "cpu"
    refuse_lost_device(device)
    options = {"dtype": dtype or "auto", "device_map": device, "ignore_mismatched_sizes": True}  # refused below
    try:
        model, info = kind.from_pretrained(str(source), output_loading_info=True, **options)
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"cannot load {str(source)!r}: {first_line(error)}") from error
    faults = {
        "are missing": [key for key in info["missing_keys"] if exact or not key.startswith(UNREAD)],
        "have other shapes than config.json says": [key for key, *_ in info["mismatched_keys"]],
        "have no place in it": info["unexpected_keys"] if exact else [],
    }
    for fault, keys in faults.items():
        if keys:
            raise ValueError(
                f"{str(source)!r} is no {kind.__name__}: weights {fault}, {len(keys)}, such as {min(keys)}"
            )
    return model.eval()


def load_tokenizer(source: str | Path | Any) -> Any:
    """The tokenizer of a hub id or folder; anything else is taken for one.

    Raises:
        ValueError: there is none.
    """
    if not isinstance(source, (str, Path)):
        return source
    refuse_lost_folder(source)
    try:
        return AutoTokenizer.from_pretrained(str(source))
    except (OSError, ValueError) as error:
        raise ValueError(f"no tokenizer in {str(source)!r}: {first_line(error)}") from error


def refuse_lost_folder(source: str | Path) -> None:
    """ValueError for what can only be a folder and is none, before a hub is asked for it."""
    if (isinstance(source, Path) or source.startswith((".", "/", "~"))) and not Path(source).is_dir():
        raise ValueError(f"no model {str(source)!r}: there is no such folder")


def refuse_lost_device(device: Any) -> None:
    """ValueError for a device that this machine or this torch has not, before weights are read."""
    try:
        torch.empty(0, device=None if device == "auto" else device)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was compiled with CUDA
        raise ValueError(f"no device {str(device)!r}: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    """What an error says before it goes into detail."""
    return str(error).strip().partition("\n")[0]
