"""Calls with a reranker."""

import torch

import decoding
from tests.support import tiny


def ask(model, prompts, part, *others, seed=3, n=9, **options):
    inputs = {**tiny.batch(prompts), "max_new_tokens": n, "top_k": 0, "return_dict_in_generate": True, **options}
    generator = torch.Generator().manual_seed(seed)
    return decoding.generate(model, **inputs, processors=[*others, part], generator=generator)


def new_tokens(rows, width):
    found = []
    for row in rows[:, width:].tolist():
        found.append(row[: row.index(tiny.EOS) + 1] if tiny.EOS in row else row)
    return found
