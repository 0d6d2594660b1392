"""Whether rows may share their prefix. This depends on what a context holds, and on what its model was seen to do.

Some models give wrong results without an error when branches share a forward pass, since they compute positions or the
reach of attention by themselves. So no list of names decides. The first time, `Context` feeds a step both ways, on its
own prompt, and the result is kept here.
"""

import inspect
import logging
from dataclasses import dataclass
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from .lm_head import HeadlessError, project_to_logits
from .prefix_sharing import holds_keys_and_values_alone
from .prepared_prompt import content_of
from .row_state import RowState
from .transformers_api import DEFAULT_CACHE_NAME, PROMPT_ALONE, attention_of

# what a configuration calls the reach of attention; where the cache knows of none, the model works it out by itself
REACHES = ("window_size", "attention_window", "attention_window_size", "sliding_window", "attention_chunk_size")
# What a model may raise where it meets a mask, positions or a cache that it does not expect. Then its answer is no, and
# the general path goes on. Nothing else is an answer, so anything else is raised: a warning that the caller has turned
# into an error, a lack of memory, an interruption.
REFUSALS = (RuntimeError, ValueError, TypeError, AttributeError, LookupError, AssertionError)
ATTENTION = {"full_attention", "sliding_attention"}  # the kinds of layers that a `PrefixTree` can make masks for


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
        """The results of this model, by circumstances."""
        with self._lock:
            return dict(self._results.get(model, {}))

    def remember(self, model: Any, circumstances: tuple, result: ProbeResult) -> None:
        """Keep a result as long as its model exists."""
        with self._lock:
            self._results.setdefault(model, {})[circumstances] = result

    def knows_headless(self, model: Any) -> bool:
        """Whether the last hidden states of a model were seen to be what its backbone hands to its head."""
        return any(result.headless for result in self.of_model(model).values())


# The one object of the process, because a model outlives the calls that use it, and it is the caller's: nothing may be
# written into it. What is in here changes how fast later calls are, never what they give.
PROBED = ProbeResults()


def holds_text_alone(model: Any, state: RowState) -> bool:
    """Whether what was read is text, in a cache of keys and values of our own, by a model that may obey a mask."""
    inputs, config = state.inputs, model.config.get_text_config(decoder=True)
    if model.config.is_encoder_decoder or not inputs["use_cache"]:
        return False
    if any(inputs.get(name) is not None and inputs[name].dim() != 2 for name in ("position_ids", "attention_mask")):
        return False
    if any(name not in PROMPT_ALONE for name in content_of(inputs)):
        return False
    cache: Any = state.cache.get(DEFAULT_CACHE_NAME)
    if not holds_keys_and_values_alone(cache) or not set(getattr(config, "layer_types", None) or ()) <= ATTENTION:
        return False
    return any(cache.is_sliding) or not any(getattr(config, name, None) for name in REACHES)


def circumstances_of(model: Any, state: RowState) -> tuple:
    """Everything that a result may depend on, beside the model."""
    config, mask = model.config.get_text_config(decoder=True), state.inputs.get("attention_mask")
    padded = mask is not None and not bool(mask.all())
    layers = state.cache[DEFAULT_CACHE_NAME].layers
    full = any(layer.get_seq_length() >= getattr(layer, "sliding_window", torch.inf) for layer in layers)
    return attention_of(config), model.dtype, model.device, padded, full


def rows_to_compare(state: RowState) -> Tensor:
    """(n,) int64, n at most 3: a second branch, the last row, and one of the prompt with the most padding.

    A few rows are enough to tell. To feed all of them in the general way too would take a copy of the cache for each,
    which is what sharing is there to spare.
    """
    count = state.batch if state.rows is None else len(state.rows)
    mask = state.at_present_rows(state.inputs.get("attention_mask"))
    padded = 0 if mask is None else int(mask.sum(-1).argmin())
    return torch.tensor(sorted({min(1, count - 1), count - 1, padded}))


def is_headless(model: Any, hidden: Tensor, logits: Tensor) -> bool:
    """Whether a model's head, run apart, makes the (R, V) `logits` of the (R, D) `hidden` states."""
    if "logits_to_keep" not in inspect.signature(model.forward).parameters:
        return False
    try:
        return is_same(project_to_logits(model, hidden).float(), logits, model.dtype)
    except torch.OutOfMemoryError:  # a RuntimeError, and no answer
        raise
    except HeadlessError as error:  # expected: there are models without a backbone of their own
        logging.getLogger(__name__).debug("%s", error)
    except REFUSALS as error:
        report_refusal(model, "its head cannot run apart from the rest", error)
    return False


def report_refusal(model: Any, what: str, error: Exception) -> None:
    """Say that a model is used in a slower way than others, and because of which error: the tokens are the same."""
    name = type(model).__name__
    logging.getLogger(__name__).warning("%s: %s, so calls are slower; their tokens are the same: %r", name, what, error)


def is_same(one: Tensor, other: Tensor, dtype: torch.dtype) -> bool:
    """Whether rows are equal but for rounding in `dtype`, or in float32, which some models use within float64.

    The length of their difference may be the square root of the precision; a token seen wrongly makes far more.
    """
    distance = (one - other).norm(dim=-1) / other.norm(dim=-1)
    precision = max(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps)
    return bool((distance <= precision**0.5).all())
