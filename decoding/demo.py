"""Continuations by greedy search, nucleus sampling and contrastive search, side by side: `python -m decoding.demo`."""

if __name__ == "__main__":  # Ctrl-C is answered from here on, while the rest is imported, too
    from scorers._common.interrupts import answer_interrupts

    answer_interrupts()

import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scorers._common.commands import Command
from scorers._common.options import option
from scorers._common.ranges import at_least
from scorers._common.terminal import interpreter, silence

PROMPTS = ("The night was", "In the morning the village", "The old sailor looked at the sea and")  # greedy: loops soon
TRACE = Path("demo") / "trace.html"
EXAMPLES = """\
examples:
  python -m decoding.demo
  python -m decoding.demo "A prompt of mine" "And another one" --new-tokens 32
"""
PAGES = Path(__file__).parents[1] / "docs" / "tutorial"  # in a clone; an installed package has none


@dataclass
class Options:
    """Continuations by greedy search, nucleus sampling and contrastive search, side by side."""

    prompts: list[str] = option(
        "what to continue (default: three that come with it)", "PROMPT", value=[], positional=True
    )
    new_tokens: int = option("tokens to add to each", "N", value=64, range=at_least(1))


COMMAND = Command("decoding.demo", Options, EXAMPLES)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return the status that it exits with: 2 for a call that cannot work."""
    return COMMAND.serve(arguments, run)


def run(options: Options) -> None:
    """Continue every prompt by every method with the embedded model, print a table, and write a trace of the first."""
    prompts = options.prompts or PROMPTS
    if not all(map(str.strip, prompts)):
        raise ValueError("a prompt is empty: give one with words")
    import torch
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    from .generation import generate
    from .models.loading import load

    silence()
    model, tokenizer = load()
    inputs = tokenizer(list(prompts), return_tensors="pt", padding=True)
    console = Console()
    columns, rates, named = [], [], methods()
    with Progress(console=console, transient=True) as bar:
        for name, method in named.items():
            task = bar.add_task(name, total=options.new_tokens)

            def tick(tokens: Any, scores: Any, task: Any = task, **others: Any) -> Any:
                bar.advance(task)
                return torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)  # nothing stops

            start = time.perf_counter()
            rows = generate(
                model,
                **inputs,
                **method,
                generator=torch.Generator().manual_seed(0),
                max_new_tokens=options.new_tokens,
                stopping_criteria=[tick],
            )
            new = rows[:, inputs["input_ids"].shape[1] :]
            rates.append(new.numel() / (time.perf_counter() - start))
            columns.append(map(str.strip, tokenizer.batch_decode(new, skip_special_tokens=True)))
    table = Table("prompt", *named, show_lines=True)
    for prompt, *texts in zip(prompts, *columns, strict=True):
        table.add_row(prompt, *texts)
    table.add_row("tokens a second", *(f"{rate:.0f}" for rate in rates))
    console.print(table)
    with console.status("writing down why each token was chosen"):
        path = write_trace(model, tokenizer, prompts[0], options.new_tokens)
    console.print(f"Open in a browser, to see why each token was chosen: [bold]{path}[/bold]", soft_wrap=True)
    for line in hints():
        print(line)


def methods() -> dict[str, dict[str, Any]]:
    """The arguments of `generate` for each method, by what the table calls it."""
    from .pickers import ContrastiveSearch, Greedy, Sample

    return {
        "greedy": {"processors": [Greedy()]},
        "nucleus, p = 0.95": {"processors": [Sample()], "top_k": 0, "top_p": 0.95},
        "contrastive, k = 5, alpha = 0.6": {"processors": [ContrastiveSearch(k=5, alpha=0.6)]},
    }


def hints() -> Iterator[str]:
    """What to do next, by commands that work as they stand and files that are there."""
    yield f'{"A prompt of your own:":24}{interpreter()} -m decoding "My neighbour keeps bees because"'
    for what, page in (("What that page says:", "why-this-token.md"), ("Methods, in Python:", "first-steps.md")):
        if (PAGES / page).exists():
            yield f"{what:24}{os.path.relpath(PAGES / page)}"


def write_trace(model: Any, tokenizer: Any, prompt: str, new_tokens: int) -> Path:
    """Greedy and contrastive search on one prompt, step by step, as a page."""
    from .generation import generate
    from .pickers import ContrastiveSearch, Greedy
    from .trace.records import Trace

    inputs, trace = tokenizer(prompt, return_tensors="pt"), Trace(tokenizer)
    for part in (ContrastiveSearch(k=5, alpha=0.6), Greedy()):
        generate(model, **inputs, processors=[part], max_new_tokens=new_tokens, trace=trace)
    TRACE.parent.mkdir(exist_ok=True)
    return trace.save(TRACE).resolve()


if __name__ == "__main__":
    sys.exit(main())
