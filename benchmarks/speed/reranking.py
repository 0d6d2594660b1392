"""Segment reranking beside the algorithm that was released with RankGen: `python -m benchmarks.rerank`.

The peer is written from its description. For each prompt and each hypothesis, the tokenizer and the model read the
whole text again, and the cache is thrown away. Both use the same model, the same number of tokens and the same scorer,
and take turns in one run. Times are of one machine in one hour, so compare their ratio, and the positions read.
"""

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import decoding
import scorers
from scorers._common.markdown import markdown_table
from scorers._common.terminal import progress, silence

from .options import Reranking as Options
from .timing import TEXT

COUNTS = ("prefix", "prompts", "every", "samples", "beams", "new_tokens", "rounds")
SAMPLING: dict[str, Any] = {"do_sample": True, "top_k": 50, "top_p": 0.9}
SCORERS: dict[str, Callable[[], scorers.Scorer]] = {
    "overlap": scorers.Overlap,
    "ranker": scorers.Ranker.from_pretrained,
}
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def run(options: Options) -> None:
    """Compare both ways, and print the result."""
    found = compare(options)
    print(json.dumps(found, indent=1) if options.json else table(found))


def compare(options: Options) -> dict[str, Any]:
    """Run both ways in turns.

    Return the seconds of each round, their ratios, and the mean forward passes and positions.
    """
    scorer, clock = SCORERS[options.scorer](), CLOCKS[options.clock]
    silence()
    model, tokenizer = decoding.load(options.model)
    texts = [story(model, tokenizer, options.prefix, seed) for seed in range(options.prompts)]
    ways = {"released": released, "ours": ours}
    short = replace(options, new_tokens=min(options.new_tokens, options.every, 2))
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    read: dict[str, list[tuple[int, int]]] = {name: [] for name in ways}
    with progress(len(ways) * (1 + options.rounds), "run") as tick:
        for way in ways.values():  # a short run to warm up
            way(model, tokenizer, scorer, texts, short)
            tick()
        for number in range(options.rounds):
            for name in list(ways)[:: 1 if number % 2 else -1]:  # the two take turns to go first
                torch.manual_seed(number)
                start = clock()
                read[name].append(reading(model, partial(ways[name], model, tokenizer, scorer, texts, options)))
                seconds[name].append(clock() - start)
                tick()
    return {
        "settings": {name: getattr(options, name) for name in (*COUNTS, "scorer", "clock")},
        "model": Path(str(model.config.name_or_path)).name,
        "dtype": str(model.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in ("torch", "transformers")},
        "prompt_tokens": [len(tokenizer(text)["input_ids"]) for text in texts],
        "ways": {
            name: {
                "seconds": seconds[name],
                "forwards": round(statistics.mean(forwards for forwards, _ in read[name])),
                "positions": round(statistics.mean(positions for _, positions in read[name])),
            }
            for name in ways
        },
        "ratios": [a / b for a, b in zip(seconds["released"], seconds["ours"], strict=True)],
    }


def table(found: dict[str, Any]) -> str:
    """A Markdown table: medians, and the median over rounds of the ratio of the released way to ours."""
    rows: list[list[Any]] = [
        [name, f"{statistics.median(way['seconds']):.1f}", way["forwards"], way["positions"]]
        for name, way in found["ways"].items()
    ]
    old, new = found["ways"]["released"], found["ways"]["ours"]
    ratios = found["ratios"]
    times = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    rows.append(["released / ours", times, *(f"{old[name] / new[name]:.1f}" for name in ("forwards", "positions"))])
    return "\n".join(markdown_table(["", "seconds", "forwards", "positions read"], rows))


def story(model: Any, tokenizer: Any, length: int, seed: int = 0) -> str:
    """A sampled text of `length` tokens. After a repetitive text, samples would be copies of each other."""
    inputs = tokenizer(TEXT, return_tensors="pt")
    torch.manual_seed(seed)
    row = model.generate(**inputs, do_sample=True, top_k=0, max_new_tokens=length, min_new_tokens=length)[0]
    return tokenizer.decode(row[:length])


def ours(model: Any, tokenizer: Any, scorer: scorers.Scorer, texts: Sequence[str], options: Options) -> list[str]:
    """The texts with their continuations by `Rerank`."""
    inputs = tokenizer(list(texts), return_tensors="pt", padding=True).to(model.device)
    part = decoding.Rerank(scorer, options.every, options.samples, options.beams, tokenizer=tokenizer)
    limits: dict[str, Any] = {"max_new_tokens": options.new_tokens, "min_new_tokens": options.new_tokens}
    rows = decoding.generate(model, **inputs, processors=[part], **limits, **SAMPLING)
    return tokenizer.batch_decode(rows, skip_special_tokens=True)


def released(model: Any, tokenizer: Any, scorer: scorers.Scorer, texts: Sequence[str], options: Options) -> list[str]:
    """The texts with their continuations by the released algorithm, which stopped at the second prompt by a fault.

    That fault is mended here.
    """
    found = []
    for text in texts:
        state, beams, total = scorer.read([text]), [""] * options.beams, 0
        while total < options.new_tokens:
            new = min(options.every, options.new_tokens - total)
            candidates: list[str] = []
            for beam in beams:
                inputs = tokenizer(text + beam, return_tensors="pt").to(model.device)
                rows = model.generate(
                    **inputs, num_return_sequences=options.samples, max_new_tokens=new, min_new_tokens=new, **SAMPLING
                )
                length = inputs["input_ids"].shape[1]
                candidates += [beam + tokenizer.decode(row[length:], skip_special_tokens=True) for row in rows]
            total += new
            scores = scorer.score(state, [0] * len(candidates), candidates)
            beams = [candidates[i] for i in scores.topk(options.beams).indices]
        found.append(text + beams[0])
    return found


def reading(model: Any, way: Callable[[], Any]) -> tuple[int, int]:
    """The number of forward passes of one call, and the sum of rows times tokens over all of them."""
    counts: list[int] = []
    handle = model.get_input_embeddings().register_forward_hook(lambda _, args, __: counts.append(args[0].numel()))
    try:
        way()
    finally:
        handle.remove()
    return len(counts), sum(counts)
