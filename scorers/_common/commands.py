"""How every command of the three packages starts and ends: one line for an error, exit statuses, Ctrl-C.

The status is 0, 2 for a call that cannot work, or 130 for one that was stopped. Importing this changes nothing.
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
    """Say it in one line, as "decoding: error: ..." in the name of the command's package."""
    command = name.removeprefix("python -m ").partition(" ")[0]
    speaker = command if command.startswith("scorers.") else command.partition(".")[0]
    print(f"{speaker}: error: {' '.join(message.split())}", file=sys.stderr)
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
