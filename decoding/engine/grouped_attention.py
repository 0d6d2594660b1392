"""Attention of several queries to keys that groups of heads share, without a copy of the keys for each head.

transformers repeats keys and values for every query head as soon as there are two queries and a mask. Here the queries
of a group stand below each other instead, and the keys stay where they are.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

NAME = "grouped_sdpa"


def attend_in_groups(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """What transformers calls: (B, H, q, D) queries, (B, H', n, D) keys -> (B, q, H, D).

    With a mask of (B, 1, q, n) and more heads than keys have, in groups; anything else as transformers does it.
    """
    groups = query.shape[1] // key.shape[1]
    if groups == 1 or attention_mask is None or attention_mask.shape[1] != 1 or unusual(kwargs):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    batch, heads, count, width = query.shape
    below = query.reshape(batch, heads // groups, groups * count, width)
    if (mask := getattr(attention_mask, "below", None)) is None:  # every layer is given the same mask
        mask = attention_mask.below = attention_mask.repeat(1, 1, groups, 1)  # type: ignore[attr-defined]
    out = F.scaled_dot_product_attention(below, key, value, attn_mask=mask, scale=kwargs.get("scaling"))
    return out.reshape(batch, heads, count, -1).transpose(1, 2).contiguous(), None


def unusual(kwargs: dict[str, Any]) -> bool:
    """Whether a model asks for more than a mask and a scale."""
    return bool(kwargs.get("dropout")) or any(kwargs.get(name) is not None for name in ("position_bias", "softcap"))


@contextmanager
def grouped(model: PreTrainedModel) -> Iterator[None]:
    """For a forward: grouped attention in the place of a model's "sdpa".

    It does the same as that, so it does no harm to a forward of the same model in another thread.
    """
    config: Any = model.config.get_text_config(decoder=True)
    if config._attn_implementation != "sdpa":
        yield
        return
    config._attn_implementation_internal = NAME
    try:
        yield
    finally:
        config._attn_implementation_internal = "sdpa"


AttentionInterface.register(NAME, attend_in_groups)
AttentionMaskInterface.register(NAME, sdpa_mask)
