"""Tokens a second of our loop beside transformers' own, from one interleaved run: `python -m benchmarks.loop`."""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

import decoding

TEXT = "The history of the deep sea is a history of people who went down in small boats. "


def peers(model: Any) -> dict[str, Callable[..., Any]]:
    """What is compared; each is called with the inputs and the options of `generate`. The first is the yardstick."""
    return {
        "greedy, model.generate": model.generate,
        "greedy, our loop": lambda **call: model.generate(**call, custom_generate=decoding.Decoder(decoding.Greedy())),
        "contrastive search, k = 5": lambda **call: decoding.generate(
            model, **call, processors=[decoding.ContrastiveSearch(k=5, alpha=0.6)]
        ),
    }


def measure(calls: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every call in every round; all calls take turns, so that a slow moment meets them alike."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():  # once to warm up
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def report(seconds: dict[str, list[float]], tokens: int) -> list[str]:
    """A Markdown table: medians, and medians of the ratios within a round."""
    yardstick = next(iter(seconds.values()))
    lines = ["| | tokens a second | time against the first |", "|---|---|---|"]
    for name, values in seconds.items():
        ratio = statistics.median(value / base for value, base in zip(values, yardstick, strict=True))
        lines.append(f"| {name} | {tokens / statistics.median(values):.1f} | {ratio:.2f} |")
    return lines


def main(argv: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.loop", description=__doc__)
    parser.add_argument("--model", help="a hub id or a folder (default: the embedded model)")
    parser.add_argument("--context", type=int, default=32, help="prompt tokens (default: 32)")
    parser.add_argument("--batch", type=int, default=1, help="rows (default: 1)")
    parser.add_argument("--new-tokens", type=int, default=48, help="tokens a row (default: 48)")
    parser.add_argument("--rounds", type=int, default=7, help="default: 7")
    arguments = parser.parse_args(argv)
    model, tokenizer = decoding.load(arguments.model)
    ids = tokenizer(TEXT * arguments.context, return_tensors="pt")["input_ids"][:, : arguments.context]
    inputs = {"input_ids": ids.repeat(arguments.batch, 1)}
    call = {**inputs, "attention_mask": torch.ones_like(inputs["input_ids"]), "do_sample": False}
    call |= {"max_new_tokens": arguments.new_tokens, "min_new_tokens": arguments.new_tokens}
    calls = {name: partial(peer, **call) for name, peer in peers(model).items()}
    for line in report(measure(calls, arguments.rounds), arguments.batch * arguments.new_tokens):
        print(line)


if __name__ == "__main__":
    main()
