"""Keys and values in slots: what is written, kept, moved and dropped is what plain tensors would have."""

import pytest
import torch
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from decoding.engine.slot_layer import BLOCK, SlotLayer


def some(rows, slots, seed=0):
    return torch.randn(rows, 2, slots, 4, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def read():
    """A layer that read a prompt of 6 tokens in 3 rows, and what it read."""
    layer, keys, values = DynamicLayer(), some(3, 6), some(3, 6, 1)
    layer.update(keys, values)
    return SlotLayer(layer, limit=20), keys, values


def test_new_tokens_stand_behind_the_others_and_the_buffer_grows_by_blocks(read):
    layer, keys, values = read
    places = set()
    for step in range(BLOCK + 4):
        new = some(3, 1, step + 2)
        keys, values = torch.cat([keys, new], dim=2), torch.cat([values, -new], dim=2)
        shown = layer.update(new, -new)
        places.add(layer.buffers[0].data_ptr())
        assert torch.equal(shown[0], keys)
        assert torch.equal(shown[1], values)
    assert layer.get_seq_length() == 6 + BLOCK + 4
    assert len(places) <= 3


def test_rows_and_slots_are_kept_and_moved(read):
    layer, keys, values = read
    layer.keep_slots(torch.tensor([2, 0]), 2, torch.tensor([[3, 0], [1, 2]]))
    expected = [torch.cat([t[row, :, :2], t[row][:, slots]], 1) for t in (keys, values)
                for row, slots in ((2, [5, 2]), (0, [3, 4]))]  # fmt: skip
    assert torch.equal(layer.keys, torch.stack(expected[:2]))
    assert torch.equal(layer.values, torch.stack(expected[2:]))


def test_the_first_slots_in_their_order_are_not_moved(read):
    layer, keys, _ = read
    before = layer.buffers[0].data_ptr()
    layer.keep_slots(None, 3, torch.tensor([[0, 1]] * 3), kept=2)
    assert torch.equal(layer.keys, keys[:, :, :5])
    assert layer.buffers[0].data_ptr() == before


def test_dropped_slots_still_count(read):
    layer, keys, _ = read
    layer.drop_slots(2)
    assert torch.equal(layer.keys, keys[:, :, 2:])
    assert layer.get_seq_length() == 6


def test_a_plain_layer_of_it_has_the_same(read):
    layer, keys, values = read
    plain = layer.to_dynamic_layer()
    assert type(plain) is DynamicLayer
    assert torch.equal(plain.keys, keys)
    assert torch.equal(plain.values, values)


def test_a_sliding_window_goes_back_into_one():
    layer, keys = DynamicSlidingWindowLayer(4), some(1, 6)
    layer.update(keys, keys)
    ours = SlotLayer(layer, limit=20)
    assert ours.dropped == 3  # a window of 4 keeps the 3 that the next token sees beside itself
    plain = ours.to_dynamic_layer()
    assert type(plain) is DynamicSlidingWindowLayer
    assert plain.get_seq_length() == 6
    assert torch.equal(plain.keys, keys[:, :, 3:])
