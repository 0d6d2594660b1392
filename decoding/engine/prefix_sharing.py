"""Rows that share what they have in common: the siblings of a look-ahead, the samples that continue one prompt.

The fast path of `Context`, which alone uses it. A *stem* is a row of the cache. What its rows have in common stands in
it once, the *trunk*; behind that every row has slots of its own, which the others do not see. So a fork copies
nothing, and k candidates are k more positions of one forward over one cache. It is a mask that tells the rows apart,
so it serves models that take a mask of their caller's, and no others: see `Context`.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from .hidden_states import is_identity
from .slot_layer import BLOCK, Slots

# A stem is split, a copy for each of its rows, once it has more slots than twice what one row sees of it, and so many:
# the slots of other rows cost time too. About where the two are equally fast (20 rows, 2 cores).
SLACK = 256


class Forest:
    """B stems of n slots, and R rows that end on them; each stem has the same number of places for rows, its width.

    visible: (B, width, n - trunk) bool, which of the slots behind the trunk each row sees. padding: (B, trunk) bool,
    the slots of the trunk that nobody sees; None where there are none. place: (R,) int64, the place of each row among
    all B x width; None where rows and places are the same. when: (B, n) int64, how many tokens came before a slot's.

    Args:
        cache: that a prompt was read into, one row a prompt; its layers are replaced.
        mask: (B, n) 0 for left padding; None where there is none. limit: see `Slots`.
        layer_types: a name for each layer where a model tells its layers apart by name, and takes a mask for each.
    """

    def __init__(
        self, cache: DynamicCache, mask: Tensor | None, limit: int, layer_types: list[str] | None = None
    ) -> None:
        self.cache = cache
        self.layers: list[Slots] = [Slots(layer, limit) for layer in cache.layers]  # type: ignore[arg-type]
        cache.layers = self.layers  # type: ignore[assignment]
        batch, self.trunk = len(self.layers[0].keys), self.layers[0].get_seq_length()  # type: ignore[arg-type]
        device = self.layers[0].device
        self.padding = None if mask is None or bool(mask.all()) else (mask == 0).to(device)
        self.visible = torch.zeros(batch, 1, 0, dtype=torch.bool, device=device)
        self.place: Tensor | None = None
        self.leaves: Tensor | None = None  # the row that stands at each place; at one that is left over, some other
        windows = {layer.window for layer in self.layers}
        self.when = torch.arange(self.trunk, device=device).expand(batch, -1) if windows != {None} else None
        self.length = self.trunk  # tokens of each row
        names = layer_types if layer_types and len(set(layer_types)) > 1 else [""] * len(self.layers)
        self.windows = dict(zip(names, self.layers, strict=True))
        if len({(name, layer.window) for name, layer in zip(names, self.layers, strict=True)}) > len(self.windows):
            raise ValueError("layers with different windows, and no names to tell them apart by")

    def select(self, rows: Tensor) -> None:
        """Go on with `rows` (R',) int64: repeats fork and copy nothing; what no row sees any more is taken out."""
        at = rows if self.place is None else self.place[rows]
        stems, own, counts = torch.unique_consecutive(
            at // self.visible.shape[1], return_inverse=True, return_counts=True
        )
        width = int(counts.max())
        self.place = self.leaves = None
        if len(stems) * width == len(rows):
            table = at.view(-1, width)
        else:
            first = counts.cumsum(0) - counts
            self.place = own * width + torch.arange(len(at), device=at.device) - first[own]
            self.leaves = first.repeat_interleave(width)
            self.leaves[self.place] = torch.arange(len(at), device=at.device)
            table = at[self.leaves].view(-1, width)
        self._regroup(stems, table)

    def grow(self, tokens: Tensor, positions: Tensor | None, dtype: torch.dtype) -> dict[str, Any]:
        """What a model is called with to read n more tokens of every row.

        Args:
            tokens: (R, n) int64. positions: (R, n) int64, or None for models that take none. dtype: of the mask.

        Returns:
            `input_ids` and `position_ids` (B, width n), `attention_mask` (B, 1, width n, slots) or one for each name of
            a layer, or None where everything is seen, and the cache.
        """
        count = tokens.shape[1]
        if self._is_wasteful(count):
            self.split()
        batch, width, branch = self.visible.shape
        inputs: dict[str, Any] = {"input_ids": self._placed(tokens), "past_key_values": self.cache}
        if positions is not None:
            inputs["position_ids"] = self._placed(positions)
        rows = torch.eye(width, dtype=torch.bool, device=self.visible.device)
        before = torch.ones(count, count, dtype=torch.bool, device=rows.device).tril()
        if width * count > 1 or self.padding is not None or branch or self.when is not None:
            own = torch.kron(rows, before)  # (width n, width n): of its own tokens, each sees those before it
            trunk = torch.ones(batch, 1, self.trunk, dtype=torch.bool, device=rows.device)
            if self.padding is not None:
                trunk = ~self.padding[:, None]
            parts = (trunk, self.visible.repeat_interleave(count, 1), own)
            seen = torch.cat([part.expand(batch, width * count, -1) for part in parts], dim=-1)
            self._date(count)
            inputs["attention_mask"] = self._masks(seen, count, dtype)
        else:
            self._date(count)
            inputs["attention_mask"] = None
        new = rows.repeat_interleave(count, 1).expand(batch, -1, -1)
        self.visible = torch.cat([self.visible, new], dim=-1)
        self.length += count
        return inputs

    def tips(self, states: Tensor) -> Tensor:
        """(B, width n, D) of a forward -> (R, n, D), of every row."""
        batch, width = self.visible.shape[:2]
        states = states.reshape(batch * width, -1, states.shape[-1])
        return states if self.place is None else states[self.place]

    def split(self) -> None:
        """A stem for every row."""
        batch, width = self.visible.shape[:2]
        at = torch.arange(batch * width, device=self.visible.device) if self.place is None else self.place
        self.place = self.leaves = None
        self._regroup(at // width, at[:, None])

    def harvest(self) -> DynamicCache:
        """The cache with layers of transformers' own, a row for each row."""
        if self.visible.shape[1] > 1 or self.place is not None:
            self.split()
        self.cache.layers = [layer.plain() for layer in self.layers]
        return self.cache

    def _regroup(self, stems: Tensor, table: Tensor) -> None:
        """Stems (B',) to go on with, and which of the old places stand at the new ones: (B', width')."""
        moved = None if is_identity(stems, len(self.visible)) else stems
        if moved is not None:
            self.padding = None if self.padding is None else self.padding[stems]
            self.when = None if self.when is None else self.when[stems]
        visible = self.visible.flatten(0, 1)[table]  # (B', width', branch)
        live = visible.any(1)
        order, kept = None, None
        if not live.all():
            slots = int(live.sum(1).max())
            order = (~live).byte().argsort(dim=1, stable=True)[:, :slots]  # of a stem with fewer, dead ones at the end
            if bool((order == torch.arange(slots, device=order.device)).all()):
                kept = slots
            visible = visible.take_along_dim(order[:, None], dim=2)
            if self.when is not None:
                tail = self.when[:, self.trunk :].take_along_dim(order, dim=1)
                self.when = torch.cat([self.when[:, : self.trunk], tail], dim=1)
        if moved is not None or order is not None:
            for layer in self.layers:
                layer.take(moved, self.trunk, order, kept)
        common = int(visible.all(1).all(0).long().cumprod(0).sum()) if visible.shape[2] else 0
        self.visible = visible[..., common:]
        if common and self.padding is not None:
            self.padding = torch.nn.functional.pad(self.padding, (0, common))
        self.trunk += common
        self._drop()

    def _is_wasteful(self, count: int) -> bool:
        width = self.visible.shape[1]
        slots = self.trunk + self.visible.shape[2] + width * count
        return width > 1 and slots > 2 * (self.length + count) + SLACK

    def _placed(self, column: Tensor) -> Tensor:
        column = column if self.leaves is None else column[self.leaves]
        return column.reshape(len(self.visible), -1)

    def _date(self, count: int) -> None:
        if self.when is not None:
            batch, width = self.visible.shape[:2]
            now = torch.arange(self.length, self.length + count, device=self.when.device)
            self.when = torch.cat([self.when, now.repeat(width).expand(batch, -1)], dim=1)

    def _masks(self, seen: Tensor, count: int, dtype: torch.dtype) -> Any:
        masks = {}
        for name, layer in self.windows.items():
            within = seen
            if layer.window is not None:
                assert self.when is not None
                now = self.when[:, self.when.shape[1] - seen.shape[1] :]
                within = (seen & (now[:, :, None] - self.when[:, None] < layer.window))[..., layer.dropped :]
            mask = torch.zeros(within.shape, dtype=dtype, device=within.device)
            masks[name] = mask.masked_fill_(~within, torch.finfo(dtype).min)[:, None]
        return masks if len(masks) > 1 else next(iter(masks.values()))

    def _drop(self) -> None:
        """Take out of windowed layers what fell out of their windows, by blocks."""
        for layer in self.layers:
            if layer.window is None or self.trunk - layer.dropped < layer.window + BLOCK:
                continue
            assert self.when is not None
            past = (self.when[:, : self.trunk] < self.length - layer.window).all(0).sum()
            if past >= layer.dropped + BLOCK:
                layer.drop(int(past))


def can_grow(cache: Any) -> bool:
    """Whether a cache is nothing but keys and values, in layers that were all read into."""
    kinds = (DynamicLayer, DynamicSlidingWindowLayer)
    layers: Any = cache.layers if type(cache) is DynamicCache else [None]
    return all(type(layer) in kinds and layer.is_initialized for layer in layers)
