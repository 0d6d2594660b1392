"""Tokens for transformers' streamers: those that no later choice among rows can take back."""

from collections.abc import Iterable

import torch
from torch import Tensor
from transformers.generation.streamers import BaseStreamer

from .hypotheses import Step


def stream_settled(steps: Iterable[Step], prompts: int, streamer: BaseStreamer) -> None:
    """Drain `steps`, and put each column of (P,) int64 tokens once all surviving rows of every prompt agree on it."""
    rows: Tensor | None = None  # (R, n): what each row has appended so far
    owners = torch.arange(prompts)  # (R,): the prompt of each row
    sent = 0
    for step in steps:
        owners = owners.to(step.parents.device)[step.parents]
        past = step.tokens[:, None][:, :0] if rows is None else rows[step.parents]
        rows = torch.cat([past, step.tokens[:, None]], dim=1)
        first = (owners[:, None] == torch.arange(prompts, device=owners.device)).int().argmax(0)  # (P,)
        agreed = (rows == rows[first][owners]).all(0)  # (n,)
        settled = int(agreed.long().cumprod(0).sum())
        for column in range(sent, settled):
            streamer.put(rows[first, column].cpu())
        sent = settled
