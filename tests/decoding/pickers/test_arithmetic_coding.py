"""Arithmetic coding: intervals, points and shares, in whole numbers."""

import hashlib
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from decoding.pickers import arithmetic_coding as coding
from decoding.pickers.arithmetic_coding import Interval, Point, shares


@given(st.lists(st.integers(0, 20), min_size=1, max_size=6).filter(any), st.binary(min_size=1, max_size=4))
def test_digits_are_asked_for_until_the_place_is_known(sizes, seed):
    total, point = sum(sizes), Point(Fraction(0), seed)
    digits = Fraction(int.from_bytes(hashlib.shake_256(seed).digest(64)), 2**512)
    assert point.place(Interval(), total) == int(digits * total)
    moved = point.turned(Interval(), 1, 3)
    assert moved.place(Interval(), 3 * 7) == int((digits + Fraction(1, 3)) % 1 * 21)
    at = 0
    for size in sizes:  # the part of [0, 1) that holds it is the one that it is in
        if size:
            inside = at <= point.place(Interval(), total) < at + size
            assert (digits in Interval().part(at, size, total)) == inside
        at += size


def test_digits_near_a_border_are_followed_as_far_as_it_takes(monkeypatch):
    """1/3 is 0.0101...: forty bytes of that leave open on which side of it a point lies."""
    for rest, place in ((b"\xff", 1), (b"\x00", 0)):
        digest = b"\x55" * 40 + rest * 1000
        monkeypatch.setattr(coding, "shake_256", lambda _, digest=digest: Fake(digest))
        assert Point(seed=b"any").place(Interval(), 3) == place
        assert Point(Fraction(1, 6), b"any").place(Interval(), 2) == place


class Fake:
    """A hash whose bytes are known."""

    def __init__(self, known):
        self.known = known

    def digest(self, count):
        return self.known[:count]


@given(st.integers(0, 500), st.integers(1, 500), st.integers(0, 500))
def test_no_point_of_the_interval_has_fewer_digits_than_the_shortest(low, width, rest):
    interval = Interval(low, width, low + width + rest)
    found = interval.shortest()
    assert found in interval
    digits = found.denominator.bit_length() - 1
    fewer = [Fraction(i, 2**n) for n in range(digits) for i in range(2**n)]
    assert not any(point in interval for point in fewer)
    assert all(Fraction(i, 2**digits) not in interval for i in range(int(found * 2**digits)))


def test_a_point_on_a_border_belongs_to_what_begins_there():
    assert Point(Fraction(1, 2)).place(Interval(), 4) == 2
    assert Point(Fraction(3, 7)).place(Interval(3, 2, 7), 10) == 0
    assert 0.5 in Interval(1, 1, 2)
    assert 0.5 not in Interval(0, 1, 2)
    assert Interval().shortest() == 0
    assert Interval(1, 1, 3).shortest() == Fraction(1, 2)
    assert Interval(5, 1, 16).shortest() == Fraction(5, 16)


def test_shares_keep_proportions_and_forget_what_rounding_does():
    logits = torch.randn(4, 1000, generator=torch.Generator().manual_seed(0)) * 3
    logits[:, 7] = -torch.inf
    found = shares(logits)
    assert found.dtype == torch.int64
    assert (found[:, 7] == 0).all()
    assert (found.double() / found.sum(-1, keepdim=True)).allclose(logits.double().softmax(-1), rtol=3e-4, atol=1e-11)
    grid = (logits * 16).round() / 16
    assert torch.equal(shares(grid), shares(grid + torch.rand(4, 1000) * 2e-5))
    assert torch.equal(shares(logits), torch.cat([shares(row[None]) for row in logits]))
    assert shares(torch.tensor([[0.0, -1000.0]]))[0, 1] == 1  # what may come can be said


@pytest.mark.parametrize("row", [[-torch.inf] * 3, [0.0, torch.nan, 1.0], [0.0, torch.inf, 1.0]])
def test_refuses_logits_that_are_no_distribution(row):
    with pytest.raises(ValueError, match="no finite maximum"):
        shares(torch.tensor([[0.0, 1.0, 2.0], row]))
