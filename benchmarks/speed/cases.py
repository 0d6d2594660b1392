"""Time, memory and forward passes of every method beside its peers: `python -m benchmarks speed`.

All ways of a case (a batch of prompts of one length) take turns in one process. They are compared by ratios within a
timing round. This module loads the models and has the ways and the cases. `timing` times them, and `report` writes the
tables.
"""

import copy
import json
import os
import platform
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import decoding
import scorers
from scorers._common.files import write_json
from scorers._common.terminal import progress

from . import reranking as rerank
from .options import RESULTS, Reranking
from .options import Speed as Options
from .peers import RepeatedCache
from .timing import TEXT, Way, count, measure

GREEDY = "model.generate, greedy"
RERANKED: dict[str, Any] = {"prefix": 256, "every": 20, "samples": 10, "beams": 2, "new_tokens": 120}


@dataclass(frozen=True)
class Models:
    """The models that are measured.

    Args:
        plain: the model.
        packed: the same model with packed weights. None if it is not asked for or not possible.
        expert: a second model.
        tokenizer: the tokenizer of the model.
    """

    plain: Any
    packed: Any
    expert: Any
    tokenizer: Any

    @property
    def bytes(self) -> int:
        """Bytes of the weights that a token reads.

        An input embedding that is not also the output embedding does not count.
        """
        total = sum(value.numel() * value.element_size() for value in self.plain.parameters())
        inputs, outputs = self.plain.get_input_embeddings().weight, self.plain.get_output_embeddings().weight
        return total if inputs is outputs else total - inputs.numel() * inputs.element_size()


QUICK = {
    "contexts": [32],
    "batches": [1],
    "k": [5],
    "rounds": 3,
    "new_tokens": 8,
    "methods": ["plain", "contrastive", "guide", "steer"],
}


def run(options: Options, show: Callable[[str], None]) -> dict[str, Any]:
    """Measure all cases that the folder does not have yet, and return all.

    Each case is written as soon as it is measured.

    Raises:
        ValueError: the model has no room for a context, or the folder has other settings or damaged results.
    """
    if options.quick:
        vars(options).update(QUICK)
    if options.threads:
        torch.set_num_threads(options.threads)
    models = load(options)
    room = getattr(models.plain.config, "max_position_embeddings", None)
    longest = max([*options.contexts, options.second or 0]) + options.new_tokens + 1
    if room and longest > room:
        raise ValueError(f"the model has room for {room} tokens, and {longest} are wanted: lower --contexts")
    results = resume(options.output / RESULTS, describe(options, models))
    for name, batch, make in cases(options, models):
        if name in results["cases"]:
            continue
        show(f"{name}: {batch['title']}")
        results["cases"][name] = {**batch, **examine(make(), options, models)}
        options.output.mkdir(parents=True, exist_ok=True)
        write_json(options.output / RESULTS, results)
    return results


def load(options: Options) -> Models:
    """Load two or three models of the same weights. Their texts do not end before the last token."""
    model, tokenizer = decoding.load(options.model, device="cpu", dtype=options.dtype)
    model.generation_config.eos_token_id = None
    packed = None
    if not options.plain:
        try:
            packed = decoding.pack(copy.deepcopy(model))
        except ValueError as error:
            raise ValueError(f"{error}; to measure without: --plain") from error
    expert = copy.deepcopy(model) if "steer" in options.methods else None
    return Models(model, packed, expert, tokenizer)


def describe(options: Options, models: Models) -> dict[str, Any]:
    """All that the figures depend on, as far as it can be known."""
    return {
        "model": Path(str(models.plain.config.name_or_path)).name,
        "dtype": str(models.plain.dtype).removeprefix("torch."),
        "weights_bytes": models.bytes,
        "threads": torch.get_num_threads(),
        "clock": "thread's own time" if torch.get_num_threads() == 1 else "real time",
        "processor": f"{platform.machine()}, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}",
        "versions": {name: version(name) for name in ("torch", "transformers")},
        "new_tokens": options.new_tokens,
        "rounds": options.rounds,
    }


