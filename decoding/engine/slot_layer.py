"""One layer's keys and values in buffers that grow by blocks: tokens are written into their places.

Only `Forest`, and through it `Context`, uses it.
"""

from typing import Any

from torch import Tensor
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

BLOCK = 64  # slots that a buffer grows by; a copy of the buffer in so many tokens


class Slots(DynamicLayer):
    """Keys and values of B stems in n slots, of which the first `dropped` fell out of a sliding window.

    keys: (B, H, n - dropped, D), and values: views of the buffers' filled part.

    Args:
        layer: one of transformers' own, which a prompt was read into; its tensors are taken over.
        limit: as many slots as will be wanted, if all goes as expected: no buffer grows generously beyond it.
    """

    def __init__(self, layer: DynamicLayer, limit: int) -> None:
        super().__init__()
        self.window: int | None = getattr(layer, "sliding_window", None)
        self.dropped = layer.get_seq_length() - layer.keys.shape[-2]  # type: ignore[union-attr]
        self.limit = limit
        self.dtype, self.device = layer.keys.dtype, layer.keys.device  # type: ignore[union-attr]
        self.is_initialized = True
        self.buffers: list[Tensor] = [layer.keys, layer.values]  # type: ignore[list-item]
        self.fill(self.buffers[0].shape[2])

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write the (B, H, q, D) keys and values of q new tokens -> all keys and values."""
        start, end = self.keys.shape[2], self.keys.shape[2] + key_states.shape[2]  # type: ignore[union-attr]
        if end > self.buffers[0].shape[2]:
            limit = self.limit - self.dropped
            room = min(end + BLOCK, limit) if end < limit else end + BLOCK
            for i, buffer in enumerate(self.buffers):  # one at a time: the old one of each is freed before the next
                grown = buffer.new_empty(*buffer.shape[:2], room, buffer.shape[3])
                grown[:, :, :start] = buffer[:, :, :start]
                self.buffers[i] = buffer = grown
                self.fill(start)
        for buffer, new in zip(self.buffers, (key_states, value_states), strict=True):
            buffer[:, :, start:end] = new
        self.fill(end)
        return self.keys, self.values  # type: ignore[return-value]

    def take(self, stems: Tensor | None, first: int, order: Tensor | None, kept: int | None = None) -> None:
        """Go on with `stems` (B',), None: as they are; and of the slots from `first` on with `order` (B', m), in order.

        kept: where `order` leaves the first slots where they are, how many there are: then nothing is moved.
        """
        if stems is not None:
            filled = self.keys.shape[2]  # type: ignore[union-attr]
            for i, buffer in enumerate(self.buffers):
                self.buffers[i] = buffer = buffer[:, :, :filled][stems]
            self.fill(filled)
        first -= self.dropped
        if kept is not None:
            self.fill(first + kept)
        elif order is not None:
            filled, end = self.keys.shape[2], first + order.shape[1]  # type: ignore[union-attr]
            for buffer in self.buffers:
                tail = buffer[:, :, first:filled]
                one = len(order) == 1  # much the same, at half the price
                chosen = tail.index_select(2, order[0]) if one else tail.take_along_dim(order[:, None, :, None], dim=2)
                buffer[:, :, first:end] = chosen
            self.fill(end)

    def drop(self, slots: int) -> None:
        """Forget all slots before `slots`."""
        gone, filled = slots - self.dropped, self.keys.shape[2]  # type: ignore[union-attr]
        self.buffers = [buffer[:, :, gone:filled].clone() for buffer in self.buffers]
        self.dropped = slots
        self.fill(filled - gone)

    def plain(self) -> DynamicLayer:
        """The same as one of transformers' own layers."""
        length = self.get_seq_length()
        if self.window is None:
            layer = DynamicLayer()
            layer.update(self.keys, self.values)  # type: ignore[arg-type]
            return layer
        layer = DynamicSlidingWindowLayer(self.window)
        layer.update(self.keys, self.values)  # type: ignore[arg-type]
        layer.cumulative_length = length
        return layer

    def fill(self, slots: int) -> None:
        """Show so many slots of the buffers."""
        self.keys, self.values = (buffer[:, :, :slots] for buffer in self.buffers)

    def get_seq_length(self) -> int:
        """Slots so far, the dropped ones included."""
        return self.keys.shape[2] + self.dropped  # type: ignore[union-attr]
