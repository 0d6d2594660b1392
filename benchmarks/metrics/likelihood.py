"""How probable texts are under a language model: perplexity, and coherence as log-likelihood given the prefix."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel

from scorers._common.checks import require_count
from scorers.language_model import read_spans, tokenise_apart

from .diversity import Prompts, check
from .states import window_of
from .uncertainty import Bootstrapped, bootstrap


def log_likelihoods(
    model: PreTrainedModel,
    tokenizer: Any,
    prefixes: Sequence[str] | None,
    continuations: Sequence[str],
    *,
    batch_size: int = 8,
) -> NDArray:
    """(N, 2) float64: of each continuation, sum_t log p(y_t | x, y_<t) in nats, and its number of tokens.

    Prefix and continuation are tokenised apart, the prefix with the special tokens that its tokenizer adds: for OPT and
    Llama the beginning of a text. Where that leaves nothing to begin from, the beginning-of-text token stands there, or
    the end-of-text token where there is none. An empty continuation is (0, 0). The head is computed for the
    continuation alone where the model can; log_softmax in float32, or wider where the model is.

    Args:
        model: any causal LM.
        tokenizer: its tokenizer.
        prefixes: N texts; None: none, so that the whole text is judged.
        continuations: N texts.
        batch_size: of like lengths, in a forward; memory is that of their logits.

    Raises:
        ValueError: not as many continuations as prefixes, none at all, `batch_size` below 1, a text beyond the model's
            window, a tokenizer without any token to begin from; all before any forward.

    Example:
        >>> import decoding
        >>> model, tokenizer = decoding.load()
        >>> likely, odd = log_likelihoods(model, tokenizer, ["The capital of France is"] * 2, [" Paris", " soup"])
        >>> bool(likely[0] > odd[0]), int(likely[1])
        (True, 1)
    """
    heads, rows = tokenise(model, tokenizer, prefixes, continuations, batch_size)
    found = read_spans(model, list(zip(heads, rows, strict=True)), batch_size)
    return np.array([[float(log_p.sum()), len(log_p)] for log_p in found])


def tokenise(
    model: PreTrainedModel,
    tokenizer: Any,
    prefixes: Sequence[str] | None,
    continuations: Sequence[str],
    batch_size: int,
) -> tuple[list[list[int]], list[list[int]]]:
    """The token ids of prefixes, none empty, and of continuations; refuses what would fail in a forward."""
    check(continuations, 1)
    prefixes = [""] * len(continuations) if prefixes is None else prefixes
    if len(prefixes) != len(continuations):
        raise ValueError(f"{len(prefixes)} prefixes and {len(continuations)} continuations: give one to each")
    require_count("batch_size", batch_size)
    spans = tokenise_apart(tokenizer, prefixes, continuations)
    heads, rows = [head for head, _ in spans], [row for _, row in spans]
    window = window_of(model)
    for i, (head, row) in enumerate(zip(heads, rows, strict=True)):
        if len(head) + len(row) > window:
            raise ValueError(f"text {i} has {len(head) + len(row)} tokens and the model reads {window}: cut its prefix")
    return heads, rows


def perplexity(likelihoods: NDArray, *, prompts: Prompts = None) -> Bootstrapped:
    """exp(-sum of log p / tokens), every token alike; from 1 up. Under the generator, or under another model.

    Not better when lower: greedy loops have the lowest. Read it against the human texts' own.

    Args:
        likelihoods: (N, 2) of `log_likelihoods`.
        prompts: see `diversity`.

    Example:
        >>> round(perplexity(np.array([[-2.0, 1], [-4.0, 5]])).value, 4)
        2.7183
    """
    return bootstrap(likelihoods, exp_of_loss, prompts=prompts, bounds=(1.0, np.inf))


def coherence(likelihoods: NDArray, *, prompts: Prompts = None) -> Bootstrapped:
    """The mean over texts of the mean log p of a text's tokens given its prefix; at most 0. Su & Collier 2023.

    Empty texts are left out, as there. Its models are OPT of 125m to 13b; under others compare orders alone. It rewards
    loops, so print diversity beside it, and read the distance to the human texts' value.

    Args:
        likelihoods: (N, 2) of `log_likelihoods`.
        prompts: see `diversity`.

    Example:
        >>> coherence(np.array([[-2.0, 1], [-4.0, 4], [0, 0]])).value
        -1.5
    """
    sums, tokens = np.asarray(likelihoods, dtype=float).T
    means = np.divide(sums, tokens, out=np.full(len(sums), np.nan), where=tokens > 0)
    return bootstrap(means, prompts=prompts, bounds=(-np.inf, 0.0))


def exp_of_loss(sums: NDArray) -> NDArray:
    """(..., 2) sum of log p and tokens -> perplexity; NaN without tokens."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.exp(-sums[..., 0] / sums[..., 1])
