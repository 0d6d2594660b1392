"""What a model was seen to do when rows shared a forward, and how two ways of feeding a step are compared.

Some models are wrong without an error when siblings share a forward (they see to positions or reach by themselves), so
no list of names decides: `Context` feeds a step both ways, on the prompt in hand, and remembers here what it saw.
"""

import inspect
import logging
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from .lm_head import project


@dataclass(frozen=True)
class Verdict:
    """What a model was seen to do. shares: siblings in one forward are right. headless: so is its head, run apart."""

    shares: bool
    headless: bool = False


# By model, then by what the answer may depend on. A model is asked once, by `Context._prove`.
VERDICTS: WeakKeyDictionary[Any, dict[tuple, Verdict]] = WeakKeyDictionary()


def is_known_headless(model: Any) -> bool:
    """Whether a model's last states were seen to be what its body hands to its head."""
    return any(verdict.headless for verdict in VERDICTS.get(model, {}).values())


def is_headless(model: Any, hidden: Tensor, logits: Tensor) -> bool:
    """Whether a model's head makes the (R, V) `logits` of (R, D) `hidden` states, run apart from its body."""
    if "logits_to_keep" not in inspect.signature(model.forward).parameters:
        return False
    try:
        return is_same(project(model, hidden).float(), logits, model.dtype)
    except Exception as error:
        logging.getLogger(__name__).debug("%s: its head alone: %r", type(model).__name__, error)
        return False


def is_same(one: Tensor, other: Tensor, dtype: torch.dtype) -> bool:
    """Whether rows are equal but for rounding in `dtype`, or in float32, which some models use within float64.

    The length of their difference is at most the root of the precision: to see a wrong token makes far more.
    """
    distance = (one - other).norm(dim=-1) / other.norm(dim=-1)
    precision = max(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps)
    return bool((distance <= precision**0.5).all())
