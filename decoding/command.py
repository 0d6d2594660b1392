"""What the commands share: options whose errors are one line, and an exit status for whatever can go wrong."""

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

Range = tuple[Callable[[Any], bool], str]  # what fits, and how to say it


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


def flag(name: str) -> str:
    """How an option is written in a call."""
    return "--" + name.replace("_", "-")


def check_ranges(values: Mapping[str, Any], ranges: Mapping[str, Range]) -> None:
    """Raise ValueError for a number out of range; None is not given."""
    for name, (fits, wanted) in ranges.items():
        value = values.get(name)
        if value is not None and not fits(value):
            raise ValueError(f"{flag(name)} must {wanted}, not {value}")


def silence() -> None:
    """No warnings and progress bars of the libraries: standard error is for what the user can act on."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
