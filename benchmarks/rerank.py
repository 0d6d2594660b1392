"""Segment reranking beside the algorithm that was released with RankGen: `python -m benchmarks.rerank`.

The peer is written from its description: for each prompt and each hypothesis, text and all, the tokenizer and the model
read everything again, and the cache is thrown away. Same model, same number of tokens, same scorer, in one run.
"""

import argparse
import statistics
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

import decoding
import scorers

from .loop import TEXT, measure

SAMPLING: dict[str, Any] = {"do_sample": True, "top_k": 50, "top_p": 0.9}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print medians, their ratio within a round, and the positions that the language model reads."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rerank", description=__doc__)
    parser.add_argument("--model", help="a hub id or a folder (default: the embedded one)")
    parser.add_argument("--prefix", type=int, default=256, help="prompt tokens (default: 256)")
    parser.add_argument("--every", type=int, default=20, help="tokens to a segment (default: 20)")
    parser.add_argument("--samples", type=int, default=10, help="default: 10")
    parser.add_argument("--beams", type=int, default=2, help="default: 2")
    parser.add_argument("--new-tokens", type=int, default=120, help="default: 120")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    options = parser.parse_args(arguments)
    model, tokenizer = decoding.load(options.model)
    text = story(model, tokenizer, options.prefix)
    calls = {
        name: partial(way, model, tokenizer, text, options) for name, way in (("released", released), ("ours", ours))
    }
    read = {name: positions(model, call) for name, call in calls.items()}
    seconds = measure(calls, options.rounds)
    print("| | seconds | time against the first | positions read |\n|---|---|---|---|")
    for name, values in seconds.items():
        ratio = statistics.median(map(float.__truediv__, values, seconds["released"]))
        print(f"| {name} | {statistics.median(values):.1f} | {ratio:.3f} | {read[name]} |")
    return 0


def story(model: Any, tokenizer: Any, length: int) -> str:
    """A text of so many tokens that goes on in many ways: were it repetitive, samples would be copies of each other."""
    inputs = tokenizer(TEXT, return_tensors="pt")
    torch.manual_seed(0)
    row = model.generate(**inputs, do_sample=True, top_k=0, max_new_tokens=length, min_new_tokens=length)[0]
    return tokenizer.decode(row[:length])


def ours(model: Any, tokenizer: Any, text: str, options: argparse.Namespace) -> str:
    """By `Rerank`."""
    inputs = tokenizer(text, return_tensors="pt")
    part = decoding.Rerank(scorers.Overlap(), options.every, options.samples, options.beams, tokenizer=tokenizer)
    limits = {"max_new_tokens": options.new_tokens, "min_new_tokens": options.new_tokens}
    return tokenizer.decode(decoding.generate(model, **inputs, processors=[part], **limits, **SAMPLING)[0])


def released(model: Any, tokenizer: Any, text: str, options: argparse.Namespace) -> str:
    """As it was released, but for what stopped it at the second prompt."""
    scorer, beams, total = scorers.Overlap(), [""] * options.beams, 0
    while total < options.new_tokens:
        new = min(options.every, options.new_tokens - total)
        found: list[str] = []
        for beam in beams:
            inputs = tokenizer(text + beam, return_tensors="pt")
            rows = model.generate(
                **inputs, num_return_sequences=options.samples, max_new_tokens=new, min_new_tokens=new, **SAMPLING
            )
            found += [beam + tokenizer.decode(row[inputs["input_ids"].shape[1] :]) for row in rows]
        total += new
        scores = scorer([text] * len(found), found)
        beams = [found[i] for i in scores.topk(options.beams).indices]
    return text + beams[0]


def positions(model: Any, call: Any) -> int:
    """Rows times tokens of all forwards of one call."""
    counts: list[int] = []
    embed = model.get_input_embeddings()
    handle = embed.register_forward_hook(lambda _, args, __: counts.append(args[0].numel()))
    call()
    handle.remove()
    return sum(counts)


if __name__ == "__main__":
    torch.manual_seed(0)
    sys.exit(main())
