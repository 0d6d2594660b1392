"""The command `python -m benchmarks.rerank`; its work is in `speed.reranking`."""

if __name__ == "__main__":  # Ctrl-C is answered from here on, while the rest is imported, too
    from scorers._common.interrupts import answer_interrupts

    answer_interrupts()

import sys
from collections.abc import Sequence

from scorers._common.commands import Command

from .speed.options import Reranking

EXAMPLES = """\
examples:
  python -m benchmarks.rerank
  python -m benchmarks.rerank --prefix 32 --samples 4 --new-tokens 40 --rounds 1     a quick look
"""
COMMAND = Command("benchmarks.rerank", Reranking, EXAMPLES)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return the status that it exits with: 2 for a call that cannot work."""

    def work(options: Reranking) -> None:
        from .speed.reranking import run

        run(options)

    return COMMAND.serve(arguments, work)


if __name__ == "__main__":
    sys.exit(main())
