"""Prefix sharing: rows that begin alike keep what they have in common in the cache once.

The candidates of a look-ahead, and the samples that continue one prompt, share nearly all of their text. Here they are
branches of a `PrefixTree`: one cache row holds the shared slots once, and behind them some slots for each branch, which
the other branches do not see. So a fork copies nothing, and k candidates are k more positions of one forward over one
cache. The field calls this prefix sharing, or tree attention.

The attention mask tells the branches apart. So this serves the models that obey a mask of their caller's, and no
others; `probe.py` finds out which do.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from .hidden_states import is_identity
from .slot_layer import BLOCK, SlotLayer
from .transformers_api import DEFAULT_CACHE_NAME

# The slots of other branches cost time. Once a cache row has more slots than twice what one branch sees of it and this
# many, each branch gets a cache row of its own. About there the two are equally fast (20 rows, 2 cores).
SLACK = 256


class PrefixTree:
    """B cache rows of n slots, and the R decoded rows that branch from them.

    Each cache row has places for equally many branches, `width` of them; R is at most B x width.

    shared: the number of slots, from the first on, that every branch of a cache row sees unless they are padding.
    padding: (B, shared) bool, the shared slots that are padding; None where there are none.
    visible: (B, width, n - shared) bool, which of the slots behind the shared ones each branch sees.
    place: (R,) int64, the place of each decoded row among all B x width; None where rows and places are the same.
    row_at: (B x width,) int64, the decoded row at each place, and some other row at a place that is left over; None
        where rows and places are the same.
    position: (B, n) int64, how many tokens of its text came before the one in each slot; None where no layer has a
        sliding window.
    length: tokens of each decoded row, padding included.

    Args:
        cache: that a prompt was read into, one row a prompt; its layers are replaced.
        mask: (B, n) 0 for left padding; None where there is none.
        limit, grouped: see `SlotLayer`.
        layer_types: the name of each layer's kind, where the model takes one mask for each kind.

    Raises:
        ValueError: layers of one kind have different sliding windows.
    """

    def __init__(
        self,
        cache: DynamicCache,
        mask: Tensor | None,
        limit: int,
        layer_types: list[str] | None = None,
        grouped: bool = False,
    ) -> None:
        self.cache = cache
        self.layers: list[SlotLayer] = [SlotLayer(layer, limit, grouped) for layer in cache.layers]  # type: ignore[arg-type]
        cache.layers = self.layers  # type: ignore[assignment]
        batch, self.shared = len(self.layers[0].keys), self.layers[0].get_seq_length()  # type: ignore[arg-type]
        device = self.layers[0].device
        self.padding = None if mask is None or bool(mask.all()) else (mask == 0).to(device)
        self.visible = torch.zeros(batch, 1, 0, dtype=torch.bool, device=device)
        self.place: Tensor | None = None
        self.row_at: Tensor | None = None
        windows = {layer.window for layer in self.layers}
        self.position = torch.arange(self.shared, device=device).expand(batch, -1) if windows != {None} else None
        self.length = self.shared
        kinds = layer_types if layer_types and len(set(layer_types)) > 1 else [""] * len(self.layers)
        self.layer_of_kind = dict(zip(kinds, self.layers, strict=True))
        pairs = {(kind, layer.window) for kind, layer in zip(kinds, self.layers, strict=True)}
        if len(pairs) > len(self.layer_of_kind):
            raise ValueError("layers with different windows, and no names to tell them apart by")

    @property
    def width(self) -> int:
        """Places for branches in each cache row."""
        return self.visible.shape[1]

    def select_rows(self, rows: Tensor) -> None:
        """Go on with `rows` (R',) int64. Repeats fork and copy nothing; slots that no row sees any more are freed."""
        at = rows if self.place is None else self.place[rows]
        cache_rows, own, counts = torch.unique_consecutive(at // self.width, return_inverse=True, return_counts=True)
        width = int(counts.max())
        self.place = self.row_at = None
        if len(cache_rows) * width == len(rows):
            table = at.view(-1, width)
        else:
            first = counts.cumsum(0) - counts
            self.place = own * width + torch.arange(len(at), device=at.device) - first[own]
            self.row_at = first.repeat_interleave(width)
            self.row_at[self.place] = torch.arange(len(at), device=at.device)
            table = at[self.row_at].view(-1, width)
        self._regroup(cache_rows, table)

    def model_inputs(self, tokens: Tensor, positions: Tensor | None, dtype: torch.dtype) -> dict[str, Any]:
        """What a model is called with to read n more tokens of every row.

        Args:
            tokens: (R, n) int64.
            positions: (R, n) int64, or None for models that take none.
            dtype: of the mask.

        Returns:
            `input_ids` and `position_ids` (B, width n); the cache, under its name; `attention_mask`
            (B, 1, width n, slots), or one for each kind of layer, or None where every token sees everything before it.
        """
        count = tokens.shape[1]
        if self._is_wasteful(count):
            self.split_branches()
        batch, width, branch_slots = self.visible.shape
        inputs: dict[str, Any] = {"input_ids": self._in_places(tokens), DEFAULT_CACHE_NAME: self.cache}
        if positions is not None:
            inputs["position_ids"] = self._in_places(positions)
        branches = torch.eye(width, dtype=torch.bool, device=self.visible.device)
        before = torch.ones(count, count, dtype=torch.bool, device=branches.device).tril()
        if width * count > 1 or self.padding is not None or branch_slots or self.position is not None:
            new = torch.kron(branches, before)  # (width n, width n), causal within each branch
            shared = torch.ones(batch, 1, self.shared, dtype=torch.bool, device=branches.device)
            if self.padding is not None:
                shared = ~self.padding[:, None]
            parts = (shared, self.visible.repeat_interleave(count, 1), new)
            seen = torch.cat([part.expand(batch, width * count, -1) for part in parts], dim=-1)
            self._append_positions(count)
            inputs["attention_mask"] = self._make_masks(seen, dtype)
        else:
            self._append_positions(count)
            inputs["attention_mask"] = None
        new = branches.repeat_interleave(count, 1).expand(batch, -1, -1)
        self.visible = torch.cat([self.visible, new], dim=-1)
        self.length += count
        return inputs

    def per_row(self, states: Tensor) -> Tensor:
        """(B, width n, D) outputs of a forward -> (R, n, D), one for each decoded row."""
        states = states.reshape(len(self.visible) * self.width, -1, states.shape[-1])
        return states if self.place is None else states[self.place]

    def split_branches(self) -> None:
        """Give every decoded row a cache row of its own."""
        places = len(self.visible) * self.width
        at = torch.arange(places, device=self.visible.device) if self.place is None else self.place
        self.place = self.row_at = None
        self._regroup(at // self.width, at[:, None])

    def to_plain_cache(self) -> DynamicCache:
        """The cache as transformers makes it: its own layers, and a cache row for each decoded row."""
        if self.width > 1 or self.place is not None:
            self.split_branches()
        self.cache.layers = [layer.to_dynamic_layer() for layer in self.layers]
        return self.cache

    def _regroup(self, cache_rows: Tensor, table: Tensor) -> None:
        """Go on with `cache_rows` (B',); `table` (B', width') says which old place each new place continues."""
        moved = None if is_identity(cache_rows, len(self.visible)) else cache_rows
        if moved is not None:
            self.padding = None if self.padding is None else self.padding[cache_rows]
            self.position = None if self.position is None else self.position[cache_rows]
        visible = self.visible.flatten(0, 1)[table]  # (B', width', slots behind the shared ones)
        live = visible.any(1)
        order, kept = None, None
        if not live.all():
            slots = int(live.sum(1).max())
            order = (~live).byte().argsort(dim=1, stable=True)[:, :slots]  # short rows end in unused slots
            if bool((order == torch.arange(slots, device=order.device)).all()):
                kept = slots
            visible = visible.take_along_dim(order[:, None], dim=2)
            if self.position is not None:
                tail = self.position[:, self.shared :].take_along_dim(order, dim=1)
                self.position = torch.cat([self.position[:, : self.shared], tail], dim=1)
        if moved is not None or order is not None:
            for layer in self.layers:
                layer.keep_slots(moved, self.shared, order, kept)
        common = int(visible.all(1).all(0).long().cumprod(0).sum()) if visible.shape[2] else 0
        self.visible = visible[..., common:]
        if common and self.padding is not None:
            self.padding = torch.nn.functional.pad(self.padding, (0, common))
        self.shared += common
        self._drop_passed_slots()

    def _is_wasteful(self, count: int) -> bool:
        """Whether too many of the slots are those of other branches."""
        slots = self.shared + self.visible.shape[2] + self.width * count
        return self.width > 1 and slots > 2 * (self.length + count) + SLACK

    def _in_places(self, column: Tensor) -> Tensor:
        """(R, n) of the decoded rows -> (B, width n)."""
        column = column if self.row_at is None else column[self.row_at]
        return column.reshape(len(self.visible), -1)

    def _append_positions(self, count: int) -> None:
        if self.position is not None:
            new = torch.arange(self.length, self.length + count, device=self.position.device)
            new = new.repeat(self.width).expand(len(self.visible), -1)
            self.position = torch.cat([self.position, new], dim=1)

    def _make_masks(self, seen: Tensor, dtype: torch.dtype) -> Any:
        """(B, q, n) bool, what each new token sees -> an additive mask (B, 1, q, slots) for each kind of layer."""
        masks = {}
        for kind, layer in self.layer_of_kind.items():
            within = seen
            if layer.window is not None:
                assert self.position is not None
                new = self.position[:, self.position.shape[1] - seen.shape[1] :]
                near = new[:, :, None] - self.position[:, None] < layer.window
                within = (seen & near)[..., layer.dropped :]
            mask = torch.zeros(within.shape, dtype=dtype, device=within.device)
            masks[kind] = mask.masked_fill_(~within, torch.finfo(dtype).min)[:, None]
        return masks if len(masks) > 1 else next(iter(masks.values()))

    def _drop_passed_slots(self) -> None:
        """Take out of windowed layers the slots that have left their windows, a block at a time."""
        for layer in self.layers:
            if layer.window is None or self.shared - layer.dropped < layer.window + BLOCK:
                continue
            assert self.position is not None
            passed = (self.position[:, : self.shared] < self.length - layer.window).all(0).sum()
            if passed >= layer.dropped + BLOCK:
                layer.drop_slots(int(passed))


def holds_keys_and_values_alone(cache: Any) -> bool:
    """Whether a cache is nothing but keys and values, in layers that were all read into: then a tree can be made."""
    kinds = (DynamicLayer, DynamicSlidingWindowLayer)
    layers: Any = cache.layers if type(cache) is DynamicCache else [None]
    return all(type(layer) in kinds and layer.is_initialized for layer in layers)