def resume(file: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The results that an earlier run left. Raises ValueError if it had other settings."""
    if not file.exists():
        return {"settings": settings, "cases": {}}
    try:
        results = json.loads(file.read_text(encoding="utf-8"))
        before = results["settings"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is no result of this command: name another folder, or remove it") from error
    other = [name for name in settings if before.get(name) != settings[name]]
    if other:
        raise ValueError(f"{file} is of another {' and another '.join(other)}: name another folder, or remove it")
    return results


def cases(options: Options, models: Models) -> Iterator[tuple[str, dict[str, Any], Callable[[], dict[str, Way]]]]:
    """Yield the name of each case, its description, and a function that makes its ways."""
    if set(options.methods) - {"rerank"}:
        for batch in options.batches:
            for context in options.contexts:
                name = f"batch {batch}, context {context}"
                if options.second:
                    name += f", second prompt {options.second}"
                about = {"batch": batch, "context": context, "title": "milliseconds a token after the first"}
                yield name, about, partial(token_ways, options, models, batch, context)
    if "rerank" in options.methods:
        about = {"title": "milliseconds in all", **RERANKED}
        yield f"reranking, prefix {RERANKED['prefix']}", about, partial(rerank_ways, models)


def examine(ways: dict[str, Way], options: Options, models: Models) -> dict[str, Any]:
    """The counts of every way, its seconds in every round, and the speed of the machine.

    The speed is the time to read as many bytes as the weights have.
    """
    costs = {}
    block = torch.ones(models.bytes // 4)
    timed = {"read": Way(lambda criteria: block.sum(), whole=True), **ways}
    with progress(len(ways) + len(timed) * options.rounds, "call") as tick:
        for name, way in ways.items():
            costs[name] = count(way)  # this also warms them up
            tick()
        before = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        seconds = measure(timed, options.rounds, tick=tick)
    return {
        "load": [before, os.getloadavg()[0] if hasattr(os, "getloadavg") else None],
        "read_seconds": seconds.pop("read"),
        "ways": {
            name: {
                "seconds": seconds[name],
                **{key: getattr(cost, key) for key in ("forwards", "positions", "cache", "peak")},
                "same_tokens": same(cost.output, costs, name),
            }
            for name, cost in costs.items()
        },
    }


def same(output: Any, costs: dict[str, Any], name: str) -> bool | None:
    """Whether a way gave the same tokens as its peer. None if it has no peer."""
    method = name.removesuffix(", packed").partition(", ")[2]
    peer = next((other for other in costs if other.partition(", ")[2] == method), name)
    if peer == name or not isinstance(output, Tensor):
        return None
    return torch.equal(output, costs[peer].output)


def prompts(models: Models, batch: int, context: int, start: int = 0) -> Tensor:
    """(batch, context) int64: each row begins at another place of a text."""
    words = models.tokenizer(TEXT, return_tensors="pt")["input_ids"][0]
    stream = words.repeat((context + 3 * batch + start) // len(words) + 2)
    return torch.stack([stream[start + 3 * row :][:context] for row in range(batch)])


def token_ways(options: Options, models: Models, batch: int, context: int) -> dict[str, Way]:
    """All ways to continue a batch. A name says who does it and then what. Peers stand before ours."""
    ids = prompts(models, batch, context)
    second = prompts(models, batch, options.second or context, start=7)
    limits = {"max_new_tokens": options.new_tokens, "do_sample": False}
    ways: dict[str, Way] = {}

    def add(name: str, model: Any, call: Callable[..., Any], others: tuple = (), **kwargs: Any) -> None:
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **limits, **kwargs}
        ways[name] = Way(lambda criteria: call(**inputs, stopping_criteria=criteria), (model, *others))

    def ours(model: Any, *parts: Any) -> Callable[..., Any]:
        return lambda **call: decoding.generate(model, **call, processors=list(parts))

    for model, mark in ((models.plain, ""), (models.packed, ", packed")):
        if model is None:
            continue
        add(f"model.generate, greedy{mark}", model, model.generate)
        add(f"ours, greedy{mark}", model, ours(model, decoding.Greedy()))
        if "plain" in options.methods:
            add(f"model.generate, sampling{mark}", model, model.generate, do_sample=True)
            add(f"ours, sampling{mark}", model, ours(model, decoding.Sample()), do_sample=True)
        if "contrastive" in options.methods:
            for k in options.k:
                old = partial(model.generate, custom_generate=RepeatedCache(k))
                add(f"transformers 4.55, contrastive k={k}{mark}", model, old)
                add(f"ours, contrastive k={k}{mark}", model, ours(model, decoding.ContrastiveSearch(k)))
        if "guide" in options.methods:
            scale: dict[str, Any] = {"guidance_scale": 1.5, "negative_prompt_ids": second}
            scale["negative_prompt_attention_mask"] = torch.ones_like(second)
            add(f"model.generate, second prompt{mark}", model, model.generate, **scale)
            add(f"ours, second prompt{mark}", model, ours(model, decoding.NegativePrompt(second, gamma=1.5)))
    if "steer" in options.methods:
        steer = ours(models.plain, decoding.Steer(models.expert, gamma=0.2))
        add("ours, STEER", models.plain, steer, (models.expert,))
        steer = ours(models.plain, decoding.Steer(models.expert, gamma=0.2, eta=0.2, negatives=second))
        add("ours, STEER with negatives", models.plain, steer, (models.expert,))
        add("model.generate, greedy, expert", models.expert, models.expert.generate)
    return ways


def rerank_ways(models: Models) -> dict[str, Way]:
    """RankGen's beam search over segments: the released algorithm and ours."""
    options = Reranking(**RERANKED)
    text = rerank.story(models.plain, models.tokenizer, RERANKED["prefix"])
    ways = {}
    for model, mark in ((models.plain, ""), (models.packed, ", packed")):
        for name, call in (("RankGen's loop", rerank.released), ("ours", rerank.ours)):
            if model is not None:
                work = partial(call, model, models.tokenizer, scorers.Overlap(), [text], options)
                ways[f"{name}, reranking{mark}"] = Way(ignoring(work), (model,), whole=True)
    return ways


def ignoring(work: Callable[[], Any]) -> Callable[[Any], Any]:
    """A call that ignores the stopping criteria."""
    return lambda criteria: work()


def median_ms(seconds: list[float]) -> float:
    """The median in milliseconds."""
    return 1000 * statistics.median(seconds)
