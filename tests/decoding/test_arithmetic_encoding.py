"""The interval of a text holds the points that give it; what cannot be encoded is refused."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import decoding
from decoding import ArithmeticSample, BestOfN, ContrastiveSearch
from decoding.pickers.arithmetic_coding import Interval
from tests.support import tiny
from tests.support.arithmetic import exact, sample, small, texts
from tests.support.calls import MODELS, PROMPTS


@settings(max_examples=12, deadline=None)
@given(
    prompts=st.lists(st.lists(st.integers(3, 60), min_size=1, max_size=9), min_size=1, max_size=4),
    data=st.data(),
    make=st.sampled_from(MODELS),
)
def test_the_interval_of_a_points_text_holds_the_point_and_its_shortest_gives_the_text(prompts, data, make):
    model = make()
    unit = st.fractions(0, 1).filter(lambda x: x < 1) | st.floats(0, 1, exclude_max=True)
    points = [data.draw(unit) for _ in prompts]
    rows = sample(model, prompts, ArithmeticSample(points=points), n=5)
    found = decoding.encode(model, rows, **tiny.batch(prompts), top_k=0)
    assert all(point in interval for point, interval in zip(points, found, strict=True))
    shortest = [interval.shortest() for interval in found]
    assert sample(model, prompts, ArithmeticSample(points=shortest), n=5) == rows
    for interval, code in zip(found, shortest, strict=True):
        assert code in interval
        assert code.denominator.bit_length() - 1 <= interval.bits + 2


def test_intervals_of_all_texts_divide_the_unit_interval_in_order():
    model, every = small(), texts(5, 3)
    found = decoding.encode(model, every, **tiny.batch([[3, 4]] * len(every)), top_k=0)
    assert len(every) == 1 + 4 + 16 * 5
    assert found[0].start == 0
    assert found[-1].end == 1
    assert all(left.end == right.start for left, right in itertools.pairwise(found))
    probability = [float(interval.end - interval.start) for interval in found]
    expected = exact(model, every)
    assert probability == pytest.approx(expected, rel=1e-3)
    assert sum(interval.end - interval.start for interval in found) == 1


def test_the_first_point_of_an_interval_gives_its_text():
    model, every = small(), texts(5, 3)
    prompts = [[3, 4]] * len(every)
    found = decoding.encode(model, every, **tiny.batch(prompts), top_k=0)
    starts = ArithmeticSample(points=[interval.start for interval in found])
    assert sample(model, prompts, starts, n=3) == every
    shortest = ArithmeticSample(points=[interval.shortest() for interval in found])
    assert sample(model, prompts, shortest, n=3) == every


def encode(rows, **options):
    return decoding.encode(tiny.gpt2(), rows, **{**tiny.batch([[5, 9]] * len(rows)), "top_k": 0, **options})


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([[5, 6]], {"processors": [ContrastiveSearch()]}, "not of ContrastiveSearch"),
        ([[5, 6]], {"processors": [BestOfN(len)]}, "not of BestOfN"),
        ([[5, 6]], {"max_new_tokens": 1}, "2 tokens is over max_new_tokens=1"),
        ([[5, 6]], {"num_return_sequences": 2}, "num_return_sequences repeats prompts"),
        ([[5, 6]], {"do_sample": False}, "needs do_sample=True"),
        ([[5, 61]], {}, "continuation 0 cannot have token 61 at place 1"),
        ([[5, 6], [5, -1]], {}, "continuation 1 cannot have token -1 at place 1"),
        ([[5, 2, 7], [5, 6, 7]], {}, "continuation 0 cannot have token 7 at place 2"),
        ([[5, 2, 7]], {}, "continuation 0 cannot have token 7 at place 2"),
        ([[5, 6]], {"suppress_tokens": [6]}, "continuation 0 cannot have token 6 at place 1"),
    ],
)
def test_encode_refuses(rows, options, message):
    with pytest.raises(ValueError, match=message):
        encode(rows, **options)


def test_encode_refuses_other_numbers_of_prompts():
    with pytest.raises(ValueError, match="1 continuations for 3 prompts"):
        decoding.encode(tiny.gpt2(), [[5]], **tiny.batch(PROMPTS))


def test_encode_takes_texts_of_different_lengths():
    together = encode([[5, 6, 9], [], [7]])
    assert together == [encode([[5, 6, 9]])[0], Interval(), encode([[7]])[0]]
    assert encode([[], []]) == [Interval(), Interval()]
    assert encode([[5, 6, 9]], max_length=20) == encode([[5, 6, 9]])
    assert encode([[5, 6, 9]], max_length=20, forced_eos_token_id=2) == encode([[5, 6, 9]])
