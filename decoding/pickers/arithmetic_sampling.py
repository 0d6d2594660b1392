"""Arithmetic sampling: Vilnis et al. 2023 (arXiv 2210.15458); the code of a sentence: Celotti et al. 2020 (AriEL)."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import ClassVar

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel

from scorers._common.checks import require_count

from ..hypotheses import Hypotheses
from ..parts import Picker
from ..row_states import State
from .arithmetic_coding import Interval, Point, shares


@dataclass(frozen=True)
class Code:
    """The code of a row: its point, and the interval of its text so far, which holds the point."""

    point: Point
    interval: Interval = field(default_factory=Interval)


CODES = State[list[Code]]("arithmetic_sampling.codes")


@dataclass(frozen=True)
class ArithmeticSample(Picker):
    """The text whose interval holds a point of [0, 1): arithmetic sampling, Vilnis et al. 2023, section 3.

    The first tokens divide [0, 1) among them, in the order of the vocabulary, by the guided and warped distribution.
    The tokens that may follow divide the interval of each first token, and so on. A uniform point gives a sample of the
    model. The n rows of a prompt take the points u + i/n modulo 1, i = 0 .. n-1, with one random u for each prompt. So
    every row is a sample, and for any text x, n p(x) rows begin with x, rounded up or down. Rows do not communicate.
    The authors' points are i/(n + 1), which leaves one gap of twice the width; ours are evenly spaced all around.

    If a reranker copies a row m times, the points of the copies are spread in the same way over the interval of the
    text so far. So they part at once, and each is still a sample.

    All numbers are integers of any size (see `arithmetic_coding`), so precision does not run out in long texts. The
    distribution is that of logits rounded to 2**-12. The later tokens of a point depend on the slightest change of
    probability: a float64 model gives the same text in any batch, a float32 model only in batches of the same shape.

    Step scores are the log-probability of the token.

    Args:
        n: rows of each prompt, equal to the call's `num_return_sequences`.
        points: an exact point for each row of the call, in order, 0 <= point < 1, as Fractions or floats; nothing is
            drawn. None: random points from the call's `generator=`; with a generator for each row, a prompt uses that
            of its first row.

    Raises:
        ValueError: a number is out of range, or points and n are both given. In the call: `do_sample=False`, with which
            transformers leaves out the warpers, or another number of rows.

    Example:
        >>> import decoding
        >>> model, tokenizer = decoding.load()
        >>> inputs = tokenizer("The night was", return_tensors="pt")
        >>> spread = decoding.ArithmeticSample(n=4)
        >>> rows = decoding.generate(model, **inputs, processors=[spread], num_return_sequences=4, max_new_tokens=3)
        >>> len({tuple(row) for row in rows.tolist()})
        4
    """

    n: int = 1
    points: Sequence[Fraction | float] | None = None

    draws = True
    rule = "the token whose part of the row's interval holds the row's point"
    terms: ClassVar[Mapping[str, str]] = {
        "begin": "where the token's part begins, with the whole interval from 0 to 1",
        "end": "where the token's part ends",
        "point": "where the row's point lies: in the part of the token that is taken",
    }

    def __post_init__(self) -> None:
        require_count("n", self.n)
        if self.points is None:
            return
        if self.n != 1:
            raise ValueError("n spaces random points, and points are exact: give one of the two")
        points = tuple(self.points)
        if not points or not all(0 <= point < 1 for point in points):
            raise ValueError(f"points must lie in [0, 1), at least one, not {list(points)!r}")
        object.__setattr__(self, "points", tuple(Fraction(point) for point in points))

    def check(self, model: PreTrainedModel, generation_config: GenerationConfig) -> None:
        """Refuse another number of rows."""
        name, rows = type(self).__name__, generation_config.num_return_sequences or 1
        if self.points is None and rows != self.n:
            raise ValueError(f"{name}(n={self.n}) with num_return_sequences={rows}: give both the same number")
        if self.points is not None and len(self.points) % rows:
            raise ValueError(f"{len(self.points)} points for num_return_sequences={rows}: give one for each row")

    def __call__(self, hypotheses: Hypotheses) -> None:
        """Append to every row the token whose part of the row's interval holds the row's point."""
        logits = hypotheses.logits()  # (R, V)
        ends = shares(logits).cumsum(-1)
        codes = self.codes_of_rows(hypotheses)
        places = [
            0 if done else code.point.place(code.interval, total)
            for code, total, done in zip(codes, ends[:, -1].tolist(), hypotheses.done.tolist(), strict=True)
        ]
        hypotheses.explain(
            None, begin=lambda: torch.nn.functional.pad(ends[:, :-1], (1, 0)) / ends[:, -1:].double(),
            end=lambda: ends / ends[:, -1:].double(),
            point=lambda: torch.tensor(places, device=ends.device)[:, None] / ends[:, -1:].double(),
        )  # fmt: skip
        tokens = torch.searchsorted(ends, torch.tensor(places, device=ends.device)[:, None], right=True)  # (R, 1)
        parts = narrow_intervals([code.interval for code in codes], ends, tokens, hypotheses.done.tolist())
        hypotheses.state[CODES] = [Code(code.point, part) for code, part in zip(codes, parts, strict=True)]
        hypotheses.append(tokens.squeeze(-1), logits.log_softmax(-1).gather(-1, tokens).squeeze(-1))

    def codes_of_rows(self, hypotheses: Hypotheses) -> list[Code]:
        """The code of each row. Copies that a reranker has just made get evenly spread points."""
        owners = hypotheses.owners.tolist()
        if CODES in hypotheses.state:
            known = hypotheses.state[CODES]
            return spread_codes(known, owners) if hypotheses.ranks.any() else known
        if self.points is None:
            prompts = [owner // self.n for owner in owners]
            seeds = draw_seeds(hypotheses, self.n)
            return spread_codes([Code(Point(seed=seeds[prompt])) for prompt in prompts], prompts)
        if len(self.points) != hypotheses.prompts:
            raise ValueError(f"{len(self.points)} points for {hypotheses.prompts} rows: give one for each")
        return spread_codes([Code(Point(Fraction(self.points[owner]))) for owner in owners], owners)


def spread_codes(codes: Sequence[Code], groups: Sequence[Hashable]) -> list[Code]:
    """Move the points of equal codes apart; other codes stay as they are.

    Among m equal codes of a group, the i-th moves by i/m of the interval, i = 0 .. m - 1.
    """
    keys = list(zip(groups, codes, strict=True))
    count, seen, found = Counter(keys), Counter[tuple[Hashable, Code]](), []
    for key in keys:
        code = key[1]
        found.append(Code(code.point.turned(code.interval, seen[key], count[key]), code.interval))
        seen[key] += 1
    return found


def narrow_intervals(
    intervals: Sequence[Interval], ends: Tensor, tokens: Tensor, done: Sequence[bool]
) -> list[Interval]:
    """Narrow the interval of each of R rows to the part of the token that the row takes.

    Args:
        intervals: the intervals of the texts so far.
        ends: (R, V) int64, cumulative shares of the tokens.
        tokens: (R, 1) int64, the token that each row takes.
        done: whether each row has ended; its interval then stays as it is.
    """
    after = ends.gather(-1, tokens).flatten().tolist()
    before = ends.gather(-1, (tokens - 1).clamp(min=0)).masked_fill(tokens == 0, 0).flatten().tolist()
    rows = zip(intervals, before, after, ends[:, -1].tolist(), done, strict=True)
    return [whole if ended else whole.part(low, high - low, total) for whole, low, high, total, ended in rows]


def draw_seeds(hypotheses: Hypotheses, n: int) -> list[bytes]:
    """Draw 124 random bits for each prompt of n rows, from the call's generator or from that of its first row."""
    generator, seeds = hypotheses.generator, []
    for row in range(0, hypotheses.prompts, n):
        own = generator if generator is None or isinstance(generator, torch.Generator) else generator[row]
        words = torch.randint(2**62, (2,), generator=own, device=None if own is None else own.device).tolist()
        seeds.append(b"".join(word.to_bytes(8) for word in words))
    return seeds
