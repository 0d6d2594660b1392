"""The state of a context that a forward pass changes: its results row by row, and the rows chosen since."""

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
    """The results of the last forward pass, for its rows. `gather` moves them to the rows chosen since.

    Attributes:
        inputs: what transformers prepared for the model, brought up to date after each forward pass.
        batch: the number of rows of the last forward pass.
        cache: a model output that holds only the cache, under the name that this family gives it.
        outputs: what the caller asked to see of the last forward pass.
        logits: (batch, V) float32; None if they must still be made from `last_hidden`.
        last_hidden: (batch, D) hidden states of the last tokens; None if the logits are made already.
        hidden_states: the hidden states of everything fed, for the present rows; None if they are not kept.
        rows: (R,) int64, the rows chosen since the last forward pass; None if none were.
        tree: the cache as a tree, if rows share their prefix; None if each row has a cache row of its own.
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
        """Choose `rows` (R',) int64 among the rows chosen before. Nothing is copied."""
        self.rows = rows if self.rows is None else self.rows[rows]
        if self.hidden_states is not None:
            self.hidden_states.select(rows)

    def keep(self, hidden: Tensor, anew: bool = False) -> None:
        """Keep the (R, n, D) hidden states of the tokens just fed or, with `anew`, of everything fed."""
        if self.hidden_states is None or anew:
            self.hidden_states = HiddenStates(hidden)
        else:
            self.hidden_states.append(hidden)

    def at_present_rows(self, value: Any) -> Any:
        """Gather a `value` of the last forward pass for the present rows. It may hold tensors in containers."""
        return value if self.rows is None else gather_rows(value, self.rows, self.batch)

    def inputs_at(self, rows: Tensor) -> dict[str, Any]:
        """The model's inputs for `rows` (R',) int64 of the last forward pass."""
        inputs = {name: gather_rows(value, rows, self.batch) for name, value in self.inputs.items()}
        position = self.inputs.get("position_ids")
        if position is not None and position.dim() == 3:  # multimodal models have (3, R, T)
            inputs["position_ids"] = position[:, rows]
        return inputs

    def gather(self) -> None:
        """Gather everything for the rows chosen since the last forward pass."""
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
        """Remove the cache from the inputs. `cache` holds it now, and it must not be gathered twice."""
        for name in self.cache:
            self.inputs.pop(name, None)

    def copy(self) -> "RowState":
        """Copy the state, without the hidden states of what was fed, to feed it in another way.

        Neither of the two sees what is fed to the other. Both have the tensors of the cache, which are not written
        into. This is for a state whose cache `can_be_copied`, and that has no tree yet.
        """
        cache = type(self.cache)(**{DEFAULT_CACHE_NAME: copy_cache(self.cache[DEFAULT_CACHE_NAME])})
        return RowState(
            dict(self.inputs), self.batch, cache, dict(self.outputs), self.logits, self.last_hidden, rows=self.rows
        )
