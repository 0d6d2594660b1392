"""Timing of several ways to do the same thing, on a machine that is never quite still.

The ways take turns, and only ratios of their times are compared.
"""

import random
import statistics
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from transformers import StoppingCriteria, StoppingCriteriaList

from decoding.engine.transformers_api import DEFAULT_CACHE_NAME

TEXT = "The history of the deep sea is a history of people who went down in small boats. "


def clock() -> float:
    """Seconds of this thread's own work, if there is one thread: other processes do not count. Otherwise real time."""
    return time.thread_time() if torch.get_num_threads() == 1 else time.perf_counter()


class Ticks(StoppingCriteria):
    """A stopping criterion that stops nothing and notes the time of each token. Every loop calls it once a token."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        """(R, T) -> (R,) bool, all False."""
        self.times.append(clock())
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)

    @property
    def step(self) -> float:
        """Seconds for each token after the first, whose time includes the reading of the prompt."""
        return (self.times[-1] - self.times[0]) / (len(self.times) - 1)


@dataclass(frozen=True)
class Way:
    """One way to make tokens.

    Args:
        call: what is timed, a function of stopping criteria.
        models: all models that it runs.
        whole: time the whole call with its prompt, instead of a step.
    """

    call: Callable[[StoppingCriteriaList], Any]
    models: Sequence[Any] = ()
    whole: bool = False

    def seconds(self) -> float:
        """The seconds of a step, or of the whole call."""
        ticks, start = Ticks(), clock()
        self.call(StoppingCriteriaList([] if self.whole else [ticks]))
        return clock() - start if self.whole else ticks.step


def measure(
    ways: Mapping[str, Way], rounds: int, seed: int = 0, tick: Callable[[], Any] = lambda: None
) -> dict[str, list[float]]:
    """Time every way in every round. In each round every way runs once, in an order drawn at random.

    Args:
        ways: the ways, by name.
        rounds: the number of timing rounds.
        seed: the seed of the orders.
        tick: a function that is called after each way. Its time is not counted.

    Returns:
        The seconds of each round, for each way.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    order = random.Random(seed)
    for number in range(rounds):
        for name in order.sample(list(ways), len(ways)):
            torch.manual_seed(number)
            seconds[name].append(ways[name].seconds())
            tick()
    return seconds


def ratios(seconds: Mapping[str, Sequence[float]], above: str, below: Sequence[str]) -> list[float]:
    """For each round, the seconds of `above` divided by the sum of the seconds of those in `below`."""
    bases = zip(*(seconds[name] for name in below), strict=True)
    return [value / sum(base) for value, base in zip(seconds[above], bases, strict=True)]


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the median.

    It is exact and free of assumptions from six values on. With fewer it is the range.
    """
    if len(values) < 6:
        return min(values), max(values)
    from scipy.stats import quantile_test

    low, high = quantile_test(values, p=0.5).confidence_interval(0.95)
    return float(low), float(high)


@dataclass
class Cost:
    """What a call needs beside time, counted exactly.

    Args:
        forwards: forward passes of all models.
        positions: rows times tokens that they read.
        cache: bytes of keys, values and other states; the most that were held during a forward pass.
        peak: bytes of all tensors beside the weights; the most at any time.
        output: what the call returned.
    """

    forwards: int = 0
    positions: int = 0
    cache: int = 0
    peak: int = 0
    output: Any = field(default=None, repr=False)


def count(way: Way) -> Cost:
    """Count the costs of a way. It runs twice: once with a tally of all tensors, once with hooks on its models."""
    torch.manual_seed(0)
    with Tally(way.models) as tally:  # runs first, so that the probes of a model's first use are not counted below
        way.call(StoppingCriteriaList([Ticks()]))
    cost, handles, caches = Cost(peak=tally.peak), [], weakref.WeakSet[Any]()

    def read(_: Any, args: Any, kwargs: Any) -> None:
        cost.positions += (args[0] if args else kwargs["input"]).numel()

    def seen(_: Any, __: Any, out: Any) -> None:
        cost.forwards += 1
        caches.add(out[DEFAULT_CACHE_NAME])
        cost.cache = max(cost.cache, held(caches))

    for model in dict.fromkeys(way.models):
        handles.append(model.get_input_embeddings().register_forward_pre_hook(read, with_kwargs=True))
        handles.append(model.register_forward_hook(seen))
    try:
        torch.manual_seed(0)
        cost.output = way.call(StoppingCriteriaList([Ticks()]))
    finally:
        for handle in handles:
            handle.remove()
    return cost


def held(caches: Iterable[Any]) -> int:
    """Bytes of the caches' tensors, with their unused room. What caches share counts once."""
    storages = {}
    for layer in (layer for cache in caches for layer in cache.layers):
        for value in vars(layer).values():
            for tensor in value if isinstance(value, (list, tuple)) else [value]:
                if isinstance(tensor, Tensor):
                    storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
    return sum(storages.values())


class Tally(TorchDispatchMode):
    """Count the bytes of all storages that operations return and that are still alive. `peak` is the most of them.

    Args:
        models: models whose weights do not count.
    """

    def __init__(self, models: Iterable[Any]) -> None:
        super().__init__()
        self.alive: dict[int, int] = {}
        self.peak = self.now = 0
        weights = (value for model in models for value in (*model.parameters(), *model.buffers()))
        self.weights = {value.untyped_storage()._cdata for value in weights}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        tree_map_only(Tensor, self.see, out)
        return out

    def see(self, tensor: Tensor) -> None:
        """Count a storage once, until it is freed."""
        if tensor.layout != torch.strided:
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self.alive or key in self.weights:
            return
        self.alive[key] = storage.nbytes()
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self.drop, key)

    def drop(self, key: int) -> None:
        """Stop counting a storage, which has been freed."""
        self.now -= self.alive.pop(key, 0)


def summary(values: Sequence[float]) -> dict[str, Any]:
    """The median and its interval."""
    return {"median": statistics.median(values), "interval": list(interval(values))}
