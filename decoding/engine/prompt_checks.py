"""Refuse prompts that a model cannot read, with one line, before the first forward pass."""

from collections.abc import Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
OFFSET = 8  # tables of positions may be this much longer than the window: OPT's begins at 2


def refuse_more_than_vocabulary(config: Any, name: str, candidates: int) -> None:
    """Raise ValueError for more candidates than a model of this configuration has tokens."""
    vocabulary = config.get_text_config(decoder=True).vocab_size
    if candidates > vocabulary:
        raise ValueError(f"{name}={candidates} is over the model's vocabulary of {vocabulary} tokens")


def refuse_shape(tokens: Any) -> None:
    """Raise where prompts are not (P, T) token ids, P and T at least 1: transformers fails late there, or hangs.

    Raises:
        TypeError: no tensor of whole numbers. ValueError: another shape.
    """
    if not isinstance(tokens, Tensor) or tokens.dtype not in (torch.int64, torch.int32):
        kind = f"a {tokens.dtype} tensor" if isinstance(tokens, Tensor) else f"a {type(tokens).__name__}"
        raise TypeError(
            f"prompts are an int64 tensor (P, T) of token ids, not {kind}: make them by "
            "tokenizer(texts, return_tensors='pt', padding=True)"
        )
    if tokens.dim() != 2:
        raise ValueError(f"prompts are a tensor (P, T) of token ids, not {tuple(tokens.shape)}: one row a prompt")
    if not tokens.shape[0]:
        raise ValueError("there are no prompts: the batch is empty")
    if not tokens.shape[1]:
        raise ValueError("the prompts have no tokens: give at least one, such as the beginning of sequence")


def refuse_mask(tokens: Tensor, mask: Any) -> None:
    """Raise ValueError for a mask of another shape than its prompts'; transformers drops one that is all ones."""
    if isinstance(mask, Tensor) and mask.dim() == 2 and mask.shape != tokens.shape:
        raise ValueError(
            f"the mask is {tuple(mask.shape)} and the prompts are {tuple(tokens.shape)}: they need the same shape"
        )


def refuse_tokens(model: Any, tokens: Tensor, name: str) -> None:
    """Raise ValueError for token ids that have no embedding in the model."""
    embedding = model.get_input_embeddings()
    if not isinstance(embedding, nn.Embedding):
        return
    least, most = int(tokens.min()), int(tokens.max())
    if least < 0 or most >= embedding.num_embeddings:
        wrong = least if least < 0 else most
        raise ValueError(f"{name} has the token {wrong}, and the model knows 0 to {embedding.num_embeddings - 1}")


def refuse_prompts(
    model: PreTrainedModel, tokens: Tensor, inputs: Mapping[str, Any], mask: Tensor | None, whole: bool = True
) -> None:
    """Raise ValueError for prompts whose ids or mask the model would misread or fail over.

    Args:
        tokens: (P, T) int64, as transformers hands them over. inputs: the rest that it prepared. mask: (P, T) or None.
        whole: whether nothing was read before them; else the mask may tell of that too, and be wider.
    """
    if inputs.get("inputs_embeds") is None:  # else the prompt is given as embeddings
        refuse_shape(tokens)
        seen = any(name.startswith(("pixel", "image", "input_features")) for name in inputs)
        if not seen:  # these have ids of their own
            refuse_tokens(model, tokens, "a prompt")
        if whole:
            refuse_mask(tokens, mask)
    if mask is None or mask.dim() != 2:
        return
    for row, (last, real) in enumerate(zip(mask[:, -1].tolist(), mask.any(-1).tolist(), strict=True)):
        if not real:
            raise ValueError(
                f"prompt {row} is padding alone: give it at least one token, such as the beginning of sequence"
            )
        if not last:
            raise ValueError(f"prompt {row} is padded on the right: set tokenizer.padding_side = 'left'")


def refuse_training(model: Any) -> None:
    """Raise ValueError for a model in training mode: with dropout, each forward pass is another model."""
    for module in model.modules():
        if not module.training:
            continue
        rates = {"p": module.p} if isinstance(module, DROPOUTS) else vars(module)
        if any(isinstance(rate, float) and rate > 0 for name, rate in rates.items() if name == "p" or "drop" in name):
            name = str(model.config.name_or_path or type(model).__name__)
            raise ValueError(f"{name} is in training mode, with dropout: call model.eval() first")


def refuse_overrun(model: Any, needed: int) -> None:
    """Raise ValueError if a model has a table of positions that is too short.

    Positions that are computed (rotary ones, ALiBi) do not run out; what a model makes of them is its own affair.
    """
    window = getattr(model.config.get_text_config(decoder=True), "max_position_embeddings", None) or 0
    if not 0 < window < needed:
        return
    for name, table in chain(model.named_parameters(), model.named_buffers()):
        named = "wpe" in name or "position" in name
        if named and table.dim() == 2 and window <= len(table) <= window + OFFSET:
            raise ValueError(
                f"the model has {window} positions, and prompt and new tokens take {needed}: "
                "shorten the prompt, or lower max_new_tokens"
            )
