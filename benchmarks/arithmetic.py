"""The command `python -m benchmarks.arithmetic`; its work is in `studies.arithmetic`."""

if __name__ == "__main__":  # Ctrl-C is answered from here on, while the rest is imported, too
    from scorers._common.interrupts import answer_interrupts

    answer_interrupts()

import sys
from collections.abc import Sequence

from scorers._common.commands import Command

from .studies.options import Arithmetic

EXAMPLES = """\
examples:
  python -m benchmarks.arithmetic
  python -m benchmarks.arithmetic --texts 2 8 --prompts 2 --seeds 2       a quick look
"""
COMMAND = Command("benchmarks.arithmetic", Arithmetic, EXAMPLES)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return the status that it exits with: 2 for a call that cannot work."""

    def work(options: Arithmetic) -> None:
        from .studies.arithmetic import run

        run(options)

    return COMMAND.serve(arguments, work)


if __name__ == "__main__":
    sys.exit(main())
