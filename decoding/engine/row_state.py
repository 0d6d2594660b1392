"""Everything of a context that a forward changes: what it leaves, row by row, and the rows chosen since."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from transformers.utils import ModelOutput

from .caches import copy_cache, gather_rows
from .hidden_states import HiddenStates, is_identity
from .prefix_sharing import PrefixTree
from .transformers_api import DEFAULT_CACHE_NAME


@dataclass
class RowState:
    """What the last forward left, for its rows; `gather` brings it to the rows that were chosen since.

    inputs: what transformers prepared for the model, brought up to date after each forward.
    batch: the number of rows of the last forward.
    cache: an output of the model's that holds the cache alone, under the name that this family gives it.
    outputs: what the caller asked to see of the last forward.
    logits: (batch, V) float32; None where they are still to be made of `last_hidden`.
    last_hidden: (batch, D) the last tokens' hidden states; None where the logits were made with them.
    hidden_states: of everything fed, for the present rows; None where they are not kept.
    rows: (R,) int64, the rows chosen since the last forward; None where none were.
    tree: the cache as a tree, where rows share their prefix; None where each has a cache row of its own.
    """

    inputs: dict[str, Any]
    batch: int
    cache: ModelOutput = field(default_factory=ModelOutput)
    outputs: dict[str, Any] = field(default_factory=dict)
    logits: Tensor | None = None
    last_hidden: Tensor | None = None
    hidden_states: HiddenStates | None = None
    rows: Tensor | None = None
    tree: PrefixTree | None = None

    def choose(self, rows: Tensor) -> None:
        """Compose a choice of `rows` (R',) int64 with those before it; nothing is copied."""
        self.rows = rows if self.rows is None else self.rows[rows]
        if self.hidden_states is not None:
            self.hidden_states.select(rows)

    def keep(self, hidden: Tensor, anew: bool = False) -> None:
        """Keep the (R, n, D) hidden states of what was just fed; anew: of everything fed."""
        if self.hidden_states is None or anew:
            self.hidden_states = HiddenStates(hidden)
        else:
            self.hidden_states.append(hidden)

    def at_present_rows(self, value: Any) -> Any:
        """A `value` of the last forward's rows, gathered for the present ones; it may be tensors in containers."""
        return value if self.rows is None else gather_rows(value, self.rows, self.batch)

    def inputs_at(self, rows: Tensor) -> dict[str, Any]:
        """The model's inputs at `rows` (R',) int64 of the last forward."""
        inputs = {name: gather_rows(value, rows, self.batch) for name, value in self.inputs.items()}
        position = self.inputs.get("position_ids")
        if position is not None and position.dim() == 3:  # of multimodal models: (3, R, T)
            inputs["position_ids"] = position[:, rows]
        return inputs

    def gather(self) -> None:
        """Bring everything to the rows chosen since the last forward."""
        if self.rows is not None and not is_identity(self.rows, self.batch):
            self.inputs = self.inputs_at(self.rows)
            if self.tree is None:
                self.cache = self.at_present_rows(self.cache)
            else:
                self.tree.select_rows(self.rows)
            self.outputs = self.at_present_rows(self.outputs)
            self.logits = self.at_present_rows(self.logits)
            self.last_hidden = self.at_present_rows(self.last_hidden)
            self.batch = len(self.rows)
        self.rows = None

    def take_cache_out_of_inputs(self) -> None:
        """`cache` holds it from now on, and gathering must not move it twice."""
        for name in self.cache:
            self.inputs.pop(name, None)

    def copy(self) -> "RowState":
        """The same state, but for the hidden states of what was fed, to be fed in another way.

        What is fed to one of the two is not seen by the other; the tensors of the cache are in both, and not written.
        Only for a state whose cache `can_be_copied`, and that has no tree yet.
        """
        cache = type(self.cache)(**{DEFAULT_CACHE_NAME: copy_cache(self.cache[DEFAULT_CACHE_NAME])})
        return RowState(
            dict(self.inputs), self.batch, cache, dict(self.outputs), self.logits, self.last_hidden, rows=self.rows
        )
