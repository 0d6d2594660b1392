"""The command `python -m benchmarks.steer`; its work is in `studies.steer`."""

if __name__ == "__main__":  # Ctrl-C is answered from here on, while the rest is imported, too
    from scorers._common.interrupts import answer_interrupts

    answer_interrupts()

import sys
from collections.abc import Sequence

from scorers._common.commands import Command

from .studies.options import Steer

EXAMPLES = """\
examples:
  python -m benchmarks.steer --output steer                                      passages of speeches: an hour or two
  python -m benchmarks.steer --real questions.txt --output steer --prompt "A question: "
  python -m benchmarks.steer --output small --number 16 --grid-number 4 --epochs 1   a look at what it makes
"""
COMMAND = Command("benchmarks.steer", Steer, EXAMPLES)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return the status that it exits with: 2 for a call that cannot work."""

    def work(options: Steer) -> None:
        from .studies.steer import run

        run(options)

    return COMMAND.serve(arguments, work, "what was trained and made is saved: run it again to go on")


if __name__ == "__main__":
    sys.exit(main())
