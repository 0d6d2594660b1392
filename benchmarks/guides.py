"""The command `python -m benchmarks.guides`; its work is in `speed.second_prompts`."""

if __name__ == "__main__":  # Ctrl-C is answered from here on, while the rest is imported, too
    from scorers._common.interrupts import answer_interrupts

    answer_interrupts()

import sys
from collections.abc import Sequence

from scorers._common.commands import Command

from .speed.options import SecondPrompts

EXAMPLES = """\
examples:
  python -m benchmarks.guides
  python -m benchmarks.guides --lengths 128 96 --batch 4 --rounds 9
"""
COMMAND = Command("benchmarks.guides", SecondPrompts, EXAMPLES)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return the status that it exits with: 2 for a call that cannot work."""

    def work(options: SecondPrompts) -> None:
        from .speed.second_prompts import run

        run(options)

    return COMMAND.serve(arguments, work, "the table ends here")


if __name__ == "__main__":
    sys.exit(main())
