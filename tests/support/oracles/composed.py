"""Any guide, then any processors, then any picker, then any reranker: row by row, no cache, the whole text read anew.

What the loop must give for every composition, token for token. Nothing here imports the library.
"""

import math
import statistics
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.support.oracles import methods as oracles
from tests.support.oracles.pickers import cut, smoothed


@dataclass
class Row:
    """A text of prompt `owner`; `rank`: which of the equal copies that a reranker made; `memory` is the picker's."""

    owner: int
    prompt: list[int]
    new: list[int] = field(default_factory=list)
    rank: int = 0
    memory: dict[str, Any] = field(default_factory=dict)
    logits: Tensor | None = None  # guided and processed; None of rows that have ended

    @property
    def text(self) -> list[int]:
        return self.prompt + self.new

    def copy(self, rank: int) -> "Row":
        return Row(self.owner, self.prompt, list(self.new), rank, dict(self.memory))


Pick = Callable[[list[Row]], list[int]]  # a token for each row; of rows that have ended it does not matter


def compose(
    model, prompts: list[list[int]], n: int, pick: Pick, *, eos: int, guide=lambda i: oracles.unguided,
    process=lambda i, new, logits: logits, rerank: tuple | None = None,
) -> list[list[int]]:  # fmt: skip
    """At most n tokens after each prompt.

    guide: of prompt i, (text, logits) -> logits. process: (i, new tokens, logits) -> logits, the call's own processors.
    rerank: (every or None, samples, beams, score), score(i, new tokens) a number: Krishna et al. 2022, figure 5.
    """
    every, samples, beams, score = rerank or (None, 1, 1, lambda i, new: 0.0)
    ended = lambda row: len(row.new) == n or row.new[-1:] == [eos]
    rows = [Row(i, prompt, rank=r) for i, prompt in enumerate(prompts) for r in range(beams * samples)]
    for length in range(1, n + 1):
        for row in rows:
            row.logits = None
            if not ended(row):
                own = guide(row.owner)(row.text, oracles.read(model, row.text)[0])
                row.logits = process(row.owner, row.new, own)
                if row.logits.max() == -math.inf:  # masks and constraints together forbid all: the model alone
                    row.logits = process(row.owner, row.new, oracles.read(model, row.text)[0])
        for row, token in zip(rows, pick(rows), strict=True):
            if not ended(row):
                row.new.append(token)
            row.rank = 0
        last = all(map(ended, rows))
        if not last and not (every and length % every == 0):
            continue
        kept = []
        for i in range(len(prompts)):
            different: list[Row] = []
            for row in rows:
                if row.owner == i and row.new not in [other.new for other in different]:
                    different.append(row)
            best = sorted(different, key=lambda row: -score(row.owner, row.new))
            kept += best[: 1 if last else beams]
        if last:
            return [row.new for row in kept]
        rows = [row.copy(rank) for row in kept for rank in range(1 if ended(row) else samples)]
    raise AssertionError("no rows")


# Pickers: each a function of its parameters that gives a `Pick`.


def best_of(scores: dict[int, float], rank: int) -> int:
    """The token of the best score; for the copy of rank r the one r places on, around those that are not forbidden."""
    ordered = sorted(scores, key=lambda v: -scores[v])  # stable
    allowed = [v for v in ordered if scores[v] > -math.inf]
    return allowed[rank % len(allowed)]


def each(choose: Callable[[Row], int]) -> Pick:
    return lambda rows: [0 if row.logits is None else choose(row) for row in rows]


def greedy() -> Pick:
    return each(lambda row: best_of(dict(enumerate(row.logits.tolist())), row.rank))


def cosines(model, row: Row, tokens: list[int]) -> dict[int, float]:
    found = {}
    for v in tokens:
        states = oracles.read(model, [*row.text, v])[1]
        found[v] = float(F.cosine_similarity(states[:-1], states[-1:], dim=-1).max())
    return found


def top(row: Row, k: int) -> list[int]:
    return [v for v in row.logits.topk(k).indices.tolist() if row.logits[v] > -math.inf]


def contrastive_search(model, k: int, alpha: float) -> Pick:
    """Su et al. 2022, eq. 5."""

    def choose(row: Row) -> int:
        p, near = row.logits.softmax(-1), cosines(model, row, top(row, k))
        return best_of({v: float((1 - alpha) * p[v]) - alpha * near[v] for v in near}, row.rank)

    return each(choose)


