"""Ctrl-C in the process of a command: it prints one line and exits with status 130."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

STATUS = 130


class Answer:
    """The answer of a command to Ctrl-C, as a handler for `signal.signal`.

    In the middle of an import it ends the process, with a line about what is left. An exception must not end an import:
    numpy and torch, half imported, turn it into errors of their own or abort. Elsewhere it raises KeyboardInterrupt, as
    always.

    Args:
        stopped: returns what is left, for the message. None: the command has not begun, and Ctrl-C ends it at any
            place.
    """

    def __init__(self, stopped: Callable[[], str] | None) -> None:
        self.stopped = stopped

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.stopped is None or is_importing(frame):
            say_stopped(self.stopped() if self.stopped else "nothing was begun")
            leave()
        raise KeyboardInterrupt


def answer_interrupts(stopped: Callable[[], str] | None = None) -> None:
    """Answer Ctrl-C as a command does, from now on. A process that was started to ignore Ctrl-C still does."""
    now = signal.getsignal(signal.SIGINT)
    if now is signal.default_int_handler or isinstance(now, Answer):
        signal.signal(signal.SIGINT, Answer(stopped))


def is_importing(frame: FrameType | None) -> bool:
    """Whether an import was under way when the signal came."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib._bootstrap"):
            return True
        frame = frame.f_back
    return False


def say_stopped(what: str) -> None:
    """Print the message on a line of its own, since a terminal has written ^C where the cursor was."""
    if sys.stderr.isatty():
        print(file=sys.stderr)
    print(f"stopped; {what}", file=sys.stderr, flush=True)


def leave() -> NoReturn:
    """End the process at once, without `sys.exit`.

    Code that `exec` ran, such as that of dataclasses, may have raised KeyboardInterrupt. After that, Python ends by the
    signal at `sys.exit`, even if the exception was caught.
    """
    with contextlib.suppress(OSError, ValueError):  # a closed pipe
        sys.stdout.flush()
    os._exit(STATUS)
