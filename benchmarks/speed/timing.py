"""Measuring ways of doing the same thing on a machine that is never quite still: in turns, and only by ratios."""

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

TEXT = "The history of the deep sea is a history of people who went down in small boats. "


def clock() -> float:
    """Seconds: of this thread's own work where there is one thread, so that other processes do not count; else real."""
    return time.thread_time() if torch.get_num_threads() == 1 else time.perf_counter()


class Ticks(StoppingCriteria):
    """Stops nothing; notes when each token was there. Every loop calls it once a token."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        """(R, T) -> (R,) bool, all False."""
        self.times.append(clock())
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)

    @property
    def step(self) -> float:
        """Seconds a token after the first one, which has the prompt's reading in it."""
        return (self.times[-1] - self.times[0]) / (len(self.times) - 1)


@dataclass(frozen=True)
class Way:
    """One way to make tokens.

    Args:
        call: what is timed; it takes stopping criteria. models: all that it runs. whole: time the whole call, prompt
            and all, instead of a step.
    """

    call: Callable[[StoppingCriteriaList], Any]
    models: Sequence[Any] = ()
    whole: bool = False

    def seconds(self) -> float:
        """Of a step, or of the whole call."""
        ticks, start = Ticks(), clock()
        self.call(StoppingCriteriaList([] if self.whole else [ticks]))
        return clock() - start if self.whole else ticks.step


def measure(
    ways: Mapping[str, Way], rounds: int, seed: int = 0, tick: Callable[[], Any] = lambda: None
) -> dict[str, list[float]]:
    """Seconds of every way in every round: each round has every way once, in an order that is drawn anew.

    Args:
        tick: is called after each way, in time that is not counted.
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
    """In each round, what `above` takes over what those of `below` take together."""
    bases = zip(*(seconds[name] for name in below), strict=True)
    return [value / sum(base) for value, base in zip(seconds[above], bases, strict=True)]


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Of the median: 95 %, exact and free of assumptions, from six values on; of fewer, from the least to the most."""
    if len(values) < 6:
        return min(values), max(values)
    from scipy.stats import quantile_test

    low, high = quantile_test(values, p=0.5).confidence_interval(0.95)
    return float(low), float(high)


@dataclass
class Cost:
    """What a call needs beside time, counted exactly.

    forwards: of all models. positions: rows times tokens that they read. cache: bytes of keys and values and the like,
    the most that were held during a forward. peak: bytes of all tensors beside the weights, the most at any time.
    output: what the call returned.
    """

    forwards: int = 0
    positions: int = 0
    cache: int = 0
    peak: int = 0
    output: Any = field(default=None, repr=False)


def count(way: Way) -> Cost:
    """Run it twice: once with a tally of all tensors, once with hooks on its models."""
    torch.manual_seed(0)
    with Tally(way.models) as tally:  # first: what a model is tried for on its first use is not counted below
        way.call(StoppingCriteriaList([Ticks()]))
    cost, handles, caches = Cost(peak=tally.peak), [], weakref.WeakSet[Any]()

    def read(_: Any, args: Any, kwargs: Any) -> None:
        cost.positions += (args[0] if args else kwargs["input"]).numel()

    def seen(_: Any, __: Any, out: Any) -> None:
        cost.forwards += 1
        caches.add(out.past_key_values)
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
    """Bytes of the caches' tensors, with the room that they have beyond what is filled; what is shared counts once."""
    storages = {}
    for layer in (layer for cache in caches for layer in cache.layers):
        for value in vars(layer).values():
            for tensor in value if isinstance(value, (list, tuple)) else [value]:
                if isinstance(tensor, Tensor):
                    storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
    return sum(storages.values())


class Tally(TorchDispatchMode):
    """Bytes of all storages that operations return and that are still alive; `peak` is the most there were.

    Args:
        models: their weights do not count.
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
        """Count a storage once, and until it is freed."""
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
        """It is freed."""
        self.now -= self.alive.pop(key, 0)


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Median and its interval."""
    return {"median": statistics.median(values), "interval": list(interval(values))}
