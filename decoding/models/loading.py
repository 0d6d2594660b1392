"""Load models and tokenizers, ready for batched generation."""

from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from scorers._common import loading

from . import packing
from .default_model import default_model


def load(
    name: str | Path | None = None,
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | str | None = None,
    pack: bool = False,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a model in evaluation mode and its tokenizer, ready for batches of prompts.

    The tokenizer has a pad token and, for decoder-only models, left padding.

    Args:
        name: a hub id or a local folder; None: the embedded SmolLM2-135M-Instruct, which needs no network. Its first
            load takes some 20 s, while it is converted to the user's cache folder; later loads take a second or two.
        device: the device of the model. None: the accelerator if there is one, else the CPU. "auto": all devices.
        dtype: the dtype of the weights, such as torch.bfloat16 or "bfloat16". None: float32 for the embedded model, and
            the dtype of the checkpoint for other models.
        pack: lay out the weights for faster decoding on the CPU, see `pack`; `device` is then "cpu".

    Returns:
        (model, tokenizer).

    Raises:
        ModuleNotFoundError: the default model is not installed; the message has the command that installs it.
        ValueError: there is no such model, it does not generate text, or it cannot be packed.

    Example:
        >>> import decoding
        >>> model, tokenizer = decoding.load()
        >>> model.config.model_type, tokenizer.padding_side
        ('llama', 'left')
    """
    if pack:  # before the weights are read
        device = "cpu" if device in (None, "auto") else device
        wanted = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
        packing.refuse_unsupported(device, wanted or torch.float32)
    source = locate(name)
    config = load_config(source)
    model, tokenizer = load_model(source, config, device=device, dtype=dtype), load_tokenizer(source, config)
    return packing.pack(model) if pack else model, tokenizer


def locate(name: str | Path | None) -> str:
    """The name that transformers loads: the folder of the embedded model for None, else `name` itself."""
    return str(default_model() if name is None else name)


def load_config(source: str) -> PreTrainedConfig:
    """Load the model's configuration. This is cheap, and enough to refuse a call that cannot work."""
    return loading.load_config(source)


def load_tokenizer(source: str, config: PreTrainedConfig) -> PreTrainedTokenizerBase:
    """Load the tokenizer, with a pad token and, for decoder-only models, left padding."""
    tokenizer = loading.load_tokenizer(source)
    if tokenizer.pad_token is None:  # any token serves, since the mask hides it
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token or tokenizer.bos_token
    if not config.is_encoder_decoder:
        tokenizer.padding_side = "left"
    return tokenizer


def load_model(
    source: str,
    config: PreTrainedConfig,
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | str | None = None,
) -> PreTrainedModel:
    """Load the model in evaluation mode on its device; see `load`."""
    kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    model = loading.load_model(kind, source, device=device, dtype=dtype, whole=False)
    if model.generation_config.pad_token_id is None:
        end = model.generation_config.eos_token_id
        model.generation_config.pad_token_id = end[0] if isinstance(end, list) else end
    return model
