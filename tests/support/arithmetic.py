"""A tiny model of few tokens, all its texts, and their exact probabilities."""

import itertools

import torch
from transformers import GPT2Config, GPT2LMHeadModel

import decoding
from tests.support import tiny
from tests.support.calls import continuations


def sample(model, prompts, *parts, n=8, **options) -> list[list[int]]:
    inputs = tiny.batch(prompts)
    options = {"top_k": 0, **options}
    return continuations(decoding.generate(model, **inputs, processors=parts, max_new_tokens=n, **options), inputs)


def small(seed=0, vocabulary=5, std=0.1, length=16):
    """Few enough tokens to count all texts of a few of them; EOS is one."""
    config = GPT2Config(
        vocab_size=vocabulary, n_positions=length, n_embd=16, n_layer=1, n_head=2, bos_token_id=1, eos_token_id=2,
        pad_token_id=0,
    )  # fmt: skip
    return tiny.seeded(GPT2LMHeadModel(config), seed, std)


def texts(vocabulary: int, length: int, end: int = 2) -> list[list[int]]:
    """All texts of so many tokens, or fewer with the end, in the order of the vocabulary."""
    every = itertools.product(range(vocabulary), repeat=length)
    cut = [row[: row.index(end) + 1] if end in row else row for row in every]
    return [list(row) for row in dict.fromkeys(cut)]


@torch.no_grad()
def exact(model, every, prompt=(3, 4)) -> list[float]:
    """The probabilities of texts, token by token, in float64."""
    found = []
    for text in every:
        log_p = model(torch.tensor([[*prompt, *text]])).logits.log_softmax(-1)[0, len(prompt) - 1 :]
        found.append(float(sum(log_p[i, token] for i, token in enumerate(text)).exp()))
    return found
