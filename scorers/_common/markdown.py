"""Tables in Markdown, as GitHub reads them."""

from collections.abc import Iterable, Sequence
from typing import Any


def markdown_table(headings: Sequence[Any], rows: Iterable[Sequence[Any]] = (), right: Iterable[int] = ()) -> list[str]:
    """The lines of a table.

    Args:
        headings: one a column. rows: the cells of each row, as many.
        right: the numbers of the columns, from 0, whose cells end at the right side.

    Example:
        >>> print(*markdown_table(["method", "MAUVE"], [["greedy", 0.08]], right=[1]), sep="\\n")
        | method | MAUVE |
        |---|---:|
        | greedy | 0.08 |
    """
    ends = set(right)
    rule = "".join("|---:" if i in ends else "|---" for i in range(len(headings))) + "|"
    return [markdown_row(headings), rule, *map(markdown_row, rows)]


def markdown_row(cells: Iterable[Any]) -> str:
    """A row of a table, for those that are printed as they are found.

    Example:
        >>> markdown_row(["greedy", "", 3])
        '| greedy | | 3 |'
    """
    return "".join(f"| {cell} " if str(cell) else "| " for cell in cells) + "|"
