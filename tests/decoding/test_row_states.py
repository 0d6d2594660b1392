"""What pickers keep of each row, under keys of their own, follows the rows."""

import torch

from decoding.row_states import RowStates, State


def test_what_is_kept_of_rows_follows_them_under_its_own_key():
    one, two = State[torch.Tensor]("same name"), State[list]("same name")
    kept = RowStates()
    assert not kept
    kept[one], kept[two] = torch.tensor([[1], [2]]), ["a", "b"]
    kept.select(torch.tensor([1, 1, 0]))
    assert (kept[one].tolist(), kept[two]) == ([[2], [2], [1]], ["b", "b", "a"])
    assert (len(kept), two in kept, kept.get(State("same name"), [])) == (2, True, [])
    assert kept.remove(two) == ["b", "b", "a"]
    assert (kept.remove(two), two in kept, len(kept)) == (None, False, 1)
