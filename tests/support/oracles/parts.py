"""The oracles of our parts, as `decoding.testing` takes them: each says what a paper says, of one text.

Nothing here imports the library. `text` is a `decoding.testing.Text`.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.support.oracles import methods
from tests.support.oracles.pickers import cut, smoothed

# Guides: (text, (V,) logits) -> (V,) logits


def guided(method: Callable[[Any], Callable]) -> Callable[[Any, Tensor], Tensor]:
    """What a method of `methods`, made for a text, adds to the logits that guides before it left; then its mask."""

    def oracle(text, logits: Tensor) -> Tensor:
        own = text.logits()
        scores, p, beta = method(text)(text.tokens, own)
        logits = logits - own + scores
        best = max(float(p[v]) for v in range(len(p)) if logits[v] > -torch.inf)
        for v in range(len(p)):
            if p[v] < beta * best:
                logits[v] = -torch.inf
        return logits

    return oracle


# Pickers: (text, (V,) guided logits) -> what is maximised, the probabilities of a draw, or the token


def greedy(text, logits: Tensor) -> Tensor:
    return logits


def sample(text, logits: Tensor) -> Tensor:
    return logits.softmax(-1)


def least_alike(text, p: Tensor, tokens: Sequence[int], alpha: float) -> dict[int, float]:
    """(1 - alpha) p - alpha max cosine, of each candidate."""
    scores = {}
    for v in tokens:
        states = text.states([*text.tokens, v])
        near = F.cosine_similarity(states[:-1], states[-1:], dim=-1).max()
        scores[v] = float((1 - alpha) * p[v]) - alpha * float(near)
    return scores


def top(logits: Tensor, k: int) -> list[int]:
    """The k best tokens that are not forbidden, best first."""
    return [v for v in logits.topk(k).indices.tolist() if logits[v] > -math.inf]


def contrastive_search(k: int, alpha: float):
    """Su et al. 2022, eq. 5."""
    return lambda text, logits: least_alike(text, logits.softmax(-1), top(logits, k), alpha)


def adaptive_contrastive_search(q: float, low: int, high: int):
    """Garces Arias et al. 2024, section 3."""

    def entropy(p: list[float]) -> float:
        return -sum(x * math.log(x) for x in p if x > 0)

    def certainty(value: float, earlier: list[float], largest: float) -> float:
        ratio = (value - (statistics.median(earlier) if earlier else value)) / largest
        if abs(ratio) >= 1:
            return 1.0 if ratio > 0 else 0.0
        return 1 / (1 + math.exp(-q * math.atanh(ratio)))

    def pick(text, logits: Tensor) -> dict[int, float]:
        p = logits.double().softmax(-1)
        wide, narrow = text.memory.get("wide", []), text.memory.get("narrow", [])
        whole = entropy(p.tolist())
        k = round(low + (high - low) * certainty(whole, wide, math.log(len(p))))
        some = p[logits.topk(k).indices]
        inner = entropy((some / some.sum()).tolist())
        text.memory |= {"wide": [*wide, whole], "narrow": [*narrow, inner]}
        return least_alike(text, p, top(logits, k), certainty(inner, narrow, math.log(k)))

    return pick


def frustratingly_simple(k: int, alpha: float, n: int, beta: float):
    """Yang et al. 2023."""

    def pick(text, logits: Tensor) -> dict[int, float]:
        p = logits.softmax(-1)
        return {v: (1 - alpha) * float(p[v]) - alpha * smoothed(text.tokens, v, n, beta) for v in top(logits, k)}

    return pick


def mirostat(tau: float, eta: float):
    """Basu et al. 2021, truncated by surprise."""

    def pick(text, logits: Tensor) -> Tensor:
        mu = text.memory.get("mu", 2 * tau)
        if text.new:
            mu -= eta * (float(text.memory["surprise"][text.new[-1]]) - tau)
        surprise = -logits.double().log_softmax(-1) / math.log(2)
        text.memory |= {"mu": mu, "surprise": surprise}
        return logits.masked_fill((surprise > mu) & (surprise > surprise.min()), -math.inf).softmax(-1)

    return pick


def arithmetic_sample(points: Sequence[Fraction]):
    """Vilnis et al. 2023, section 3; copies of a row are spread evenly over what the row's text has."""

    def pick(text, logits: Tensor) -> int:
        place = text.memory.get("place", points[text.place])
        if text.copies > 1:
            place = (place + Fraction(text.rank, text.copies)) % 1
        ends = cut(logits)
        v = next(v for v, end in enumerate(ends) if place < end)
        start = ends[v - 1] if v else Fraction(0)
        text.memory["place"] = (place - start) / (ends[v] - start)
        return v

    return pick


# Rerankers: (the texts of a prompt, all ended) -> which go on


def reranked(every: int | None, samples: int, beams: int, score: Callable[[Any], float]):
    """Krishna et al. 2022, figure 5; every None: at the end alone."""

    def choose(texts, ended: bool) -> list[int] | None:
        if not ended and not (every and max(len(text.new) for text in texts) % every == 0):
            return None
        different: list[int] = []
        for i, text in enumerate(texts):
            if text.new not in [texts[other].new for other in different]:
                different.append(i)
        best = sorted(different, key=lambda i: -score(texts[i]))[: 1 if ended else beams]
        return [i for i in best for _ in range(1 if texts[i].ended else samples)]

    return choose


@contextmanager
def remembered():
    """Each text is read once while this lasts: many compositions read the same ones."""
    known, read = {}, methods.read

    def once(model, ids, **inputs):
        key = (id(model), *ids)
        if key not in known:
            known[key] = model, read(model, ids, **inputs)  # the model too, lest another one gets its id
        _, (logits, states) = known[key]
        return logits.clone(), states

    with patch.object(methods, "read", once):
        yield
