"""What models were seen to do when rows shared their prefix, and how two ways of feeding a step are compared.

Some models are wrong without an error when branches share a forward: they work out positions or reach by themselves.
So no list of names decides. The first time, `Context` feeds a step both ways, on the prompt in hand, and what it saw is
remembered here.
"""

import inspect
import logging
from dataclasses import dataclass
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from .lm_head import project_to_logits


@dataclass(frozen=True)
class ProbeResult:
    """What a model was seen to do.

    shares: rows that share their prefix get what rows of their own get.
    headless: its head, run apart from the forward, gives the same logits.
    """

    shares: bool
    headless: bool = False


class ProbeResults:
    """The results of all probes: for each model, by the circumstances that a result may depend on.

    A result is forgotten with its model. Threads may ask and tell at the same time.
    """

    def __init__(self) -> None:
        self._results: WeakKeyDictionary[Any, dict[tuple, ProbeResult]] = WeakKeyDictionary()
        self._lock = Lock()

    def of_model(self, model: Any) -> dict[tuple, ProbeResult]:
        """By circumstances, what this model was seen to do."""
        with self._lock:
            return dict(self._results.get(model, {}))

    def remember(self, model: Any, circumstances: tuple, result: ProbeResult) -> None:
        """Keep a result for as long as its model lives."""
        with self._lock:
            self._results.setdefault(model, {})[circumstances] = result

    def knows_headless(self, model: Any) -> bool:
        """Whether the last hidden states of a model were seen to be what its backbone hands to its head."""
        return any(result.headless for result in self.of_model(model).values())


# The one object of the process, because a model outlives the calls that use it, and it is the caller's: nothing may be
# written into it. What is in here changes how fast later calls are, never what they give.
PROBED = ProbeResults()


def is_headless(model: Any, hidden: Tensor, logits: Tensor) -> bool:
    """Whether a model's head, run apart, makes the (R, V) `logits` of the (R, D) `hidden` states."""
    if "logits_to_keep" not in inspect.signature(model.forward).parameters:
        return False
    try:
        return is_same(project_to_logits(model, hidden).float(), logits, model.dtype)
    except Exception as error:
        logging.getLogger(__name__).debug("%s: its head alone: %r", type(model).__name__, error)
        return False


def is_same(one: Tensor, other: Tensor, dtype: torch.dtype) -> bool:
    """Whether rows are equal but for rounding in `dtype`, or in float32, which some models use within float64.

    The length of their difference may be the square root of the precision; a token seen wrongly makes far more.
    """
    distance = (one - other).norm(dim=-1) / other.norm(dim=-1)
    precision = max(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps)
    return bool((distance <= precision**0.5).all())
