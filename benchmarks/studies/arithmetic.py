"""Arithmetic sampling beside independent sampling, at an equal number of texts: `python -m benchmarks.arithmetic`.

For each prompt, number of texts and seed, each of the two makes one set of texts, with the same model, distribution and
length. Every figure is of a set. The table has its mean over prompts and seeds.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any

import numpy as np
import torch

import decoding
from scorers._common.markdown import markdown_table
from scorers._common.terminal import silence
from scorers.language_model import read_spans

from ..metrics.diversity import distinct
from ..metrics.self_bleu import self_bleu
from .options import STARTS
from .options import Arithmetic as Options


@dataclass(frozen=True)
class Figures:
    """The figures of one set of texts after one prompt. Probabilities are the model's own, at temperature 1.

    Args:
        first: the number of different first tokens, divided by the number of texts; in [0, 1].
        third: the number of different beginnings of three tokens, divided by the number of texts; in [0, 1].
        covered: the sum of the probabilities of the different beginnings of two tokens; in [0, 1].
        distinct_2: distinct-2 of words, over the set.
        self_bleu: self-BLEU of words.
        log_p: the mean log-probability of a text, in nats.
    """

    first: float
    third: float
    covered: float
    distinct_2: float
    self_bleu: float
    log_p: float


def run(options: Options) -> None:
    """Draw the sets, measure them, and print the table."""
    silence()
    model, tokenizer = decoding.load(options.model)
    rows = []
    for n in options.texts:
        for name, picker in (("independent", decoding.Sample()), ("arithmetic", decoding.ArithmeticSample(n=n))):
            sets = [
                [measure(model, tokenizer, prompt, picker, n, seed, options) for seed in range(options.seeds)]
                for prompt in STARTS[: options.prompts]
            ]
            rows.append((n, name, np.array([[astuple(figures) for figures in own] for own in sets])))
    for line in table(rows):
        print(line)


def measure(model: Any, tokenizer: Any, prompt: str, picker: Any, n: int, seed: int, options: Options) -> Figures:
    """Draw a set and measure it."""
    inputs = tokenizer(prompt, return_tensors="pt").to(model.device)
    out = decoding.generate(
        model,
        **inputs,
        processors=[picker],
        num_return_sequences=n,
        max_new_tokens=options.new_tokens,
        do_sample=True,
        temperature=options.temperature,
        top_k=0,
        top_p=1.0,
        generator=torch.Generator(model.device).manual_seed(seed),
    )
    start = inputs["input_ids"].shape[1]
    ends = model.generation_config.eos_token_id
    rows = [without_end(row, ends if isinstance(ends, list) else [ends]) for row in out[:, start:].tolist()]
    head = inputs["input_ids"][0].tolist()
    log_p = read_spans(model, [(head, row) for row in rows], batch_size=n)
    texts = tokenizer.batch_decode(rows, skip_special_tokens=True)
    pairs = {tuple(row[:2]): float(own[:2].sum().exp()) for row, own in zip(rows, log_p, strict=True)}
    sums = [float(own.sum()) for own in log_p]
    return Figures(
        first=len({row[0] for row in rows}) / n,
        third=len({tuple(row[:3]) for row in rows}) / n,
        covered=sum(pairs.values()),
        distinct_2=distinct(texts, 2).value,
        self_bleu=self_bleu(texts).value,
        log_p=float(np.mean(sums)),
    )


def without_end(row: list[int], ends: list[int]) -> list[int]:
    """The tokens up to and including the first end of sequence."""
    return row[: next((i + 1 for i, token in enumerate(row) if token in ends), len(row))]


def table(rows: Sequence[tuple[int, str, np.ndarray]]) -> list[str]:
    """The lines of a Markdown table, from rows (n, kind, (prompts, seeds, figures)).

    The last column says how well a set estimates its mean log-probability: the standard deviation of this mean over
    seeds, averaged over prompts.
    """
    names = [field.name for field in fields(Figures)]
    shown = []
    for n, kind, values in rows:
        spread = values[..., names.index("log_p")].std(1, ddof=1).mean()
        shown.append([n, kind, *(f"{value:.3f}" for value in values.mean((0, 1))), f"{spread:.2f}"])
    return markdown_table(["texts", "sampling", *names, "sd of log_p"], shown)
