"""Tokens a second of our loop beside transformers' own, from one interleaved run: `python -m benchmarks.loop`."""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

import decoding
from decoding.command import Parser, check_ranges, serve, silence

EXAMPLES = """\
examples:
  python -m benchmarks.loop
  python -m benchmarks.loop --context 512 --batch 8 --rounds 15
"""
AT_LEAST_1 = (lambda value: value >= 1, "be at least 1")
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return the status that it exits with: 2 for a call that cannot work."""
    return serve("benchmarks", lambda: run(make_parser().parse_args(arguments)), lambda: "nothing was measured")


def make_parser() -> Parser:
    """The options."""
    parser = Parser(
        prog="python -m benchmarks.loop", description=__doc__, epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    add = parser.add_argument
    add("--model", metavar="NAME", help="a hub id or a folder (default: the embedded model)")
    add("--context", type=int, default=32, metavar="N", help="prompt tokens (default: 32)")
    add("--batch", type=int, default=1, metavar="N", help="rows (default: 1)")
    add("--new-tokens", type=int, default=48, metavar="N", help="tokens a row (default: 48)")
    add("--rounds", type=int, default=7, metavar="N", help="default: 7")
    return parser


def run(options: argparse.Namespace) -> None:
    """Print the table."""
    check_ranges(vars(options), dict.fromkeys(("context", "batch", "new_tokens", "rounds"), AT_LEAST_1))
    silence()
    model, tokenizer = decoding.load(options.model)
    ids = tokenizer(TEXT * options.context, return_tensors="pt")["input_ids"][:, : options.context]
    inputs = {"input_ids": ids.repeat(options.batch, 1)}
    call = {**inputs, "attention_mask": torch.ones_like(inputs["input_ids"]), "do_sample": False}
    call |= {"max_new_tokens": options.new_tokens, "min_new_tokens": options.new_tokens}
    calls = {name: partial(peer, **call) for name, peer in peers(model).items()}
    for line in report(measure(calls, options.rounds), options.batch * options.new_tokens):
        print(line)


if __name__ == "__main__":
    sys.exit(main())
