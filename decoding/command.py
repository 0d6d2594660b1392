"""What the commands share: errors of one line, exit statuses, tables to look at or to pipe."""

import argparse
import logging
import os
import shlex
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from scorers._common.checks import Range as Range
from scorers._common.checks import check_ranges as check_ranges
from scorers._common.checks import flag as flag


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Print it and exit with status 2."""
        sys.exit(fail(self.prog, message))


def serve(name: str, work: Callable[[], Any], stopped: Callable[[], str]) -> int:
    """Do the work, and return the status that a command exits with: 2 for a call that cannot work.

    Args:
        name: of the command, for its errors. stopped: says what an interrupted run leaves.
    """
    try:
        work()
        print(end="", flush=True)
    except KeyboardInterrupt:
        begin_line()
        print(f"stopped; {stopped()}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # our reader has had enough; what is still to be flushed at exit must go somewhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        return fail(name, f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except (ValueError, ImportError, RuntimeError) as error:  # RuntimeError: torch, of devices and memory
        return fail(name, str(error))
    return 0


def fail(name: str, message: str) -> int:
    """Say it in one line, in the name of the command's package."""
    package = name.removeprefix("python -m ").partition(" ")[0].partition(".")[0]
    print(f"{package}: error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def begin_line() -> None:
    """A terminal has written ^C where the cursor stood."""
    if sys.stderr.isatty():
        print(file=sys.stderr)


def answer_interrupts() -> None:
    """While the modules of a command are imported, which takes seconds, Ctrl-C is a line too, and no traceback."""
    spec, asked = getattr(sys.modules["__main__"], "__spec__", None), sys.orig_argv
    name = spec.name if spec else ""
    if sys.argv[:1] == ["-m"] and "-m" in asked[:-1]:  # its package is still being imported
        name = asked[asked.index("-m") + 1]
    if name.partition(".")[0] not in ("decoding", "scorers", "benchmarks"):
        return  # another's command, or a program that imports the package

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            begin_line()
            print("stopped; nothing was begun", file=sys.stderr, flush=True)
            os._exit(130)
        else:
            sys.__excepthook__(kind, error, trace)

    sys.excepthook = hook


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
            print("| " + " | ".join(map(str, cells)) + " |", flush=True)

        print_row(names)
        print("|" + "---|" * len(names), flush=True)
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


answer_interrupts()
