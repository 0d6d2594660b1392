"""The output of commands: tables and progress bars, without the messages of the libraries."""

import logging
import shlex
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .markdown import markdown_row, markdown_table


@contextmanager
def progress(total: int, unit: str) -> Iterator[Callable[[], Any]]:
    """Give a function that advances a progress bar by one. The bar is shown on terminals only."""
    from tqdm import tqdm

    with tqdm(total=total, unit=unit, leave=False, disable=not sys.stderr.isatty()) as bar:
        yield bar.update


@contextmanager
def table(names: Sequence[str], coming: Sequence[str] = ()) -> Iterator[Callable[[Sequence[Any]], None]]:
    """Give a function that shows a row of a table at once: as a line of Markdown, or on a terminal in a coloured table.

    NO_COLOR is respected. rich need not be installed.

    Args:
        names: the headings.
        coming: the name of each row to come, if rows take long. A terminal shows which of them is being computed.
    """
    try:
        from rich.console import Console, Group
        from rich.live import Live
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        rich = False
    else:
        rich = sys.stdout.isatty()
    if not rich:

        def print_row(cells: Sequence[Any]) -> None:
            print(markdown_row(cells), flush=True)

        print(*markdown_table(names), sep="\n", flush=True)
        yield print_row
        return
    shown = Table(*map(str, names), header_style="bold cyan")
    with Live(console=Console(), auto_refresh=False, vertical_overflow="visible") as live:

        def look() -> None:
            number = shown.row_count
            below = [Text(f"{number + 1} of {len(coming)}: {coming[number]}", "dim")] if number < len(coming) else []
            live.update(Group(shown, *below), refresh=True)

        def add_row(cells: Sequence[Any]) -> None:
            shown.add_row(*map(str, cells))
            look()

        look()
        try:
            yield add_row
        finally:
            live.update(shown, refresh=True)


def interpreter() -> str:
    """The command that calls this Python, in a line that can be pasted: `python`, or a path.

    The path is relative to the current folder if Python lies in it.
    """
    if (found := shutil.which("python")) and Path(found).absolute() == Path(sys.executable).absolute():
        return "python"
    here, file = Path.cwd(), Path(sys.executable)
    return shlex.quote(str(file.relative_to(here) if file.is_relative_to(here) else file))


def silence() -> None:
    """Switch off the libraries' warnings and progress bars: standard error has only what the user can act on."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
