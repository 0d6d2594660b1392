"""Several prompts of one model read in one forward, where that is cheaper than a forward for each."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers.utils import ModelOutput

from .context import Context
from .prepared_prompt import prepare_again
from .row_reader import RowReader

# So much of what a batched forward computes may be padding; `benchmarks/speed/second_prompts.py` measures it.
PADDING_LIMIT = 0.25


class BatchedContext:
    """The prompts of several contexts of one model, read as one: all rows of the first, then all of the second, ...

    whole: the context of all rows. slices: what to read in the place of each of the contexts, in their order.

    Args:
        contexts: not read yet, plain (`RowReader.is_plain`), of equally many rows. They are not read themselves.
    """

    def __init__(self, contexts: Sequence[Context]) -> None:
        width = max(context.prompt.shape[1] for context in contexts)
        prompt = torch.cat([pad(context.prompt, (width - context.prompt.shape[1], 0)) for context in contexts])
        mask = torch.cat([pad(context.mask, (width - context.mask.shape[1], 0)) for context in contexts])
        keep_states = any(context.keep_states for context in contexts)
        self.whole = Context.of(contexts[0].model, prompt, mask, keep_states=keep_states)
        self.slices = [ContextSlice(self, context, i) for i, context in enumerate(contexts)]

    def read(self, continuation: Tensor) -> None:
        """Feed what of the (R, n) int64 tokens was not fed yet, behind every prompt."""
        self.whole.read(continuation.repeat(len(self.slices), 1))

    def select(self, rows: Tensor) -> None:
        """Go on with `rows` (R',) int64 of every prompt."""
        size = len(self.whole.prompt) // len(self.slices)
        self.whole.select(torch.cat([rows + size * i for i in range(len(self.slices))]))


class ContextSlice(RowReader):
    """The rows of one prompt in a batched context, used like a context of its own.

    What is fed to one slice is fed to all of them, and rows are chosen alike for all: `select` is to be called for each
    slice with the same rows, and the first slice does it.

    Args:
        batched: what it is a slice of.
        source: the context that it stands for.
        index: which of the slices it is, from 0.
    """

    def __init__(self, batched: BatchedContext, source: Context, index: int) -> None:
        self.batched, self.source, self.index = batched, source, index
        self.model, self.raw, self.borrowed = source.model, source.raw, source.borrowed
        self.generation_config = source.generation_config
        self.keep_states = batched.whole.keep_states  # for all slices, since a look-ahead is fed to all
        self._padding = batched.whole.prompt.shape[1] - source.prompt.shape[1]  # to match the widest prompt

    @property
    def share(self) -> bool | None:
        """Whether rows share the prefix that they have in common, in all slices alike."""
        return self.batched.whole.share

    @share.setter
    def share(self, share: bool | None) -> None:
        self.batched.whole.share = share

    def read(self, continuation: Tensor) -> None:
        """Feed what of the (R, n) int64 tokens after the prompts was not fed yet, to all slices."""
        self.batched.read(continuation)

    def select(self, rows: Tensor) -> None:
        """Continue with `rows` (R',) int64; done for all slices by the first."""
        if self.index == 0:
            self.batched.select(rows)

    def again(self, model: Any = None, **changes: Any) -> Context:
        """A new context on the same prompts: see `RowReader.again`."""
        return Context.of_prepared(prepare_again(self, model, **changes))

    def close(self, tokens: int) -> None:
        """None: the cache holds the rows of the other slices too."""
        return None

    @property
    def prompt(self) -> Tensor:
        """(R, T0) int64 token ids, without the padding that only other prompts need."""
        return self._own_rows(self.batched.whole.prompt)[:, self._padding :]

    @property
    def fed(self) -> int:
        """Continuation tokens fed so far; -1: the prompt is still to be read."""
        return self.batched.whole.fed

    @property
    def content(self) -> dict[str, Any]:
        """What the prompt holds beside its tokens: nothing, for only plain prompts are batched."""
        return self.batched.whole.content

    @property
    def is_plain(self) -> bool:
        """Whether the prompt is still to be read, and tokens and left padding are all there is to say of it."""
        return self.batched.whole.is_plain

    @property
    def logits(self) -> Tensor:
        """(R, V) float32 next-token logits after everything fed."""
        return self._own_rows(self.batched.whole.logits)

    @property
    def states(self) -> Tensor:
        """(R, T, D) unit-length hidden states of this prompt and what was fed."""
        return self._own_rows(self.batched.whole.states)[:, self._padding :]

    @property
    def newest(self) -> Tensor:
        """(R, D) the state of the last token fed."""
        return self._own_rows(self.batched.whole.newest)

    @property
    def mask(self) -> Tensor:
        """(R, T) 1 for the real tokens of this prompt and what was fed, 0 for left padding."""
        return self._own_rows(self.batched.whole.mask)[:, self._padding :]

    @property
    def outputs(self) -> dict[str, Any]:
        """What the caller asked to see of the last forward: nothing, for such calls read each context alone."""
        return self.batched.whole.outputs

    @property
    def encoder_outputs(self) -> ModelOutput | None:
        """None: an encoder-decoder's prompts are not batched."""
        return self.batched.whole.encoder_outputs

    def _own_rows(self, value: Tensor) -> Tensor:
        return value.chunk(len(self.batched.slices))[self.index]


def join_contexts(
    contexts: Iterable[Context], *, padding_limit: float = PADDING_LIMIT
) -> Mapping[Context, ContextSlice]:
    """What to read in the place of each context, where several prompts of one model are read in one batch.

    Only prompts that are tokens and left padding alone are batched (`RowReader.is_plain`). In a look-ahead the other
    prompts read every candidate too: rows of one model in one forward cost less than a second forward for the winner.

    Args:
        contexts: not read yet.
        padding_limit: so much of the positions of a batched forward may be padding that makes the prompts equally
            wide, from 0 to 1; below 0 nothing is batched.
    """
    joined: dict[Context, ContextSlice] = {}
    plain = [context for context in dict.fromkeys(contexts) if context.is_plain]
    for group in group_contexts(plain, padding_limit):
        joined |= zip(group, BatchedContext(group).slices, strict=True)
    return joined


def group_contexts(contexts: Sequence[Context], padding_limit: float) -> list[list[Context]]:
    """Those that go together: of one model, at least two, and not too different in width."""
    found: list[list[Context]] = []
    for context in sorted(contexts, key=lambda context: -context.prompt.shape[1]):
        for group in found:
            if group[0].model is context.model and padding_fraction([*group, context]) <= padding_limit:
                group.append(context)
                break
        else:
            found.append([context])
    return [group for group in found if len(group) > 1]


def padding_fraction(group: Sequence[Context]) -> float:
    """The part of a batched forward's positions that is there only to make the prompts equally wide."""
    widths = [context.prompt.shape[1] for context in group]
    return 1 - sum(widths) / (len(widths) * max(widths))
