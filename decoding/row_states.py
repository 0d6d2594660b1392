"""What pickers keep of each row from one token to the next, under keys that know what their values are."""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from torch import Tensor

Kept = TypeVar("Kept", bound=Tensor | list[Any])


@dataclass(frozen=True, eq=False)
class State(Generic[Kept]):
    """The name of something that a picker keeps of each row: a key of `Hypotheses.state`.

    Two of one name are two keys, so that no two pickers meet by accident: make one, at the top of a module.

    Args:
        name: for messages.

    Example:
        >>> import torch
        >>> CHOSEN = State[torch.Tensor]("tokens so far")
        >>> states = RowStates()
        >>> states[CHOSEN] = torch.tensor([4, 7])
        >>> states.select(torch.tensor([1, 1, 0]))
        >>> states[CHOSEN]
        tensor([7, 7, 4])
    """

    name: str


class RowStates:
    """What pickers keep of each row, by `State`: tensors (R, ...) and lists of R entries, which follow the rows."""

    def __init__(self) -> None:
        self._kept: dict[State[Any], Any] = {}

    def __getitem__(self, key: State[Kept]) -> Kept:
        return self._kept[key]

    def __setitem__(self, key: State[Kept], value: Kept) -> None:
        self._kept[key] = value

    def __contains__(self, key: State[Any]) -> bool:
        return key in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: State[Kept], default: Kept) -> Kept:
        """What is kept under a key, or the default."""
        return self._kept.get(key, default)

    def remove(self, key: State[Kept]) -> Kept | None:
        """What was kept under a key, and is no longer; None where there was nothing."""
        return self._kept.pop(key, None)

    def select(self, rows: Tensor) -> None:
        """Go on with `rows` (R',) int64."""
        for key, kept in self._kept.items():
            self._kept[key] = kept[rows] if isinstance(kept, Tensor) else [kept[row] for row in rows.tolist()]
