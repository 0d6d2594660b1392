"""The private names of transformers that are used. They stand here, and nowhere else in the three packages.

None of these names is promised to stay. Each was looked up in the sources of transformers 5.20.0, 5.23.0 and 5.24.0,
and stands in all three. A test holds the packages to this file, and this file's names to ARCHITECTURE.md.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from transformers import GenerationConfig
from transformers.generation.utils import ALL_CACHE_NAMES, MULTIMODAL_INPUTS_TO_DROP_OUTSIDE_PREFILL

# The names under which model families give and take their caches. Seen in 5.20 to 5.24, with these contents:
# "cache" for all of transformers' own caches since 5.24; before, "past_key_values", and "cache_params" in Mamba;
# and "state", "mems" and "past_buckets_states" for what RWKV, XLNet and Reformer have instead.
CACHE_NAMES: tuple[str, ...] = tuple(ALL_CACHE_NAMES)

# Which of them is that of keys and values: "cache" since 5.24, "past_key_values" before.
DEFAULT_CACHE_NAME = CACHE_NAMES[0]

# The names under which a caller may give a cache to `generate`: since 5.24 it takes the old ones too, and warns.
GIVEN_CACHE_NAMES = frozenset({*CACHE_NAMES, "past_key_values", "cache_params"})

# The inputs that are content of the prompt alone, and are not fed after it. Seen in 5.20 to 5.24.
PROMPT_ALONE = frozenset(MULTIMODAL_INPUTS_TO_DROP_OUTSIDE_PREFILL)


def read_prompt(model: Any, tokens: Tensor, generation_config: GenerationConfig, inputs: dict[str, Any]) -> Any:
    """The outputs of a model that reads (R, T0) prompts, in chunks if the configuration says so.

    `_prefill`: slices, positions and chunks of the first forward. Seen in 5.20 to 5.24.
    """
    return model._prefill(tokens, generation_config, inputs)


def inputs_after(model: Any, out: Any, inputs: dict[str, Any], new: int) -> dict[str, Any]:
    """The inputs of the next forward, which feeds `new` tokens: with the cache of the last one's outputs `out`.

    `_update_model_kwargs_for_generation`: lengthens masks and positions, in `inputs` too. Seen in 5.20 to 5.24.
    """
    encodes = model.config.is_encoder_decoder
    return model._update_model_kwargs_for_generation(out, inputs, is_encoder_decoder=encodes, num_new_tokens=new)


def pad_token_of(generation_config: GenerationConfig) -> Tensor | None:
    """() int64, what finished rows are padded with in this call; None where there is no such token.

    `_pad_token_tensor`: is set when `generate` has prepared the configuration of a call. Seen in 5.20 to 5.24.
    """
    return generation_config._pad_token_tensor


def is_prepared(generation_config: Any) -> bool:
    """Whether `generate` has prepared this configuration: then it is transformers that calls.

    `_pad_token_tensor`: as above. Seen in 5.20 to 5.24.
    """
    return hasattr(generation_config, "_pad_token_tensor")


def holds_cache_of_caller(inputs: Mapping[str, Any]) -> bool:
    """Whether a model's prepared `inputs` hold a cache that the caller gave, and may look at afterwards.

    `_is_user_defined`: `generate` marks such caches with it. Seen in 5.20 to 5.24.
    """
    return any(getattr(inputs.get(name), "_is_user_defined", False) for name in CACHE_NAMES)


def attention_of(config: Any) -> str | None:
    """The implementation of attention that a model with this configuration runs: "eager", "sdpa" or another.

    `_attn_implementation`: the chosen one; there is no public way to ask. Seen in 5.20 to 5.24.
    """
    return config._attn_implementation
