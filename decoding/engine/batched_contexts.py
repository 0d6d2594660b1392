"""Several prompts of one model read in one forward, where that is cheaper than a forward for each."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from .context import Context

# So many of the positions that a batched forward computes may be padding: `python -m benchmarks.guides` measures it.
PADDING_LIMIT = 0.25


class ContextSlice(Context):
    """One of the prompts of a batched context, to be used like a context of its own.

    Args:
        batched: the context of all rows, prompt after prompt: those of the first, then those of the second, ...
        index: which of them this is, from 0. count: how many there are. width: of its own prompt.
    """

    def __init__(self, batched: Context, index: int, count: int, width: int) -> None:
        self.batched, self.index, self.count = batched, index, count
        self.filled = batched.prompt.shape[1] - width  # columns that are there for the other prompts
        self.model, self.generation_config = batched.model, batched.generation_config
        self.keep_states, self.borrowed = batched.keep_states, False

    def read(self, continuation: Tensor) -> None:
        """Feed what of the (R, n) int64 tokens after the prompts was not fed yet, to all of them."""
        self.batched.read(continuation.repeat(self.count, 1))

    def select(self, rows: Tensor) -> None:
        """Continue with `rows` (R',) int64; the first of the prompts speaks for all, each of which is told the same."""
        if self.index == 0:
            size = len(self.batched.prompt) // self.count
            self.batched.select(torch.cat([rows + size * i for i in range(self.count)]))

    @property
    def logits(self) -> Tensor:
        """(R, V) float32 next-token logits after everything fed."""
        return self.batched.logits.chunk(self.count)[self.index]

    @property
    def share(self) -> bool | None:
        """The batched context's switch."""
        return self.batched.share

    @share.setter
    def share(self, share: bool | None) -> None:
        self.batched.share = share

    @property
    def states(self) -> Tensor:
        """(R, T, D) unit-length hidden states of this prompt and what was fed."""
        return self.batched.states.chunk(self.count)[self.index][:, self.filled :]

    @property
    def newest(self) -> Tensor:
        """(R, D) of the last token fed."""
        return self.batched.newest.chunk(self.count)[self.index]

    @property
    def mask(self) -> Tensor:
        """(R, T) 1 for the real tokens of this prompt and what was fed, 0 for left padding."""
        return self.batched.mask.chunk(self.count)[self.index][:, self.filled :]

    @property
    def outputs(self) -> dict:
        """Nothing: contexts that show more than logits are not joined."""
        return {}


def join_contexts(contexts: Iterable[Context]) -> dict[Context, Context]:
    """What to read in the place of each context: a `ContextSlice`, where several prompts of one model are batched.

    Only prompts that are tokens and left padding alone are batched (`Context.is_plain`), and only while at most a
    quarter of the batched positions are padding. In a look-ahead the other prompts read every candidate too: rows of
    one model in one forward cost less than a second forward for the winner.
    """
    joined: dict[Context, Context] = {}
    for group in group_contexts([context for context in dict.fromkeys(contexts) if context.is_plain]):
        width = max(context.prompt.shape[1] for context in group)
        prompt = torch.cat([pad(context.prompt, (width - context.prompt.shape[1], 0)) for context in group])
        mask = torch.cat([pad(context.mask, (width - context.mask.shape[1], 0)) for context in group])
        batched = Context.of(group[0].model, prompt, mask, keep_states=any(context.keep_states for context in group))
        joined |= {
            context: ContextSlice(batched, i, len(group), context.prompt.shape[1]) for i, context in enumerate(group)
        }
    return joined


def group_contexts(contexts: Sequence[Context]) -> list[list[Context]]:
    """Those that go together: of one model, at least two, and not too different in width."""
    found: list[list[Context]] = []
    for context in sorted(contexts, key=lambda context: -context.prompt.shape[1]):
        for group in found:
            if group[0].model is context.model and padding_fraction([*group, context]) <= PADDING_LIMIT:
                group.append(context)
                break
        else:
            found.append([context])
    return [group for group in found if len(group) > 1]


def padding_fraction(group: Sequence[Context]) -> float:
    """The part of a batched forward's positions that is there only to make the prompts equally wide."""
    widths = [context.prompt.shape[1] for context in group]
    return 1 - sum(widths) / (len(widths) * max(widths))
