"""Attention of several queries to keys that groups of heads share, without a copy of the keys for each head.

Where groups of query heads share their keys and values, transformers repeats those for every query head as soon as
there are two queries and a mask. Here the queries of a group stand below each other instead, and keys and values stay
as they are: the same numbers, with far less to copy in a long text.

Nothing is switched for that. The cache hands its keys and values to attention as `GroupedHeads`, an object of that
forward alone, so other forwards, of the same model and at the same time, do not know of it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

WITH_GROUPS = (slice(None), slice(None), None, slice(None), slice(None))  # the index that makes room for copies


class GroupedHeads:
    """Keys or values (B, H', n, D) for H query heads; stands for the tensor, whatever is done with it.

    To repeat them, transformers indexes with a new axis (B, H', 1, n, D), expands (B, H', H / H', n, D) and reshapes
    (B, H, n, D). These steps are noted here and not done; `shape` is what they would have given. Attention then goes
    without the repetition. Any other use gets the tensor that the steps would have made.

    Args:
        heads: (B, H', n, D). shape: after the steps so far.
    """

    __slots__ = ("heads", "shape")

    def __init__(self, heads: Tensor, shape: Sequence[int] | None = None) -> None:
        self.heads = heads
        self.shape = heads.shape if shape is None else tuple(shape)

    def tensor(self) -> Tensor:
        """The tensor that this stands for."""
        batch, heads, slots, width = self.heads.shape
        copies = self.shape[1] // heads if len(self.shape) == 4 else self.shape[2]
        return self.heads[WITH_GROUPS].expand(batch, heads, copies, slots, width).reshape(self.shape)

    def __getitem__(self, index: Any) -> Any:
        plain = isinstance(index, tuple) and all(each is None or isinstance(each, slice) for each in index)
        if plain and index == WITH_GROUPS and self.shape == self.heads.shape:
            batch, heads, slots, width = self.shape
            return GroupedHeads(self.heads, (batch, heads, 1, slots, width))
        return self.tensor()[index]

    def expand(self, *sizes: int) -> Any:
        """Expand as a tensor does. This is put off if it makes the copies of each head."""
        if len(self.shape) == len(sizes) == 5 and sizes[:2] + sizes[3:] == self.shape[:2] + self.shape[3:]:
            return GroupedHeads(self.heads, sizes)
        return self.tensor().expand(*sizes)

    def reshape(self, *sizes: int) -> Any:
        """Reshape as a tensor does. This is put off if it turns the copies into heads."""
        if len(self.shape) == 5:
            batch, heads, copies, slots, width = self.shape
            if sizes == (batch, heads * copies, slots, width):
                return GroupedHeads(self.heads, sizes)
        return self.tensor().reshape(*sizes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tensor(), name)

    @classmethod
    def __torch_function__(
        cls, function: Callable[..., Any], types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """What torch calls in the place of a function that was given one of these."""
        if function is F.scaled_dot_product_attention:
            return attend(*args, **(kwargs or {}))
        return function(*map(as_tensor, args), **{name: as_tensor(value) for name, value in (kwargs or {}).items()})


def attend(query: Any, key: Any, value: Any, attn_mask: Tensor | None = None, **options: Any) -> Tensor:
    """`scaled_dot_product_attention`: (B, H, q, D) queries, (B, H, n, D) keys and values -> (B, H, q, D).

    With repeated heads and a mask (B, 1, q, n), in groups; anything else as torch does it.
    """
    if not can_be_grouped(key, value, attn_mask, options):
        return F.scaled_dot_product_attention(as_tensor(query), as_tensor(key), as_tensor(value), attn_mask, **options)
    assert attn_mask is not None
    batch, heads, count, width = query.shape
    own = key.heads.shape[1]
    below = query.reshape(batch, own, heads // own * count, width)
    mask = attn_mask.repeat(1, 1, heads // own, 1)
    out = F.scaled_dot_product_attention(below, key.heads, value.heads, attn_mask=mask, scale=options.get("scale"))
    return out.reshape(batch, heads, count, -1)


def can_be_grouped(key: Any, value: Any, mask: Tensor | None, options: dict[str, Any]) -> bool:
    """Whether keys and values are repeated heads, and a mask of all heads is all that is asked for."""
    if not (isinstance(key, GroupedHeads) and isinstance(value, GroupedHeads)) or mask is None:
        return False
    repeated = len(key.shape) == 4 and key.shape[1] > key.heads.shape[1] and key.shape[:3] == value.shape[:3]
    return repeated and mask.dim() == 4 and mask.shape[1] == 1 and not options.keys() - {"scale"} - unset(options)


def unset(options: dict[str, Any]) -> set[str]:
    """The names of options that ask for nothing, such as a dropout of 0."""
    return {name for name, value in options.items() if not value}


def as_tensor(value: Any) -> Any:
    """The tensor that `GroupedHeads` stand for, alone or in a list; anything else as it is."""
    if isinstance(value, (list, tuple)):
        return type(value)(map(as_tensor, value))
    return value.tensor() if isinstance(value, GroupedHeads) else value


def shares_heads(config: Any) -> bool:
    """Whether groups of query heads share keys and values, by a model's text configuration."""
    own = getattr(config, "num_key_value_heads", None)
    return own is not None and own != config.num_attention_heads
