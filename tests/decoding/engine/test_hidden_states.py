"""The states of a context: unit length, kept once, in the order of the rows, whatever forks and merges there were."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from decoding.engine.hidden_states import BLOCK, HiddenStates, is_identity, scaled_to_unit_length


def some(rows, tokens, seed=0):
    return torch.randn(rows, tokens, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=40)
@given(st.data())
def test_any_program_of_appending_and_selecting_equals_plain_tensors(data):
    kept = some(3, 5)
    states = HiddenStates(kept)
    for step in range(data.draw(st.integers(1, 8))):
        if data.draw(st.booleans()):
            rows = torch.tensor(data.draw(st.lists(st.integers(0, len(kept) - 1), min_size=1, max_size=5)))
            kept = kept[rows]
            states.select(rows)
        new = some(len(kept), data.draw(st.integers(1, 3)), seed=step + 1)
        kept = torch.cat([kept, new], dim=1)
        states.append(new)
        torch.testing.assert_close(states.newest(), scaled_to_unit_length(kept)[:, -1])
        if data.draw(st.booleans()):
            torch.testing.assert_close(states.all(), scaled_to_unit_length(kept))
    torch.testing.assert_close(states.all(), scaled_to_unit_length(kept))


def test_a_token_is_written_once_until_the_buffer_is_full():
    states = HiddenStates(some(2, 5))
    states.append(some(2, 1))
    first = states.all().data_ptr()
    for _ in range(BLOCK):
        states.append(some(2, 1))
        assert states.all().data_ptr() == first
    states.append(some(2, 1))
    assert states.all().data_ptr() != first


def test_half_precision_becomes_float32():
    states = HiddenStates(some(1, 2).to(torch.bfloat16))
    assert states.all().dtype == torch.float32
    torch.testing.assert_close(states.all().norm(dim=-1), torch.ones(1, 2))


def test_identity():
    assert is_identity(torch.tensor([0, 1, 2]), 3)
    assert not is_identity(torch.tensor([0, 1]), 3)
    assert not is_identity(torch.tensor([0, 2, 1]), 3)
