"""What a command shows: tables, progress bars, and nothing of what the libraries would say."""

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
    """Gives a function that moves a bar on by one. There is a bar on terminals alone, and nothing is left of it."""
    from tqdm import tqdm

    with tqdm(total=total, unit=unit, leave=False, disable=not sys.stderr.isatty()) as bar:
        yield bar.update


@contextmanager
def table(names: Sequence[str], coming: Sequence[str] = ()) -> Iterator[Callable[[Sequence[Any]], None]]:
    """Gives a function that shows a row: at once, as a line of Markdown; on a terminal, in a coloured table.

    NO_COLOR is respected, and rich need not be installed.

    Args:
        coming: what each row is of, where rows take long: a terminal says which of them is being worked at.
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
    """How this Python is called in a command that can be pasted: `python`, or where it lies as seen from here."""
    if (found := shutil.which("python")) and Path(found).absolute() == Path(sys.executable).absolute():
        return "python"
    here, file = Path.cwd(), Path(sys.executable)
    return shlex.quote(str(file.relative_to(here) if file.is_relative_to(here) else file))


def silence() -> None:
    """No warnings and progress bars of the libraries: standard error is for what the user can act on."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
