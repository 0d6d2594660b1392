"""The probability of texts in a language model: perplexity, and coherence as log-likelihood given the prefix."""

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
    """For each continuation, sum_t log p(y_t | x, y_<t) in nats, and its number of tokens: (N, 2) float64.

    Prefix and continuation are tokenised apart, the prefix with the special tokens that its tokenizer adds: for OPT and
    Llama these are the beginning of a text. If nothing stands before the continuation then, the beginning-of-text token
    does, or the end-of-text token if there is no other. An empty continuation is (0, 0). If the model allows it, the
    head is computed for the continuation alone. log_softmax is computed in float32, or wider if the model is.

    Args:
        model: any causal LM.
        tokenizer: the tokenizer of the model.
        prefixes: N texts. None: there are no prefixes, and the whole text is judged.
        continuations: N texts.
        batch_size: texts of similar length in a forward pass. It needs memory for their logits.

    Raises:
        ValueError: the numbers of prefixes and continuations differ, there are none, `batch_size` is below 1, a text
            exceeds the model's window, or the tokenizer has no token to begin from. All are raised before any forward
            pass.

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
    """The token ids of prefixes, none empty, and of continuations. Raises ValueError if a forward pass would fail."""
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
    """exp(-sum of log p / tokens), where every token has the same weight; at least 1.

    It may be taken under the generator or under another model. Lower is not better: greedy loops have the lowest
    perplexity. Compare it with the value of the human texts.

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

    Empty texts are left out, as in the paper. The paper's models are OPT of 125m to 13b; under another model only the
    order of systems compares. The metric rewards loops, so print diversity beside it, and look at the distance to the
    value of the human texts.

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
    """(..., 2) sum of log p and number of tokens -> perplexity. It is NaN without tokens."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.exp(-sums[..., 0] / sums[..., 1])
