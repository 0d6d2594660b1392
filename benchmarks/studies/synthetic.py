"""What can be measured of a set of synthetic texts: is it like the real ones, and is it varied?

Each is a function of texts, or of arrays made from them; figures of two sets compare only at equal size.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch


def diversity(tokens: Sequence[int]) -> float:
    """prod_{n=2..4} unique n-grams / n-grams of all texts in a row; O'Neill et al. 2023. Falls with length.

    Example:
        >>> diversity([1, 2, 3, 4, 5]), diversity([1, 2, 1, 2, 1])
        (1.0, 0.16666666666666666)
    """
    return math.prod(distinct(tokens, n) for n in (2, 3, 4))


def distinct(tokens: Sequence[int], n: int) -> float:
    """Unique n-grams / n-grams; 0 where the text is shorter."""
    found = [*n_grams(tokens, n)]
    return len(set(found)) / len(found) if found else 0.0


def n_grams(tokens: Sequence[int], n: int) -> Iterator[tuple[int, ...]]:
    """The runs of n tokens."""
    return zip(*(tokens[i:] for i in range(n)), strict=False)


def copied(texts: Sequence[Sequence[int]], sources: Sequence[Sequence[int]], n: int = 8) -> float:
    """The part of the n-grams of `texts` that stand in `sources` too: what was learned by heart."""
    known = {gram for source in sources for gram in n_grams(source, n)}
    found = [gram in known for text in texts for gram in n_grams(text, n)]
    return sum(found) / len(found) if found else 0.0


def duplicates(texts: Sequence[str], sources: Sequence[str] = ()) -> float:
    """The part of the texts that stand in `sources`, or before in `texts`."""
    seen, again = set(sources), 0
    for text in texts:
        again += text in seen
        seen.add(text)
    return again / len(texts)


def self_similarity(embeddings: np.ndarray) -> float:
    """Mean cosine of all pairs of rows: (N, D) float -> [-1, 1], by the closed form (|sum u|^2 - N) / (N (N - 1)).

    Example:
        >>> self_similarity(np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 0.0]]))
        0.3333333333333333
    """
    units = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    n = len(units)
    return float(((units.sum(0) ** 2).sum() - n) / (n * (n - 1)))


def mauve(real: np.ndarray, made: np.ndarray, seeds: int = 5) -> float:
    """Mean MAUVE over k-means seeds; Pillutla et al. 2021. (N, D) and (M, D) features -> [0, 1]."""
    from mauve import compute_mauve

    values = [compute_mauve(p_features=real, q_features=made, seed=seed, verbose=False).mauve for seed in range(seeds)]
    return float(np.mean(values))


@torch.no_grad()
def embed(model: Any, tokenizer: Any, texts: Sequence[str], batch_size: int = 32) -> np.ndarray:
    """(N, D) float32: the mean of an encoder's last hidden states over the tokens of each text."""
    rows = []
    for start in range(0, len(texts), batch_size):
        batch = [text or " " for text in texts[start : start + batch_size]]
        inputs = tokenizer(batch, return_tensors="pt", padding=True, truncation=True, max_length=256)
        hidden, mask = model(**inputs).last_hidden_state, inputs["attention_mask"][..., None]
        rows.append((hidden * mask).sum(1) / mask.sum(1))
    return torch.cat(rows).float().numpy()


@torch.no_grad()
def perplexity(
    model: Any, tokenizer: Any, texts: Sequence[str], head: Sequence[int], batch_size: int = 16
) -> tuple[float, list[float]]:
    """exp of the mean -log p of all tokens of the texts after `head`, their end left out; and the mean of each text."""
    losses, end = [], tokenizer.eos_token_id
    rows = [tokenizer(text, add_special_tokens=False)["input_ids"][:256] for text in texts]
    rows = [row or [end] for row in rows]
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        width = max(map(len, batch))
        ids = torch.tensor([[*head, *row, *[end] * (width - len(row))] for row in batch])
        logits = model(ids, attention_mask=torch.ones_like(ids)).logits[:, len(head) - 1 : -1].float()
        log_p = logits.log_softmax(-1).gather(-1, ids[:, len(head) :, None])[..., 0]
        losses += [-log_p[i, : len(row)].double() for i, row in enumerate(batch)]
    return math.exp(float(torch.cat(losses).mean())), [float(loss.mean()) for loss in losses]
