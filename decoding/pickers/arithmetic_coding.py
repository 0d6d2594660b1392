"""Arithmetic coding of texts in whole numbers. Every text has an interval of [0, 1), and every point a text."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from hashlib import shake_256

import torch
from torch import Tensor

STEP = 2.0**-12  # what logits are rounded to: probabilities change by at most 0.025 per cent
ONE = 2**40  # the share of the most probable token; every token that is allowed has at least 1


@dataclass(frozen=True)
class Interval:
    """The part [low, low + width) / whole of [0, 1), exact however narrow it is.

    `point in interval` says whether a point lies in it.

    Args:
        low: where the interval starts, at least 0.
        width: its width, at least 1.
        whole: the number of parts of [0, 1), at least low + width.

    Example:
        >>> half = Interval().part(1, 1, 2)
        >>> half.start, half.end, Fraction(3, 4) in half, 0.25 in half
        (Fraction(1, 2), Fraction(1, 1), True, False)
    """

    low: int = 0
    width: int = 1
    whole: int = 1

    def part(self, below: int, share: int, total: int) -> "Interval":
        """The part of this interval from below/total to (below + share)/total of its width."""
        return Interval(self.low * total + self.width * below, self.width * share, self.whole * total)

    def __contains__(self, point: Fraction | float) -> bool:
        return self.start <= Fraction(point) < self.end

    @property
    def start(self) -> Fraction:
        """The first point of the interval."""
        return Fraction(self.low, self.whole)

    @property
    def end(self) -> Fraction:
        """The first point after the interval."""
        return Fraction(self.low + self.width, self.whole)

    @property
    def bits(self) -> float:
        """The surprise of the text in bits, which is -log2 of the width; at least 0."""
        return math.log2(self.whole) - math.log2(self.width)

    def shortest(self) -> Fraction:
        """The point with the fewest binary digits, at most ceil(bits) + 1; of two, the first."""
        for digits in range(max(0, math.floor(self.bits) - 1), self.whole.bit_length() + 2):
            number = -(-(self.low << digits) // self.whole)  # rounded up
            if number * self.whole < (self.low + self.width) << digits:
                return Fraction(number, 1 << digits)
        raise AssertionError("an interval holds a number of as many digits as its whole")


@dataclass(frozen=True)
class Point:
    """A point of [0, 1): `at`, plus a random number of [0, 1) if there is a `seed`, which decides its binary digits.

    The digits are made as they are needed. They are those of SHAKE-256 of the seed, so they are the same on every
    machine and every time.

    Example:
        >>> Point(Fraction(2, 3)).place(Interval(), 6), Point(seed=b"any").place(Interval(), 6)
        (4, 1)
    """

    at: Fraction = Fraction(0)
    seed: bytes | None = None

    def place(self, interval: Interval, total: int) -> int:
        """Which of `total` equal parts of an interval holds the point, from 0. The point must lie in the interval."""
        return next(low for low, high in self._places(interval, total) if low == high)

    def turned(self, interval: Interval, by: int, of: int) -> "Point":
        """The point moved on by the fraction by/of of the interval's width, around its end; 0 <= by < of."""
        around = of if self.place(interval, of) + by >= of else 0
        return Point(self.at + Fraction(interval.width * (by - around), interval.whole * of), self.seed)

    def _places(self, interval: Interval, total: int) -> Iterator[tuple[int, int]]:
        """Yield the first and the last part that can hold the point, using more and more of its digits."""
        count = 0 if self.seed is None else interval.whole.bit_length() + total.bit_length() + 64
        while True:
            count = -(-count // 8) * 8
            digits = 0 if self.seed is None else int.from_bytes(shake_256(self.seed).digest(count // 8))
            number, scale = (self.at.numerator << count) + digits * self.at.denominator, self.at.denominator << count
            first = (number * interval.whole - interval.low * scale) * total
            beyond = first + self.at.denominator * interval.whole * total
            low, high = first // (scale * interval.width), (beyond - 1) // (scale * interval.width)
            yield low, low if self.seed is None else high
            count *= 2


def shares(logits: Tensor) -> Tensor:
    """Shares in proportion to softmax(logits): (R, V) float -> (R, V) int64, from 1 to 2**40; 0 where a logit is -inf.

    Logits are first rounded to multiples of 2**-12. Shares are then whole numbers from a table. So they are equal on
    every machine, and for logits that are equal after rounding.

    Raises:
        ValueError: in some row every token is forbidden, or a logit is nan or infinity.

    Example:
        >>> shares(torch.tensor([[0.0, -1.0, -60.0, -torch.inf]]))
        tensor([[1099511627776,  404487723188,             1,             0]])
    """
    levels = (logits.double() / STEP).round()
    top = levels.amax(-1, keepdim=True)
    if not top.isfinite().all():
        raise ValueError("the guided logits of some row have no finite maximum: every token is forbidden, or the model "
                         "gave nan or infinity")  # fmt: skip
    known = share_table().to(logits.device)
    return known[(top - levels).clamp(max=len(known) - 1).long()].masked_fill(logits == -torch.inf, 0)


@lru_cache(maxsize=1)
def share_table() -> Tensor:
    """The table of shares, int64: round(2**40 exp(-i / 2**12)) for i from 0 until it is 1."""
    return torch.tensor([round(ONE * math.exp(-i * STEP)) for i in range(math.ceil(math.log(ONE) / STEP) + 1)])
