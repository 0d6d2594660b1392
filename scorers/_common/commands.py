"""How the command of this package ends: errors of one line, exit statuses, Ctrl-C at any moment.

The commands of `decoding` have the same; neither package knows of the other.
"""

import argparse
import os
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Print it and exit with status 2."""
        sys.exit(fail(message))


def serve(work: Callable[[], Any], stopped: Callable[[], str]) -> int:
    """Do the work, and return the status that the command exits with: 2 for a call that cannot work.

    Args:
        stopped: says what an interrupted run leaves.
    """
    try:
        work()
    except KeyboardInterrupt:
        begin_line()
        print(f"stopped; {stopped()}", file=sys.stderr)
        return 130
    except OSError as error:
        return fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except (ValueError, ImportError, RuntimeError) as error:  # RuntimeError: torch, of devices and memory
        return fail(str(error))
    return 0


def fail(message: str) -> int:
    """Say it in one line."""
    print(f"scorers.train: error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def begin_line() -> None:
    """A terminal has written ^C where the cursor stood."""
    if sys.stderr.isatty():
        print(file=sys.stderr)


def answer_interrupts() -> None:
    """While the command's modules are imported, which takes seconds, Ctrl-C is a line too, and no traceback."""
    name, asked = getattr(getattr(sys.modules["__main__"], "__spec__", None), "name", ""), sys.orig_argv
    if sys.argv[:1] == ["-m"] and "-m" in asked[:-1]:  # its package is still being imported
        name = asked[asked.index("-m") + 1]
    if not name.startswith("scorers."):
        return  # another's command, or a program that imports the package
    other = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            return other(kind, error, trace)
        begin_line()
        print("stopped; nothing was begun", file=sys.stderr, flush=True)
        os._exit(130)

    sys.excepthook = hook


answer_interrupts()
