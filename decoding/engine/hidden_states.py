"""Unit-length hidden states of everything a context was fed, for rows that fork and merge all the time."""

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 64  # tokens that the buffer grows by


class HiddenStates:
    """Last-layer states of R rows. A fork shares the past: only the newest states are copied.

    past: (B, T, D), of which the R rows are `rows` (None: they are these rows); it is the filled part of a buffer, so
    that a token's states are written once, and never copied with the rest. recent: (R, n, D), not yet in the past.
    """

    def __init__(self, hidden: Tensor) -> None:
        """hidden: (R, T, D) of any floating dtype; kept as float32 or wider."""
        self.past = self.buffer = scaled_to_unit_length(hidden)
        self.rows: Tensor | None = None
        self.recent = self.past[:, :0]

    def append(self, hidden: Tensor) -> None:
        """Add the (R, n, D) states of the tokens fed last."""
        new = scaled_to_unit_length(hidden)
        self.recent = torch.cat([self.recent, new], dim=1) if self.recent.shape[1] else new

    def select(self, rows: Tensor) -> None:
        """Go on with `rows` (R',) int64; the past is gathered when it is next asked for."""
        rows = rows.to(self.past.device)
        self.rows = rows if self.rows is None else self.rows[rows]
        self.recent = self.recent[rows]

    def all(self) -> Tensor:
        """The states of everything fed, (R, T, D), with the rows in order."""
        if self.rows is not None and not is_identity(self.rows, len(self.past)):
            self.past = self.buffer = self.past[self.rows]
        self.rows = None
        if new := self.recent.shape[1]:
            start, end = self.past.shape[1], self.past.shape[1] + new
            if end > self.buffer.shape[1]:
                self.buffer = self.past.new_empty(len(self.past), end + BLOCK, self.past.shape[2])
                self.buffer[:, :start] = self.past
            self.buffer[:, start:end] = self.recent
            self.past, self.recent = self.buffer[:, :end], self.recent[:, :0]
        return self.past

    def newest(self) -> Tensor:
        """The states of the last token, (R, D)."""
        return self.recent[:, -1] if self.recent.shape[1] else self.all()[:, -1]


def scaled_to_unit_length(hidden: Tensor) -> Tensor:
    """States scaled to unit length, in float32 or wider, so that their dot products are cosines."""
    return F.normalize(hidden.to(torch.promote_types(hidden.dtype, torch.float32)), dim=-1)


def is_identity(rows: Tensor, batch: int) -> bool:
    """Whether `rows` leaves a batch as it is, so that nothing has to be copied."""
    return len(rows) == batch and torch.equal(rows, torch.arange(batch, device=rows.device))
