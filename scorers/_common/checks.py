"""Checks of arguments. Each raises an error of one line, before any work."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Range = tuple[Callable[[Any], bool], str]  # a test of a value, and the end of the message "... must ..."


def require_count(name: str, value: Any, least: int = 1, optional: bool = False) -> None:
    """Raise ValueError if an argument is not a whole number of at least `least`. If it is optional, None is allowed."""
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, not {value!r}")


def require_one_of(name: str, value: Any, options: Sequence[str]) -> None:
    """Raise ValueError if an argument is not one of the options."""
    if value not in options:
        raise ValueError(f"{name} must be {' or '.join(map(repr, options))}, not {value!r}")


def check_range(part: object, name: str, low: float, high: float = math.inf) -> None:
    """Raise ValueError if an argument of a part is not a number from `low` to `high`."""
    value = getattr(part, name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high or math.isinf(value):
        span = f"lie in [{low}, {high}]" if high < math.inf else f"be a number of at least {low}"
        raise ValueError(f"{type(part).__name__}: {name} must {span}, not {value!r}")


def flag(name: str) -> str:
    """The name of an option, as it is written in a call."""
    return "--" + name.replace("_", "-")


def check_ranges(values: Mapping[str, Any], ranges: Mapping[str, Range]) -> None:
    """Raise ValueError for a number out of range. A value of None was not given."""
    for name, (fits, wanted) in ranges.items():
        value = values.get(name)
        if value is not None and not fits(value):
            raise ValueError(f"{flag(name)} must {wanted}, not {value}")
