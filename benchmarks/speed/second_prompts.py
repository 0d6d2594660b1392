"""The cost of a second prompt, by the lengths of both, in one forward pass or in two: `python -m benchmarks.guides`."""

import statistics
from functools import partial
from itertools import product
from typing import Any

import torch

import decoding
from scorers._common.terminal import silence, table

from .options import SecondPrompts as Options
from .timing import Way, measure

LENGTHS = [(64, 64), (64, 48), (64, 32), (256, 256), (256, 64)]


def run(options: Options) -> None:
    """Print a Markdown table of medians of ratios. Each ratio is of one round, in which all ways take turns."""
    silence()
    model, _ = decoding.load(options.model)
    names = [
        "rows",
        "prompt",
        "second prompt",
        "padding",
        "separate / greedy",
        "together / greedy",
        "together / separate",
    ]
    cases = list(product(options.batch, options.pairs or LENGTHS))
    with table(names, [f"batch {rows}, {first} and {second} tokens" for rows, (first, second) in cases]) as add_row:
        for rows, (first, second) in cases:
            seconds = measure(ways(model, rows, first, second, options.new_tokens), options.rounds)
            pairs = [("separate", "greedy"), ("together", "greedy"), ("together", "separate")]
            ratios = [statistics.median(map(float.__truediv__, seconds[a], seconds[b])) for a, b in pairs]
            waste = 1 - (first + second) / (2 * max(first, second))
            add_row([rows, first, second, f"{waste:.0%}", *(f"{ratio:.2f}" for ratio in ratios)])


def ways(model: Any, rows: int, first: int, second: int, new: int) -> dict[str, Way]:
    """Greedy decoding of random prompts, without a second prompt and with one, in two forward passes a token or one."""
    generator, vocabulary = torch.Generator().manual_seed(0), model.config.vocab_size
    ids, aside = (torch.randint(vocabulary // 2, vocabulary, (rows, n), generator=generator) for n in (first, second))
    options: dict[str, Any] = {"max_new_tokens": new, "min_new_tokens": new, "do_sample": False}

    def run(part: Any, padding_limit: float, criteria: Any) -> None:
        call = {"processors": [part], "padding_limit": padding_limit, **options}
        decoding.generate(model, ids, attention_mask=torch.ones_like(ids), **call)

    guide = decoding.NegativePrompt(aside)
    found = {"greedy": (decoding.Greedy(), 0.0), "separate": (guide, -1.0), "together": (guide, 1.0)}
    return {name: Way(partial(run, *way), (model,), whole=True) for name, way in found.items()}
