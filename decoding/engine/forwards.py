"""The two ways to feed tokens: each row with a cache row of its own, or rows that share their prefix."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from .caches import last_states
from .grouped_attention import shares_heads
from .lm_head import capture_last_hidden_states, no_logits
from .prefix_sharing import PrefixTree
from .row_state import RowState
from .transformers_api import CACHE_NAMES, DEFAULT_CACHE_NAME, attention_of, inputs_after

LOOK_AHEAD = 16  # slots beyond the longest text: room for the candidates after its last token


def forward_each_row(model: Any, state: RowState, tokens: Tensor, new: int, **flags: Any) -> Any:
    """The general way: the cache has a row for each row, and transformers' own functions say what is fed.

    Args:
        tokens: (R, T) int64, the present rows from their prompts on. new: how many of them are fed, the last ones.
        flags: further inputs of the model.

    Returns:
        the model's outputs, for `keep_outputs`.
    """
    state.gather()
    state.inputs = inputs_after(model, state.cache, state.inputs, new)
    length = new if state.inputs["use_cache"] else None
    inputs = model.prepare_inputs_for_generation(tokens, next_sequence_length=length, **state.inputs)
    return model(**{**inputs, **flags}, return_dict=True)


def keep_outputs(state: RowState, out: Any, shown: Iterable[str], device: torch.device) -> None:
    """Keep of a forward's outputs what is needed, so that the rest is freed.

    Args:
        shown: names of outputs that the caller asked to see. device: of the logits.
    """
    state.cache = type(out)(**{name: out[name] for name in CACHE_NAMES if name in out})
    state.take_cache_out_of_inputs()
    state.outputs = {name: out[name] for name in shown if name in out}
    state.logits = out.logits[:, -1].to(copy=True, dtype=torch.float32, device=device)
    state.batch = len(state.logits)


@torch.no_grad()
def forward_sharing(
    model: Any, state: RowState, tokens: Tensor, new: int, *, keep_states: bool, headless: bool
) -> Tensor | None:
    """The fast way: rows share the prefix that they have in common.

    Args:
        state: with a tree. tokens, new: as above.
        keep_states: whether the hidden states are given back.
        headless: whether logits are made later, of the last hidden states, for the rows that are left by then.

    Returns:
        the (R, new, D) hidden states, or None.
    """
    assert state.tree is not None
    state.gather()
    state.inputs = inputs_after(model, state.cache, state.inputs, new)
    state.take_cache_out_of_inputs()
    positions = state.inputs.get("position_ids")
    if positions is not None:
        positions = positions[:, -new:].to(model.device)
    inputs = state.tree.model_inputs(tokens[:, -new:].to(model.device), positions, model.dtype)
    inputs |= {"use_cache": True, "return_dict": True}
    state.batch, state.logits, state.last_hidden = len(tokens), None, None
    if headless:
        with capture_last_hidden_states(model) as captured:
            model(**inputs, logits_to_keep=no_logits(model.device))
        hidden = state.tree.per_row(captured[-1])
        state.last_hidden = hidden[:, -1]
        return hidden if keep_states else None
    out = model(**inputs, output_hidden_states=keep_states)
    state.logits = state.tree.per_row(out.logits)[:, -1].to(dtype=torch.float32, device=tokens.device)
    return state.tree.per_row(last_states(out)) if keep_states else None


def make_tree(model: Any, state: RowState, max_length: int | None) -> PrefixTree:
    """The cache of what was read, as a tree; the cache's layers are replaced.

    Args:
        max_length: of prompt and continuation, so that buffers need not grow much beyond it.
    """
    config, mask = model.config.get_text_config(decoder=True), state.inputs.get("attention_mask")
    return PrefixTree(
        state.cache[DEFAULT_CACHE_NAME],
        mask,
        limit=(max_length or 0) + LOOK_AHEAD,
        layer_types=getattr(config, "layer_types", None),
        grouped=attention_of(config) == "sdpa" and shares_heads(config),
    )