def adaptive_contrastive_search(model, q: float, low: int, high: int) -> Pick:
    """Garces Arias et al. 2024, section 3."""

    def entropy(p: list[float]) -> float:
        return -sum(x * math.log(x) for x in p if x > 0)

    def certainty(value: float, earlier: list[float], largest: float) -> float:
        ratio = (value - (statistics.median(earlier) if earlier else value)) / largest
        if abs(ratio) >= 1:
            return 1.0 if ratio > 0 else 0.0
        return 1 / (1 + math.exp(-q * math.atanh(ratio)))

    def choose(row: Row) -> int:
        p = row.logits.double().softmax(-1).tolist()
        wide, narrow = row.memory.get("wide", []), row.memory.get("narrow", [])
        k = round(low + (high - low) * certainty(entropy(p), wide, math.log(len(p))))
        tokens = row.logits.topk(k).indices.tolist()
        mass = sum(p[v] for v in tokens)
        inner = entropy([p[v] / mass for v in tokens])
        alpha = certainty(inner, narrow, math.log(k))
        row.memory |= {"wide": [*wide, entropy(p)], "narrow": [*narrow, inner]}
        near = cosines(model, row, top(row, k))
        return best_of({v: (1 - alpha) * p[v] - alpha * near[v] for v in near}, row.rank)

    return each(choose)


def frustratingly_simple(k: int, alpha: float, n: int, beta: float) -> Pick:
    """Yang et al. 2023."""

    def choose(row: Row) -> int:
        p = row.logits.softmax(-1)
        scores = {v: (1 - alpha) * float(p[v]) - alpha * smoothed(row.text, v, n, beta) for v in top(row, k)}
        return best_of(scores, row.rank)

    return each(choose)


def draw(rows: list[Row], distributions: list[Tensor], generators: list[torch.Generator]) -> list[int]:
    """Each prompt's rows are drawn together, by its own generator."""
    found = []
    for i, generator in enumerate(generators):
        own = torch.stack([p for row, p in zip(rows, distributions, strict=True) if row.owner == i])
        found += torch.multinomial(own, 1, generator=generator).flatten().tolist()
    return found


def any_token(size: int) -> Tensor:
    """For rows that have ended, whose draw is thrown away."""
    return torch.full((size,), 1 / size)


def sample(size: int, generators: list[torch.Generator]) -> Pick:
    def pick(rows: list[Row]) -> list[int]:
        p = [any_token(size) if row.logits is None else row.logits.softmax(-1) for row in rows]
        return draw(rows, p, generators)

    return pick


def mirostat(size: int, generators: list[torch.Generator], tau: float, eta: float) -> Pick:
    """Basu et al. 2021, truncated by surprise."""

    def pick(rows: list[Row]) -> list[int]:
        kept = []
        for row in rows:
            if row.logits is None:
                kept.append(any_token(size))
                continue
            surprise = -row.logits.double().log_softmax(-1) / math.log(2)
            some = (surprise <= row.memory.get("mu", 2 * tau)) | (surprise == surprise.min())
            kept.append(row.logits.masked_fill(~some, -math.inf).softmax(-1))
        tokens = draw(rows, kept, generators)
        for row, v in zip(rows, tokens, strict=True):
            if row.logits is not None:
                seen = -float(row.logits.double().log_softmax(-1)[v]) / math.log(2)
                row.memory["mu"] = row.memory.get("mu", 2 * tau) - eta * (seen - tau)
        return tokens

    return pick


def arithmetic_sample(points: list[Fraction]) -> Pick:
    """Vilnis et al. 2023, section 3; copies of a row are spread evenly over what the row's text has."""

    def pick(rows: list[Row]) -> list[int]:
        copies: dict[tuple, list[Row]] = {}
        for row in rows:
            row.memory.setdefault("place", points[row.owner])
            copies.setdefault((row.owner, *row.new), []).append(row)
        if any(row.rank for row in rows):
            for same in copies.values():
                for i, row in enumerate(same):
                    row.memory["place"] = (row.memory["place"] + Fraction(i, len(same))) % 1
        found = []
        for row in rows:
            if row.logits is None:
                found.append(0)
                continue
            ends, place = cut(row.logits), row.memory["place"]
            v = next(v for v, end in enumerate(ends) if place < end)
            start = ends[v - 1] if v else Fraction(0)
            row.memory["place"] = (place - start) / (ends[v] - start)
            found.append(v)
        return found

    return pick


@contextmanager
def remembered():
    """Each text is read once while this lasts: many compositions read the same ones."""
    known, read = {}, oracles.read

    def once(model, ids, **inputs):
        key = (id(model), *ids)
        if key not in known:
            known[key] = read(model, ids, **inputs)
        logits, states = known[key]
        return logits.clone(), states

    with patch.object(oracles, "read", once):
        yield
