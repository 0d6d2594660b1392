"""One layer's keys and values in buffers that grow by blocks: new tokens are written into their slots."""

from typing import Any

from torch import Tensor
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from .grouped_attention import GroupedHeads

BLOCK = 64  # slots by which a buffer grows; it is copied once in that many tokens


class SlotLayer(DynamicLayer):
    """Keys and values of B cache rows in n slots, of which the first `dropped` have left the sliding window.

    A `PrefixTree` decides which token stands in which slot; see there.

    keys, values: (B, H, n - dropped, D), views of the filled part of the buffers.
    window: tokens that the layer sees; None: all.

    Args:
        layer: one of transformers' own, which a prompt was read into; its tensors are taken over.
        limit: the number of slots that are expected to be enough; buffers do not grow far beyond it.
        grouped: whether attention is given `GroupedHeads`.
    """

    def __init__(self, layer: DynamicLayer, limit: int, grouped: bool = False) -> None:
        super().__init__()
        self.window: int | None = getattr(layer, "sliding_window", None)
        self.dropped = layer.get_seq_length() - layer.keys.shape[-2]  # type: ignore[union-attr]
        self.limit, self.grouped = limit, grouped
        self.dtype, self.device = layer.keys.dtype, layer.keys.device  # type: ignore[union-attr]
        self.is_initialized = True
        self.buffers: list[Tensor] = [layer.keys, layer.values]  # type: ignore[list-item]
        self._show_slots(self.buffers[0].shape[2])

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Write the (B, H, q, D) keys and values of q new tokens -> all keys and values."""
        start, end = self.keys.shape[2], self.keys.shape[2] + key_states.shape[2]  # type: ignore[union-attr]
        if end > self.buffers[0].shape[2]:
            limit = self.limit - self.dropped
            room = min(end + BLOCK, limit) if end < limit else end + BLOCK
            for i, buffer in enumerate(self.buffers):  # one at a time, so that each old tensor is freed before the next
                grown = buffer.new_empty(*buffer.shape[:2], room, buffer.shape[3])
                grown[:, :, :start] = buffer[:, :, :start]
                self.buffers[i] = buffer = grown
                self._show_slots(start)
        for buffer, new in zip(self.buffers, (key_states, value_states), strict=True):
            buffer[:, :, start:end] = new
        self._show_slots(end)
        if self.grouped:
            return GroupedHeads(self.keys), GroupedHeads(self.values)  # type: ignore[arg-type]
        return self.keys, self.values

    def keep_slots(self, rows: Tensor | None, first: int, order: Tensor | None, kept: int | None = None) -> None:
        """Go on with some cache rows, and with some of their slots.

        Args:
            rows: (B',) int64, the cache rows to go on with; None: all, as they are.
            first: the slots before this one stay where they are.
            order: (B', m) int64, which of the slots from `first` on to go on with; None: all of them.
            kept: m, where `order` is the first m slots in their order: then nothing is moved.
        """
        if rows is not None:
            filled = self.keys.shape[2]  # type: ignore[union-attr]
            for i, buffer in enumerate(self.buffers):
                self.buffers[i] = buffer = buffer[:, :, :filled][rows]
            self._show_slots(filled)
        first -= self.dropped
        if kept is not None:
            self._show_slots(first + kept)
        elif order is not None:
            filled, end = self.keys.shape[2], first + order.shape[1]  # type: ignore[union-attr]
            for buffer in self.buffers:
                tail = buffer[:, :, first:filled]
                one = len(order) == 1  # index_select does the same at half the cost
                chosen = tail.index_select(2, order[0]) if one else tail.take_along_dim(order[:, None, :, None], dim=2)
                buffer[:, :, first:end] = chosen
            self._show_slots(end)

    def drop_slots(self, slots: int) -> None:
        """Forget the first `slots` slots."""
        gone, filled = slots - self.dropped, self.keys.shape[2]  # type: ignore[union-attr]
        self.buffers = [buffer[:, :, gone:filled].clone() for buffer in self.buffers]
        self.dropped = slots
        self._show_slots(filled - gone)

    def to_dynamic_layer(self) -> DynamicLayer:
        """The same keys and values in a layer of transformers' own."""
        length = self.get_seq_length()
        if self.window is None:
            layer = DynamicLayer()
            layer.update(self.keys, self.values)  # type: ignore[arg-type]
            return layer
        layer = DynamicSlidingWindowLayer(self.window)
        layer.update(self.keys, self.values)  # type: ignore[arg-type]
        layer.cumulative_length = length
        return layer

    def get_seq_length(self) -> int:
        """Slots so far, the dropped ones included."""
        return self.keys.shape[2] + self.dropped  # type: ignore[union-attr]

    def _show_slots(self, slots: int) -> None:
        """Make `keys` and `values` views of the first slots of the buffers."""
        self.keys, self.values = (buffer[:, :, :slots] for buffer in self.buffers)
