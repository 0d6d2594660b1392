"""Continuations by greedy search, nucleus sampling and contrastive search, side by side: `python -m decoding.demo`."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from .command import Parser, serve, silence
from .contrastive import ContrastiveSearch
from .generation import generate
from .models import load
from .sampling import Greedy, Sample
from .trace import Trace

PROMPTS = (
    "It was a dark and stormy night, and the old",
    "The most surprising thing about the deep sea is",
    "My grandmother never told anyone why she",
)
METHODS: dict[str, dict[str, Any]] = {
    "greedy": {"processors": [Greedy()]},
    "nucleus, p = 0.95": {"processors": [Sample()], "top_k": 0, "top_p": 0.95},
    "contrastive, k = 5, alpha = 0.6": {"processors": [ContrastiveSearch(k=5, alpha=0.6)]},
}
NEW_TOKENS = 64
TRACE = Path("demo") / "trace.html"
EXAMPLES = """\
examples:
  python -m decoding.demo
  python -m decoding.demo "A prompt of mine" "And another one" --new-tokens 32
"""
NEXT = """\
Prompts of your own:            python -m decoding "The night was"
Why was a token chosen?         docs/tutorial/why-this-token.md
Methods, and how they combine:  docs/tutorial/first-steps.md, notebooks/
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return the status that it exits with: 2 for a call that cannot work."""
    return serve("decoding", lambda: run(make_parser().parse_args(arguments)), lambda: "nothing was saved")


def make_parser() -> Parser:
    """The options."""
    parser = Parser(
        prog="python -m decoding.demo", description=__doc__, epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("prompts", nargs="*", metavar="PROMPT", help="default: three that come with it")
    parser.add_argument("--new-tokens", type=int, default=NEW_TOKENS, metavar="N", help=f"default: {NEW_TOKENS}")
    return parser


def run(options: argparse.Namespace) -> None:
    """Continue every prompt by every method with the embedded model, print a table, and write a trace of the first."""
    prompts = options.prompts or PROMPTS
    if not all(map(str.strip, prompts)):
        raise ValueError("a prompt is empty: give one with words")
    if options.new_tokens < 1:
        raise ValueError(f"--new-tokens must be at least 1, not {options.new_tokens}")
    silence()
    model, tokenizer = load()
    inputs = tokenizer(list(prompts), return_tensors="pt", padding=True)
    columns, rates = [], []
    for method in track(METHODS.values(), description="generating", transient=True):
        generator = torch.Generator().manual_seed(0)
        start = time.perf_counter()
        rows = generate(model, **inputs, **method, generator=generator, max_new_tokens=options.new_tokens)
        new = rows[:, inputs["input_ids"].shape[1] :]
        rates.append(new.numel() / (time.perf_counter() - start))
        columns.append(tokenizer.batch_decode(new, skip_special_tokens=True))
    table = Table("prompt", *METHODS, show_lines=True)
    for prompt, *texts in zip(prompts, *columns, strict=True):
        table.add_row(prompt, *texts)
    table.add_row("tokens a second", *(f"{rate:.0f}" for rate in rates))
    console = Console()
    console.print(table)
    path = write_trace(model, tokenizer, prompts[0], options.new_tokens)
    console.print(
        f"Why each token was chosen, for the first prompt: open [bold]{path}[/bold] in a browser.", soft_wrap=True
    )
    print(NEXT, end="")


def write_trace(model: Any, tokenizer: Any, prompt: str, new_tokens: int) -> Path:
    """Greedy and contrastive search on one prompt, step by step, as a page."""
    inputs, trace = tokenizer(prompt, return_tensors="pt"), Trace(tokenizer)
    for part in (ContrastiveSearch(k=5, alpha=0.6), Greedy()):
        generate(model, **inputs, processors=[part], max_new_tokens=new_tokens, trace=trace)
    TRACE.parent.mkdir(exist_ok=True)
    return trace.save(TRACE).resolve()


if __name__ == "__main__":
    sys.exit(main())
