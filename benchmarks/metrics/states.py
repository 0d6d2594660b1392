"""Hidden states of texts in any HuggingFace model, without padding: for feature vectors and isotropy."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from scorers._common.checks import require_count


class TextStates(NamedTuple):
    """The hidden states of one text.

    - `text` is the number of the text among those given.
    - `start` is the position of the first state. It is above 0 if a prefix was read and left out.
    - `states` are (L, T, D) in the model's dtype, on its device: L layers, T tokens.
    """

    text: int
    start: int
    states: Tensor


def read_states(
    model: PreTrainedModel,
    tokens: Sequence[Sequence[int]],
    *,
    starts: Sequence[int] | None = None,
    layers: Sequence[int] | str = (-1,),
    batch_size: int = 16,
) -> Iterator[TextStates]:
    """Yield the states of each text, longest text first, so that memory runs out at once or never.

    Layer 0 is the input embeddings. Layer -1 is the last: in GPT-2, Llama and similar models it is after the final
    norm, and it is what contrastive search reads. Texts of similar length share a forward pass. Padding is on the right
    and masked. No logits are computed. Of an encoder-decoder, the encoder is read.

    Args:
        model: a causal LM, an encoder, or either without its head.
        tokens: N lists of token ids, none empty.
        starts: (N,) the position of the first state to return for each text, such as the length of its prefix. None: 0.
        layers: which hidden states, as transformers numbers them, or "all".
        batch_size: texts in a forward pass.

    Raises:
        ValueError: a text has no tokens, is longer than the model's window, or is no longer than its start; the model
            has no such layer; or `batch_size` is below 1. All are raised before any forward pass.

    Example:
        >>> import decoding
        >>> model, tokenizer = decoding.load()
        >>> [(found.text, found.states.shape) for found in read_states(model, [[1, 2], [3, 4, 5]], layers=(0, -1))]
        [(1, torch.Size([2, 3, 576])), (0, torch.Size([2, 2, 576]))]
    """
    starts = [0] * len(tokens) if starts is None else starts
    check(model, tokens, starts, layers, batch_size)
    return read(model, tokens, starts, layers, batch_size)


def read(
    model: PreTrainedModel, tokens: Sequence[Sequence[int]], starts: Sequence[int], layers: Any, batch_size: int
) -> Iterator[TextStates]:
    """The work of `read_states`, after its arguments are checked. Nothing is held between two batches."""
    order = sorted(range(len(tokens)), key=lambda i: -len(tokens[i]))
    for first in range(0, len(order), batch_size):
        rows = order[first : first + batch_size]
        hidden = forward(model, [tokens[i] for i in rows], last=layers != "all" and set(layers) == {-1})
        chosen = hidden if layers == "all" else [hidden[layer] for layer in layers]
        for place, i in enumerate(rows):
            found = torch.stack([layer[place, starts[i] : len(tokens[i])].to(chosen[-1].device) for layer in chosen])
            yield TextStates(i, starts[i], found)


@torch.no_grad()
def forward(model: PreTrainedModel, rows: Sequence[Sequence[int]], last: bool) -> Sequence[Tensor]:
    """The hidden states of right-padded rows, (B, T, D) each, without the output embedding.

    If `last`, only the last of them.
    """
    if (unwrap := getattr(model, "get_base_model", None)) is not None:  # peft: adapters stay in place
        model = unwrap()
    body = model.get_encoder() if model.config.is_encoder_decoder else getattr(model, model.base_model_prefix, model)
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=model.device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=model.device)
    options = {"use_cache": False} if getattr(model.config, "use_cache", False) else {}
    output = body(input_ids=ids, attention_mask=mask, output_hidden_states=not last, return_dict=True, **options)
    return [output.last_hidden_state] if last else output.hidden_states


def check(model: PreTrainedModel, tokens: Sequence, starts: Sequence[int], layers: Any, batch_size: int) -> None:
    """Raise ValueError for arguments with which a forward pass would fail or mean nothing."""
    require_count("batch_size", batch_size)
    if len(starts) != len(tokens):
        raise ValueError(f"{len(starts)} starts for {len(tokens)} texts: give one for each text")
    window = window_of(model)
    for i, (row, start) in enumerate(zip(tokens, starts, strict=True)):
        if len(row) <= start:
            raise ValueError(f"text {i} has no tokens to measure: leave out empty texts, in pairs where pairs compare")
        if len(row) > window:
            raise ValueError(f"text {i} has {len(row)} tokens and the model reads {window}: pass a max_length")
    depth = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    if isinstance(layers, str) and layers != "all":
        raise ValueError(f'layers must be numbers or "all", not {layers!r}')
    if layers != "all" and (not len(layers) or (depth and not all(-depth - 1 <= i <= depth for i in layers))):
        raise ValueError(f"layers must be among 0 (embeddings) to {depth}, or from the end, not {tuple(layers)}")


def window_of(model: PreTrainedModel) -> float:
    """The most positions that a model reads; inf if its configuration names no limit."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None) or float("inf")
