"""The command `python -m benchmarks.judging`; its work is in `studies.judging`."""

if __name__ == "__main__":  # Ctrl-C is answered from here on, while the rest is imported, too
    from scorers._common.interrupts import answer_interrupts

    answer_interrupts()

import sys
from collections.abc import Sequence
from pathlib import Path

from scorers._common.commands import Command

from .studies.options import Judging

EXAMPLES = """\
examples:
  python -m benchmarks.judging books.jsonl.gz --without-model                        minutes: no language model
  python -m benchmarks.judging books.jsonl.gz --votes votes.jsonl --output rows.jsonl
  python -m benchmarks.judging books.jsonl.gz --generated made.jsonl --generate
"""
COMMAND = Command("benchmarks.judging", Judging, EXAMPLES)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return the status that it exits with: 2 for a call that cannot work."""
    kept: list[Path] = []

    def work(options: Judging) -> None:
        if options.generate and not options.generated:
            raise ValueError("--generate needs --generated FILE, to keep what is made")
        from .studies.judging import judge

        kept.extend(filter(None, [options.output]))
        judge(options)

    def stopped() -> str:
        there = [file for file in kept if file.exists()]
        return f"the rows so far are in {there[0]}; run it again to go on" if there else "nothing was saved"

    return COMMAND.serve(arguments, work, stopped)


if __name__ == "__main__":
    sys.exit(main())
