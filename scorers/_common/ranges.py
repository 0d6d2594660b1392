"""Ranges of numbers, each stated once, where a field is declared. A part checks it, and a command checks it earlier."""

import dataclasses
import math
from collections.abc import Callable
from typing import Annotated, Any, get_args, get_origin

from .checks import Range


def at_least(least: float, why: str = "") -> Range:
    """A finite number of at least `least`. `why` is added to the error message after a colon.

    Example:
        >>> fits, wanted = at_least(1)
        >>> fits(0), wanted
        (False, 'be at least 1')
    """
    return lambda value: least <= value < math.inf, f"be at least {least}{': ' if why else ''}{why}"


def above(bound: float) -> Range:
    """A finite number above `bound`."""
    return lambda value: bound < value < math.inf, f"be above {bound}"


def whole(least: int) -> Range:
    """A whole number of at least `least`. True and False are not numbers here."""
    return (
        lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= least,
        f"be a whole number of at least {least}",
    )


COUNT = whole(1)
POSITIVE: Range = (above(0)[0], "be a number above 0")
NOT_NEGATIVE: Range = (at_least(0)[0], "be a number of at least 0")
UNIT: Range = (lambda value: 0 <= value <= 1, "lie in [0, 1]")
# for a nucleus or a plausibility mask: 0 would leave no token
SHARE: Range = (lambda value: 0 < value <= 1, "be above 0 and at most 1")
FRACTION: Range = (lambda value: 0 < value < 1, "lie between 0 and 1")  # for a part of a whole that is split
RATE: Range = (lambda value: 0 <= value < 1, "be at least 0 and under 1")  # for dropout
SEED: Range = (lambda value: 0 <= value <= 2**40, "be between 0 and 2**40")
SEED_32: Range = (lambda value: 0 <= value < 2**32, "be between 0 and 2**32 - 1")  # the range of transformers' seeds


def check_fields(part: Any, named: Callable[[str], str] = str) -> None:
    """Raise ValueError for a field of a dataclass that is out of its range. None is allowed if the type allows it.

    Args:
        part: the dataclass.
        named: makes the name of a field in the error message. Use `flag` for options of a command.

    Example:
        >>> @dataclasses.dataclass
        ... class Part:
        ...     alpha: Annotated[float, UNIT] = 0.6
        ...
        ...     __post_init__ = check_fields
        >>> Part(2)
        Traceback (most recent call last):
        ValueError: alpha must lie in [0, 1], not 2
    """
    for field in dataclasses.fields(part):
        if get_origin(field.type) is Annotated:
            value, (fits, wanted) = getattr(part, field.name), get_args(field.type)[1]
            if (value is None and type(None) in get_args(get_args(field.type)[0])) or fits(value):
                continue
            raise ValueError(f"{named(field.name)} must {wanted}, not {value!r}")
