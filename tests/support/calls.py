"""Prompts for the tiny models, and what a call with parts makes of them."""

import decoding
from tests.support import tiny

PROMPTS = [[5, 9, 11, 30, 7], [8, 8, 3], [12, 40, 33, 21, 6, 50, 44, 19, 27]]
MODELS = [tiny.gpt2, tiny.llama]


def continuations(output, inputs) -> list[list[int]]:
    """The new tokens of every row, up to and including the end."""
    rows = output[:, inputs["input_ids"].shape[1] :].tolist()
    return [row[: row.index(tiny.EOS) + 1] if tiny.EOS in row else row for row in rows]


def search(model, prompts, *parts, n=10, **options) -> list[list[int]]:
    inputs = tiny.batch(prompts)
    return continuations(decoding.generate(model, **inputs, processors=parts, max_new_tokens=n, **options), inputs)
