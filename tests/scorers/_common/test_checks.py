"""Every check lets what is right pass, and says of the rest in one line what would be right."""

from types import SimpleNamespace

import pytest

from scorers._common.checks import check_range, check_ranges, flag, require_count, require_one_of


@pytest.mark.parametrize("value", [2, 10**9])
def test_a_count_is_a_whole_number(value):
    require_count("k", value, 2)
    require_count("k", None, optional=True)


@pytest.mark.parametrize("value", [1, -3, 2.0, True, "4", None, float("nan")])
def test_what_is_no_count(value):
    with pytest.raises(ValueError, match=r"^k must be a whole number of at least 2, not "):
        require_count("k", value, 2)


def test_one_of_some():
    require_one_of("kind", "left", ["left", "right"])
    with pytest.raises(ValueError, match=r"^kind must be 'left' or 'right', not 'up'$"):
        require_one_of("kind", "up", ["left", "right"])


@pytest.mark.parametrize("value", [0, 1, 0.5])
def test_a_number_in_its_range(value):
    check_range(SimpleNamespace(alpha=value), "alpha", 0, 1)
    check_range(SimpleNamespace(alpha=value), "alpha", 0)


@pytest.mark.parametrize("value", [-0.1, 1.1, True, "0.5", None, float("nan"), float("inf")])
def test_a_number_out_of_its_range(value):
    with pytest.raises(ValueError, match=r"^SimpleNamespace: alpha must lie in \[0, 1\], not "):
        check_range(SimpleNamespace(alpha=value), "alpha", 0, 1)


def test_without_an_upper_bound_infinity_is_refused_too():
    with pytest.raises(ValueError, match="alpha must be a number of at least 0, not inf"):
        check_range(SimpleNamespace(alpha=float("inf")), "alpha", 0)


def test_options_are_named_as_they_are_written():
    assert flag("top_p") == "--top-p"
    ranges = {
        "top_p": (lambda value: 0 < value <= 1, "be above 0 and at most 1"),
        "k": (lambda value: value > 0, "be 1"),
    }
    check_ranges({"top_p": 1.0, "k": None}, ranges)  # None was not given
    check_ranges({}, ranges)
    with pytest.raises(ValueError, match=r"^--top-p must be above 0 and at most 1, not 0$"):
        check_ranges({"top_p": 0}, ranges)
