"""The command `python -m benchmarks.evidence`; its work is in `studies.evidence`."""

if __name__ == "__main__":  # Ctrl-C is answered from here on, while the rest is imported, too
    from scorers._common.interrupts import answer_interrupts

    answer_interrupts()

import sys
from collections.abc import Sequence

from scorers._common.commands import Command

from .studies.options import Evidence

EXAMPLES = """\
examples:
  python -m benchmarks.evidence
"""
COMMAND = Command("benchmarks.evidence", Evidence, EXAMPLES)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return the status that it exits with: 2 for a call that cannot work."""
    kept: list[str] = []

    def work(options: Evidence) -> None:
        from .studies.evidence import run

        run(options, kept)

    return COMMAND.serve(arguments, work, lambda: kept[0] if kept else "nothing was saved")


if __name__ == "__main__":
    sys.exit(main())
