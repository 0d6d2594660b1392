"""The command `python -m benchmarks.languages`; its work is in `studies.languages`."""

if __name__ == "__main__":  # Ctrl-C is answered from here on, while the rest is imported, too
    from scorers._common.interrupts import answer_interrupts

    answer_interrupts()

import sys
from collections.abc import Sequence

from scorers._common.commands import Command

from .studies.options import Languages

EXAMPLES = """\
examples:
  python -m benchmarks.languages
"""
COMMAND = Command("benchmarks.languages", Languages, EXAMPLES)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return the status that it exits with: 2 for a call that cannot work."""

    def work(options: Languages) -> None:
        from .studies.languages import run

        run(options)

    return COMMAND.serve(arguments, work)


if __name__ == "__main__":
    sys.exit(main())
