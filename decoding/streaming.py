"""Tokens for transformers' streamers: those that no later choice among rows can take back."""

from collections.abc import Iterable

import torch
from torch import Tensor
from transformers.generation.streamers import BaseStreamer

from .hypotheses import Step


def stream_settled(steps: Iterable[Step], prompts: int, streamer: BaseStreamer) -> None:
    """Drain `steps`, and put each column of (P,) int64 tokens once all surviving rows of every prompt agree on it."""
    rows: Tensor | None = None  # (R, n): what each row has appended so far
    sent = 0
    for step in steps:
        past = step.tokens[:, None][:, :0] if rows is None else rows[step.parents]
        rows = torch.cat([past, step.tokens[:, None]], dim=1)
        hypotheses = rows.view(prompts, -1, rows.shape[1])  # (P, width, n)
        agreed = (hypotheses == hypotheses[:, :1]).all(1).all(0)  # (n,)
        settled = int(agreed.long().cumprod(0).sum())
        for column in range(sent, settled):
            streamer.put(hypotheses[:, 0, column].cpu())
        sent = settled
