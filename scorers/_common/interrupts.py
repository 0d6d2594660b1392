"""Ctrl-C in a process that is a command: one line and exit status 130."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

STATUS = 130


class Answer:
    """What a command does at Ctrl-C: `signal.signal` takes it as a handler.

    In the middle of an import it ends the process, with a line that says what is left. An import must not be left by an
    exception: numpy and torch, half imported, turn it into errors of their own or abort. Elsewhere it raises
    KeyboardInterrupt, as ever.

    Args:
        stopped: says what is left. None: the command has not begun, and Ctrl-C ends it wherever it is.
    """

    def __init__(self, stopped: Callable[[], str] | None) -> None:
        self.stopped = stopped

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.stopped is None or is_importing(frame):
            say_stopped(self.stopped() if self.stopped else "nothing was begun")
            leave()
        raise KeyboardInterrupt


def answer_interrupts(stopped: Callable[[], str] | None = None) -> None:
    """Give Ctrl-C the answer of a command from now on. A process that was started deaf to it stays so."""
    now = signal.getsignal(signal.SIGINT)
    if now is signal.default_int_handler or isinstance(now, Answer):
        signal.signal(signal.SIGINT, Answer(stopped))


def is_importing(frame: FrameType | None) -> bool:
    """Whether an import is under way where the signal came."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib._bootstrap"):
            return True
        frame = frame.f_back
    return False


def say_stopped(what: str) -> None:
    """In a line of its own: a terminal has written ^C where the cursor stood."""
    if sys.stderr.isatty():
        print(file=sys.stderr)
    print(f"stopped; {what}", file=sys.stderr, flush=True)


def leave() -> NoReturn:
    """End the process at once.

    Not by `sys.exit`: once a KeyboardInterrupt has left code that `exec` ran, as that of dataclasses is, Python ends by
    the signal, whatever was caught.
    """
    with contextlib.suppress(OSError, ValueError):  # a closed pipe
        sys.stdout.flush()
    os._exit(STATUS)
