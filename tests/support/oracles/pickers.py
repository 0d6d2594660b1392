"""Slow and obvious transcriptions of pickers: one row at a time, no cache, no padding, the whole text read anew.

The library must equal these token for token. Nothing here imports it.
"""

import math
import statistics
from collections import Counter
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.support.oracles.methods import Guide, read, unguided


def adaptive_contrastive_search(
    model, prompt: list[int], n: int, q: float, low: int = 5, high: int = 15, *, eos: int | None = 2,
    guide: Guide = unguided,
) -> tuple[list[int], list[int], list[float]]:  # fmt: skip
    """Garces Arias et al. 2024, section 3: the tokens, and the k and alpha of every step."""
    ids, ks, alphas, wide, narrow = list(prompt), [], [], [], []

    def entropy(values: list[float]) -> float:
        return -sum(value * math.log(value) for value in values if value > 0)

    def logistic(value: float, earlier: list[float], largest: float) -> float:
        ratio = (value - (statistics.median(earlier) if earlier else value)) / largest
        if q and abs(ratio) >= 1:  # as artanh's limits have it
            return 1.0 if ratio > 0 else 0.0
        return 1 / (1 + math.exp(-q * math.atanh(ratio))) if q else 0.5

    while len(ids) < len(prompt) + n:
        guided = guide(ids, read(model, ids)[0])
        p = guided.double().softmax(-1).tolist()
        h = entropy(p)
        k = round(low + (high - low) * logistic(h, wide, math.log(len(p))))
        candidates = guided.topk(k).indices.tolist()
        mass = sum(p[v] for v in candidates)
        h_k = entropy([p[v] / mass for v in candidates])
        alpha = logistic(h_k, narrow, math.log(k))
        wide, narrow, ks, alphas = [*wide, h], [*narrow, h_k], [*ks, k], [*alphas, alpha]
        best, choice = -math.inf, -1
        for v in candidates:
            if guided[v] == -torch.inf:
                continue
            states = read(model, [*ids, v])[1]
            score = (1 - alpha) * p[v] - alpha * float(F.cosine_similarity(states[:-1], states[-1:], dim=-1).max())
            if score > best:
                best, choice = score, v
        ids.append(choice)
        if choice == eos:
            break
    return ids[len(prompt) :], ks, alphas


def frustratingly_simple(
    model, prompt: list[int], new: int, k: int, alpha: float, n: int, beta: float, *, exempt=(), eos: int | None = 2,
    guide: Guide = unguided,
) -> list[int]:  # fmt: skip
    """Yang et al. 2023: (1 - alpha) p - alpha c over the top k; c as the released code smooths it."""
    ids = list(prompt)
    while len(ids) < len(prompt) + new:
        guided = guide(ids, read(model, ids)[0])
        p = guided.softmax(-1)
        best, choice = -math.inf, -1
        for v in guided.topk(k).indices.tolist():
            if guided[v] == -torch.inf:
                continue
            punishment = 0 if v in exempt else smoothed(ids, v, n, beta)
            score = (1 - alpha) * float(p[v]) - alpha * punishment
            if score > best:
                best, choice = score, v
        ids.append(choice)
        if choice == eos:
            break
    return ids[len(prompt) :]


def smoothed(ids: list[int], v: int, n: int, beta: float) -> float:
    """p(v | the last n - 1 of ids) of an n-gram model of ids."""
    if len(ids) < n - 1:
        return 0.0
    found, left = 0.0, 1.0
    for m in range(n, 0, -1):
        head = tuple(ids[len(ids) - m + 1 :])
        after = Counter(ids[i + m - 1] for i in range(len(ids) - m + 1) if tuple(ids[i : i + m - 1]) == head)
        if v not in after:
            continue
        total = sum(after.values())
        found += left * after[v] / total if m == 1 else left * beta * after[v] / (total + 1)
        left *= 1 - beta
    return found


def mirostat(
    model, prompt: list[int], n: int, tau: float, eta: float, generator: torch.Generator, *, renormalise=False,
    eos: int | None = 2, guide: Guide = unguided,
) -> tuple[list[int], list[float]]:  # fmt: skip
    """Basu et al. 2021 with truncation by surprise: the tokens, and mu before every step."""
    ids, mu, mus = list(prompt), 2 * tau, []
    while len(ids) < len(prompt) + n:
        mus.append(mu)
        guided = guide(ids, read(model, ids)[0])
        p = guided.double().softmax(-1)
        kept = [v for v in range(len(p)) if p[v] > 0 and -math.log2(p[v]) <= mu] or [int(p.argmax())]
        rest = torch.zeros_like(guided)
        rest[kept] = guided[kept].softmax(-1)
        ids.append(int(torch.multinomial(rest, 1, generator=generator)))
        seen = rest[ids[-1]] if renormalise else p[ids[-1]]
        mu -= eta * (-math.log2(seen) - tau)
        if ids[-1] == eos:
            break
    return ids[len(prompt) :], mus


def cut(logits: Tensor) -> list[Fraction]:
    """The ends of the tokens' parts of [0, 1), logits rounded to 2**-12 and probabilities to the best one's 2**-40."""
    levels = [None if value == -math.inf else round(value * 4096) for value in logits.tolist()]
    top = max(level for level in levels if level is not None)
    sizes = [0 if x is None else max(1, round(2**40 * math.exp((x - top) / 4096))) for x in levels]
    return [Fraction(sum(sizes[: v + 1]), sum(sizes)) for v in range(len(sizes))]


def arithmetic_sample(
    model, prompt: list[int], n: int, point: Fraction, *, eos: int | None = 2, guide: Guide = unguided
) -> tuple[list[int], Fraction, Fraction]:
    """Vilnis et al. 2023, section 3: the token whose part holds the point, and the point's place in that part, again.

    Returns the tokens, and where their interval begins and ends.
    """
    ids, start, width = list(prompt), Fraction(0), Fraction(1)
    while len(ids) < len(prompt) + n:
        ends = cut(guide(ids, read(model, ids)[0]))
        v = next(v for v, end in enumerate(ends) if point < end)
        low = ends[v - 1] if v else Fraction(0)
        point = (point - low) / (ends[v] - low)
        start, width = start + width * low, width * (ends[v] - low)
        ids.append(v)
        if v == eos:
            break
    return ids[len(prompt) :], start, start + width
