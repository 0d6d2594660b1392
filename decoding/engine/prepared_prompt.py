"""Prompts as transformers prepares them for a model: before they are read, and to be read a second time."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, GenerationConfig

from .prompt_checks import refuse_tokens
from .row_reader import RowReader
from .transformers_api import CACHE_NAMES

# What transformers prepares for every call. Anything else in a call's inputs is content, such as an image.
BOOKKEEPING = {
    *CACHE_NAMES,
    *("attention_mask", "decoder_attention_mask", "position_ids", "use_cache", "logits_to_keep"),
    *("output_attentions", "output_hidden_states", "encoder_outputs", "synced_gpus"),
}
TEXT = BOOKKEEPING | {"input_ids", "inputs_embeds", "decoder_input_ids"}  # what says which tokens there are


@dataclass(frozen=True)
class PreparedPrompt:
    """R prompts, ready to be read by a model.

    tokens: (R, T0) int64, left-padded.
    inputs: what transformers prepared for the model: `attention_mask`, the cache, `pixel_values` and the like.
    raw: what was given beside the tokens; see `RowReader`.
    copies: how many rows each prompt is to have; they are made once it was read.
    """

    model: Any
    tokens: Tensor
    generation_config: GenerationConfig
    inputs: dict[str, Any]
    raw: dict[str, Any]
    copies: int = 1


def prepare_prompt(
    model: Any, tokens: Tensor, mask: Tensor | None = None, *, copies: int = 1, **content: Any
) -> PreparedPrompt:
    """Any prompts of any model, prepared by transformers' own `generate`.

    Args:
        tokens: (R, T0) int64, left-padded. mask: (R, T0), 0 for padding; None where nothing is padded.
        copies: see `PreparedPrompt`. content: further inputs of the model, such as `pixel_values`.
    """

    def take(
        _: Any,
        input_ids: Tensor,
        logits_processor: Any,
        stopping_criteria: Any,
        generation_config: GenerationConfig,
        **prepared: Any,
    ) -> PreparedPrompt:
        return PreparedPrompt(model, input_ids, generation_config, prepared, content, copies)

    tokens = tokens.to(model.device)
    mask = torch.ones_like(tokens) if mask is None else mask.to(model.device)
    config = GenerationConfig(max_new_tokens=1, num_beams=1, num_return_sequences=1, use_cache=True)
    return model.generate(tokens, attention_mask=mask, generation_config=config, custom_generate=take, **content)


def prepare_again(reader: RowReader, model: Any = None, **changes: Any) -> PreparedPrompt:
    """Prepare the prompts of `reader` once more, see `RowReader.again`."""
    content = reader.content
    if reader.model.config.is_encoder_decoder or "inputs_embeds" in content:
        raise ValueError(
            "the prompt cannot be read a second time (it is an encoder's, or came as inputs_embeds): "
            "use a guide that is given its other prompt, or a decoder-only model with input_ids"
        )
    prompt = reader.prompt
    mask = reader.mask[:, : prompt.shape[1]]
    if model in (None, reader.model) and not changes:
        return prepare_prompt(reader.model, prompt, mask, **content)
    if content and reader.raw is None:
        raise ValueError("the images of this prompt came encoded: call decoding.generate, which still has them")
    copies = reader.generation_config.num_return_sequences or 1 if content else 1
    prompt, mask, content = prompt[::copies], mask[::copies], {**(reader.raw or {}), **changes}
    model = reader.model if model is None else model
    if not content:  # images may have ids outside the vocabulary
        refuse_tokens(model, prompt, f"the prompt of {model.config.name_or_path or type(model).__name__}")
    return prepare_prompt(model, prompt, mask, copies=copies, **content)


def content_of(inputs: dict[str, Any]) -> dict[str, Any]:
    """What of a model's prepared `inputs` is neither text nor transformers' bookkeeping."""
    return {name: value for name, value in inputs.items() if name not in BOOKKEEPING and value is not None}


def is_text_alone(model: Any, mask: Tensor, inputs: dict[str, Any]) -> bool:
    """Whether tokens and left padding, a (R, T0) `mask`, say all that a model is to be told of prompts.

    That is so if there is no other content, no mask or positions of another kind, and no cache of another kind.
    """
    if content_of(inputs) or model.config.is_encoder_decoder or mask.dim() != 2 or not inputs.get("use_cache"):
        return False
    caches = [inputs[name] for name in CACHE_NAMES if inputs.get(name) is not None]
    if any(type(cache) is not DynamicCache for cache in caches):
        return False
    position = inputs.get("position_ids")
    if position is None:
        return True
    usual = (mask.cumsum(-1) - 1).clamp(min=0)
    return position.shape == usual.shape and bool(((position == usual) | (mask == 0)).all())
