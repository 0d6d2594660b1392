"""The step from hidden states to logits, apart from the forward that made the hidden states.

A look-ahead needs the hidden states of all candidates, but the logits of one. So the forward is told to make no logits.
Once the winner is known, the head runs for it alone, with whatever the model does around its head (scaling, soft caps).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast


class HeadlessError(RuntimeError):
    """A model whose head cannot be run alone."""


def no_logits(device: torch.device | str) -> Tensor:
    """The value of `logits_to_keep` with which a forward makes no logits."""
    return torch.empty(0, dtype=torch.long, device=device)


def project_to_logits(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    """(R, D) last-layer hidden states -> (R, V) logits: the model's own forward, without running its backbone.

    Raises:
        HeadlessError: the model has no backbone apart from its head.
    """
    name = getattr(model, "base_model_prefix", "")
    if not isinstance(model, PreTrainedModel) or getattr(model, name, model) is model:
        raise HeadlessError(f"{type(model).__name__} has no backbone that could be left out")
    head: Any = HeadOnly(model, name, hidden[:, None])
    dummy = torch.zeros(len(hidden), 1, dtype=torch.long, device=hidden.device)
    return type(model).forward(head, input_ids=dummy, use_cache=False, return_dict=True).logits[:, 0]


@contextmanager
def capture_last_hidden_states(model: PreTrainedModel) -> Iterator[list[Tensor]]:
    """The last layer's hidden states (B, T, D) of forwards in this thread, as the backbone hands them to the head.

    The list that is yielded grows by one or more entries a forward; the last is the outermost backbone's.
    `output_hidden_states` would keep those of every layer, and hang a hook on each of them.
    """
    captured: list[Tensor] = []
    thread = get_ident()

    def capture_output(module: Any, args: Any, out: Any) -> None:
        if get_ident() == thread:  # skip a forward pass of the same model in another thread
            captured.append(out[0])

    backbone: Any = model.get_decoder() if hasattr(model, "get_decoder") else model
    hook = backbone.register_forward_hook(capture_output)
    try:
        yield captured
    finally:
        hook.remove()


class HeadOnly:
    """A model whose backbone is replaced by a `FixedBackbone`, so that its `forward` runs the head alone."""

    def __init__(self, model: PreTrainedModel, name: str, hidden: Tensor) -> None:
        self._model = model
        setattr(self, name, FixedBackbone(hidden))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


class FixedBackbone:
    """A stand-in for a backbone and for any part of it. Every call returns the same hidden states."""

    def __init__(self, hidden: Tensor) -> None:
        self.output = FixedOutput(last_hidden_state=hidden)

    def __call__(self, *args: Any, **kwargs: Any) -> "FixedOutput":
        """Return the hidden states."""
        return self.output

    def __getattr__(self, name: str) -> "FixedBackbone":
        return self


class FixedOutput(BaseModelOutputWithPast):
    """The output of a backbone. All further fields, which only some families have, are None."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)
