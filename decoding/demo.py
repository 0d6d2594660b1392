"""Continuations by greedy search, nucleus sampling and contrastive search, side by side: `python -m decoding.demo`."""

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from scorers._common.commands import Parser, serve
from scorers._common.terminal import interpreter, silence

from .generation import generate
from .models.loading import load
from .pickers.contrastive_search import ContrastiveSearch
from .pickers.sampling import Greedy, Sample
from .trace.records import Trace

PROMPTS = ("The night was", "In the morning the village", "The old sailor looked at the sea and")  # greedy: loops soon
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
PAGES = Path(__file__).parents[1] / "docs" / "tutorial"  # in a clone; an installed package has none


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
    console = Console()
    columns, rates = [], []
    with Progress(console=console, transient=True) as bar:
        for name, method in METHODS.items():
            task = bar.add_task(name, total=options.new_tokens)

            def tick(tokens: Any, scores: Any, task: Any = task, **others: Any) -> Any:
                bar.advance(task)
                return torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)  # nothing stops

            start = time.perf_counter()
            rows = generate(model, **inputs, **method, generator=torch.Generator().manual_seed(0),
                            max_new_tokens=options.new_tokens, stopping_criteria=[tick])  # fmt: skip
            new = rows[:, inputs["input_ids"].shape[1] :]
            rates.append(new.numel() / (time.perf_counter() - start))
            columns.append(map(str.strip, tokenizer.batch_decode(new, skip_special_tokens=True)))
    table = Table("prompt", *METHODS, show_lines=True)
    for prompt, *texts in zip(prompts, *columns, strict=True):
        table.add_row(prompt, *texts)
    table.add_row("tokens a second", *(f"{rate:.0f}" for rate in rates))
    console.print(table)
    with console.status("writing down why each token was chosen"):
        path = write_trace(model, tokenizer, prompts[0], options.new_tokens)
    console.print(f"Open in a browser, to see why each token was chosen: [bold]{path}[/bold]", soft_wrap=True)
    for line in hints():
        print(line)


def hints() -> Iterator[str]:
    """What to do next, by commands that work as they stand and files that are there."""
    yield f'{"A prompt of your own:":24}{interpreter()} -m decoding "My neighbour keeps bees because"'
    for what, page in (("What that page says:", "why-this-token.md"), ("Methods, in Python:", "first-steps.md")):
        if (PAGES / page).exists():
            yield f"{what:24}{os.path.relpath(PAGES / page)}"


def write_trace(model: Any, tokenizer: Any, prompt: str, new_tokens: int) -> Path:
    """Greedy and contrastive search on one prompt, step by step, as a page."""
    inputs, trace = tokenizer(prompt, return_tensors="pt"), Trace(tokenizer)
    for part in (ContrastiveSearch(k=5, alpha=0.6), Greedy()):
        generate(model, **inputs, processors=[part], max_new_tokens=new_tokens, trace=trace)
    TRACE.parent.mkdir(exist_ok=True)
    return trace.save(TRACE).resolve()


if __name__ == "__main__":
    sys.exit(main())
