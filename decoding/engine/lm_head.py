"""The step from hidden states to logits, apart from the forward that made the states.

A look-ahead needs the states of all candidates and the logits of one. So the forward is told to keep no logits, and the
head, with whatever a model does around it (scaling, soft caps), runs once the winner is known.
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
    """What `logits_to_keep` is given so that the output embedding multiplies nothing."""
    return torch.empty(0, dtype=torch.long, device=device)


def project(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    """(R, D) last-layer hidden states -> (R, V) logits, by the model's own forward around a body that is not run.

    Raises:
        HeadlessError: the model has no body apart from its head.
    """
    name = getattr(model, "base_model_prefix", "")
    if not isinstance(model, PreTrainedModel) or getattr(model, name, model) is model:
        raise HeadlessError(f"{type(model).__name__} has no body that could be left out")
    head: Any = Bodiless(model, name, hidden[:, None])
    dummy = torch.zeros(len(hidden), 1, dtype=torch.long, device=hidden.device)
    return type(model).forward(head, input_ids=dummy, use_cache=False, return_dict=True).logits[:, 0]


@contextmanager
def overhear(model: PreTrainedModel) -> Iterator[list[Tensor]]:
    """For forwards of this thread: the last layer's states (B, T, D), as the body hands them to the head.

    `output_hidden_states` would keep those of every layer, and hang a hook on each of them.
    """
    said: list[Tensor] = []
    thread = get_ident()

    def listen(module: Any, args: Any, out: Any) -> None:
        if get_ident() == thread:
            said.append(out[0])  # of a body that is a part of another, the last to speak is the outermost

    body: Any = model.get_decoder() if hasattr(model, "get_decoder") else model
    hook = body.register_forward_hook(listen)
    try:
        yield said
    finally:
        hook.remove()


class Bodiless:
    """A model in all but its body, for `forward`, and of no other use."""

    def __init__(self, model: PreTrainedModel, name: str, hidden: Tensor) -> None:
        self._model = model
        setattr(self, name, Body(hidden))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


class Body:
    """What stands for a body, and for any part of it: it says what it was given, whatever it is asked."""

    def __init__(self, hidden: Tensor) -> None:
        self.said = Said(last_hidden_state=hidden)

    def __call__(self, *args: Any, **kwargs: Any) -> "Said":
        """The states."""
        return self.said

    def __getattr__(self, name: str) -> "Body":
        return self


class Said(BaseModelOutputWithPast):
    """A body's output; of what some families have beside, there is nothing."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)
