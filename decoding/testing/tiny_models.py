"""Tiny random models, the same in any transformers version: weights depend on parameter names and a seed alone."""

import string
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    Lfm2Config,
    Lfm2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

VOCABULARY, PAD, BOS, EOS = 61, 0, 1, 2


def seeded(model: PreTrainedModel, seed: int = 0, std: float = 0.3) -> PreTrainedModel:
    """Overwrite every matrix of `model` with noise drawn from its own name; float64, evaluation mode.

    The deviation is far above a usual initialisation, so that the distributions are peaked and differ between contexts.
    """
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}/{name}".encode()))
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * std
            parameter.data = noise.to(parameter.dtype)
    return model.double().eval()


def gpt2(seed: int = 0) -> PreTrainedModel:
    """Learned absolute positions, tied embeddings, no grouped queries."""
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=128,
        n_embd=32,
        n_layer=2,
        n_head=2,
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=PAD,
    )
    return seeded(GPT2LMHeadModel(config), seed)


def llama(seed: int = 0) -> PreTrainedModel:
    """Rotary positions, two query heads on one key head."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=128,
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=PAD,
    )
    return seeded(LlamaForCausalLM(config), seed)


def lfm2(seed: int = 0) -> PreTrainedModel:
    """A layer of attention and one of convolutions, whose state rows cannot share: every fork copies it."""
    config = Lfm2Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        layer_types=["conv", "full_attention"],
        max_position_embeddings=128,
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=PAD,
    )
    return seeded(Lfm2ForCausalLM(config), seed)


@dataclass(frozen=True)
class Family:
    """A kind of model that the checks run.

    Attributes:
        name: for messages.
        make: gives the model; takes a seed.
        shares: whether its rows can share the past that they have in common.
    """

    name: str
    make: Callable[..., Any]
    shares: bool = True


FAMILIES = (Family("gpt2", gpt2), Family("llama", llama), Family("lfm2", lfm2, shares=False))


def batch(prompts: list[list[int]]) -> dict[str, Tensor]:
    """Left-padded `input_ids` and `attention_mask`, (P, T) int64 each.

    Example:
        >>> batch([[5, 6, 7], [8]])["input_ids"]
        tensor([[5, 6, 7],
                [0, 0, 8]])
    """
    width = max(map(len, prompts))
    ids = [[PAD] * (width - len(prompt)) + prompt for prompt in prompts]
    mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}


def tokenizer() -> PreTrainedTokenizerFast:
    """Three special tokens, then a token for every letter, the space and five marks; pads on the left.

    Example:
        >>> tokenizer()("a b")["input_ids"]
        [3, 55, 4]
    """
    tokens = ["<pad>", "<bos>", "<eos>", *string.ascii_letters, *"\u0120.,!?'"]
    core = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>"}
    return PreTrainedTokenizerFast(tokenizer_object=core, padding_side="left", **special)
