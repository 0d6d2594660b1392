"""Continuations by greedy search, nucleus sampling and contrastive search, side by side: `python -m decoding.demo`."""

import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

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


def main() -> None:
    """Continue every prompt by every method with the embedded model, print a table, and write a trace of the first."""
    model, tokenizer = load()
    inputs = tokenizer(list(PROMPTS), return_tensors="pt", padding=True)
    columns, rates = [], []
    for options in track(METHODS.values(), description="generating", transient=True):
        generator = torch.Generator().manual_seed(0)
        start = time.perf_counter()
        rows = generate(model, **inputs, **options, generator=generator, max_new_tokens=NEW_TOKENS)
        new = rows[:, inputs["input_ids"].shape[1] :]
        rates.append(new.numel() / (time.perf_counter() - start))
        columns.append(tokenizer.batch_decode(new, skip_special_tokens=True))
    table = Table("prompt", *METHODS, show_lines=True)
    for prompt, *texts in zip(PROMPTS, *columns, strict=True):
        table.add_row(prompt, *texts)
    table.add_row("tokens a second", *(f"{rate:.0f}" for rate in rates))
    console = Console()
    console.print(table)
    path = write_trace(model, tokenizer)
    console.print(
        f"Why each token was chosen, for the first prompt: open [bold]{path}[/bold] in a browser.", soft_wrap=True
    )


def write_trace(model: Any, tokenizer: Any) -> Path:
    """Greedy and contrastive search on one prompt, step by step, as a page."""
    inputs, trace = tokenizer(PROMPTS[0], return_tensors="pt"), Trace(tokenizer)
    for part in (ContrastiveSearch(k=5, alpha=0.6), Greedy()):
        generate(model, **inputs, processors=[part], max_new_tokens=NEW_TOKENS, trace=trace)
    TRACE.parent.mkdir(exist_ok=True)
    return trace.save(TRACE).resolve()


if __name__ == "__main__":
    main()
