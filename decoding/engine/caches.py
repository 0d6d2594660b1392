"""What `Context` does to caches and to a forward's outputs: gather rows, copy, and tell what a cache is able to."""

import copy
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, GenerationConfig, StaticCache
from transformers.cache_utils import BaseQuantizedLayer, DynamicLayer, DynamicSlidingWindowLayer
from transformers.utils import ModelOutput

from .transformers_api import DEFAULT_CACHE_NAME


def gather_rows(value: Any, rows: Tensor, batch: int) -> Any:
    """`value` at `rows`, where it is row-shaped (its first dimension is `batch`) or holds such things.

    A cache is changed in place, everything else is copied.
    """
    if isinstance(value, Cache):
        value.reorder_cache(rows)  # type: ignore[arg-type]
        return value
    if isinstance(value, Tensor):
        return value[rows.to(value.device)] if value.shape[:1] == (batch,) else value
    if isinstance(value, ModelOutput):
        return type(value)(**{name: gather_rows(entry, rows, batch) for name, entry in value.items()})
    if isinstance(value, dict):
        return {name: gather_rows(entry, rows, batch) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(gather_rows(entry, rows, batch) for entry in value)
    return value


def can_be_copied(cache: Any) -> bool:
    """Whether a cache is one whose tensors are never written into, only replaced by longer ones."""
    kinds = (DynamicLayer, DynamicSlidingWindowLayer)
    return type(cache) is DynamicCache and all(type(layer) in kinds for layer in cache.layers)


def copy_cache(cache: DynamicCache) -> DynamicCache:
    """Copy a cache, to continue it in another way. No tensor is written into, so the copy shares them all."""
    other = copy.copy(cache)
    other.layers = [copy.copy(layer) for layer in cache.layers]
    return other


def holds_tokens(cache: Cache) -> bool:
    """Whether something was read into a cache."""
    if all(cache.is_linear) and cache.layers:
        return cache.has_previous_state()
    return int(cache.get_seq_length()) > 0


def can_be_cropped(cache: Any) -> bool:
    """Whether the last token can be taken out of a cache again."""
    if not isinstance(cache, Cache) or not cache.is_croppable or any(cache.is_sliding):
        return False
    layers = getattr(cache, "self_attention_cache", cache).layers
    return not any(isinstance(layer, BaseQuantizedLayer) for layer in layers)  # which cannot be cropped


def shown_outputs(flags: dict[str, Any], is_encoder_decoder: bool) -> set[str]:
    """The names that a forward's outputs have for what `output_attentions` and `output_hidden_states` ask for."""
    names = {name for name in ("attentions", "hidden_states") if flags.get(f"output_{name}")}
    if not is_encoder_decoder:
        return names
    return {f"decoder_{name}" for name in names} | ({"cross_attentions"} if "attentions" in names else set())


def last_states(out: Any) -> Tensor:
    """The last layer's hidden states in a forward's outputs."""
    return out["decoder_hidden_states" if "decoder_hidden_states" in out else "hidden_states"][-1]


def find_distinct_rows(rows: Tensor) -> tuple[Tensor, Tensor] | None:
    """(R, c) -> the first of each run of equal rows (U,), and the run of each row (R,); None where no two are equal."""
    if len(rows) < 2:
        return None
    _, own, counts = torch.unique_consecutive(rows, return_inverse=True, return_counts=True, dim=0)
    return (counts.cumsum(0) - counts, own) if len(counts) < len(rows) else None


def refuse_lost_states(cache: Any, borrowed: bool, generation_config: GenerationConfig) -> None:
    """Raise ValueError where hidden states of the whole text are wanted, and some will not be there.

    Args:
        cache: that the prompt is to be read into, or None. borrowed: whether it is the caller's.
    """
    if borrowed and not can_be_cropped(cache):
        raise ValueError(
            f"a look-ahead could not be taken out of your {type(cache).__name__} again: leave {DEFAULT_CACHE_NAME} out"
        )
    if isinstance(cache, Cache) and holds_tokens(cache):
        raise ValueError(
            f"{DEFAULT_CACHE_NAME} already holds tokens, and their hidden states are gone: pass the whole prompt "
            f"without {DEFAULT_CACHE_NAME}, or use a picker that needs no states (Greedy, Sample)"
        )
    own = getattr(cache, "self_attention_cache", cache)
    room = own.get_max_length() if isinstance(own, StaticCache) else None
    if room is not None and room < (generation_config.max_length or 0):
        raise ValueError(
            f"the static cache has {room} places and no room for a look-ahead: "
            f"pass max_cache_len={generation_config.max_length}"
        )
    if generation_config.prefill_chunk_size is not None:
        raise ValueError("prefill_chunk_size drops hidden states that this picker needs: leave it out")


def refuse_unforkable(model: Any, caches: list[Any]) -> None:
    """Raise ValueError where a model's state is in no cache, or in none whose rows can be moved."""
    if not caches or not all(isinstance(cache, Cache) for cache in caches):
        raise ValueError(
            f"{type(model).__name__} keeps its state where rows cannot be forked or reordered: "
            "use Greedy or Sample without a reranker, or pass use_cache=False (slow)"
        )
