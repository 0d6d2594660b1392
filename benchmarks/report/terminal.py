"""Tables of scores on a terminal, or in plain text if the output goes to a file."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .tables import MISSING, Column, bracketed, flat, make_columns, names, notes_of


def show(scores: Mapping[str, Any], console: Console) -> None:
    """Print the table of scores.

    On a terminal it is coloured and broken to fit. Elsewhere it is plain, with a line for each system.

    Args:
        scores: the content of scores.json.
        console: a console of rich.

    Example:
        >>> systems = [{"decoder": "greedy", "metrics": {"mauve": {"value": 0.08, "low": 0.07, "high": 0.1}}}]
        >>> scores = {"task": "news", "metrics": {"mauve": {"title": "MAUVE", "better": "higher"}}, "systems": systems}
        >>> show(scores, Console())
        news
        system  MAUVE (higher)
        human   -
        greedy  0.080 [0.070, 0.100]
    """
    columns = make_columns(scores)
    console.print(Text(str(scores["task"]), style="bold"), soft_wrap=True)
    if not columns:
        console.print("no scores")
    elif not console.is_terminal:
        lines = [["system", *(with_better(column, " ({})") for column in columns)]]
        lines += [[name, *(bracketed(column.cells[i]) for column in columns)] for i, name in enumerate(names(scores))]
        widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            console.out(
                "  ".join(set_cell_size(*cell) for cell in zip(line, widths, strict=True)).rstrip(), highlight=False
            )
    else:
        for shown in fitting(columns, names(scores), console.width):
            console.print(terminal_table(shown, names(scores)))
    for title, text in notes_of(scores, columns):
        console.print(Text(f"note: {title}: {text}"), soft_wrap=not console.is_terminal)
    if signature := signed(scores.get("signature") or {}):
        console.print(Text(f"signature: {signature}", style="dim"), soft_wrap=not console.is_terminal)


def signed(signature: Mapping[str, Any]) -> str:
    """All that the numbers depend on, in one line to copy. How each interval was made is left out.

    Example:
        >>> signed({"model": "m@1", "judge": {"dtype": "float32"}, "runs": [{}], "reference": {}})
        'model:m@1|judge.dtype:float32'
    """
    kept = {name: value for name, value in signature.items() if name not in ("runs", "reference")}
    return "|".join(f"{name}:{value}" for name, value in flat(kept))


def terminal_table(columns: Sequence[Column], rows: Sequence[str]) -> Table:
    """A table of some of the columns, with the intervals below the values."""
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    table.add_column("system", no_wrap=True)
    for column in columns:
        said = with_better(column, "\n{}").partition("\n")
        table.add_column(Text.assemble(said[0], said[1], (said[2], "dim not bold")), justify="right", no_wrap=True)
    for number, name in enumerate(rows):
        cells = []
        for cell in (column.cells[number] for column in columns):
            style = "bold green" if cell.best else "dim" if cell.value == MISSING else ""
            below = f"\n[{cell.low}, {cell.high}]" if cell.low else ""
            cells.append(Text.assemble((cell.marked, style), (below, "dim")))
        table.add_row(Text(name, style="cyan" if number == 0 else ""), *cells, end_section=number == 0)
    return table


def fitting(columns: Sequence[Column], rows: Sequence[str], width: int) -> Iterator[Sequence[Column]]:
    """Yield the columns in groups, each as wide as fits the terminal, with at least one column in each."""
    chosen: list[Column] = []
    console = Console(width=100_000)
    for column in columns:
        if chosen and console.measure(terminal_table([*chosen, column], rows)).maximum > width:
            yield chosen
            chosen = []
        chosen.append(column)
    yield chosen


def with_better(column: Column, form: str) -> str:
    """The heading of a column, with a word in place of an arrow, since a terminal may not have arrows."""
    word = {"reference": "near human"}.get(column.better or "", column.better)
    return column.heading + (form.format(word) if word else "")
