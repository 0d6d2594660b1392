"""Tables in Markdown, as GitHub reads them."""

from collections.abc import Iterable, Sequence
from typing import Any


def markdown_table(headings: Sequence[Any], rows: Iterable[Sequence[Any]] = (), right: Iterable[int] = ()) -> list[str]:
    """The lines of a table.

    Args:
        headings: a heading for each column.
        rows: the cells of each row, one for each column.
        right: the numbers of the columns, from 0, that are aligned to the right.

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
    """A row of a table, for tables that are printed row by row.

    Example:
        >>> markdown_row(["greedy", "", 3])
        '| greedy | | 3 |'
    """
    return "".join(f"| {cell} " if str(cell) else "| " for cell in cells) + "|"
