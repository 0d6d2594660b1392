"""Train a ranker on text files, after RankGen: `python -m scorers.train FILES --output DIR`.

What is wrong with a call is said in one line, before any model is loaded. What was killed goes on where it was.
"""

if __name__ == "__main__":  # Ctrl-C is answered from here on, while the rest is imported, too
    from scorers._common.interrupts import answer_interrupts

    answer_interrupts()

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ._common.commands import Command
from .ranker_training.options import RUN, Options, check_options

EXAMPLES = """\
examples:
  python -m scorers.train books/*.txt --output ranker              heads over frozen vectors of the packaged encoder
  python -m scorers.train books.jsonl.gz --output ranker --full    the encoder is trained as well
  python -m scorers.train books.jsonl.gz --output ranker --full --rank 8         and takes a megabyte, not ninety
  python -m scorers.train books.jsonl.gz --output ranker --generate 1000 --generator HuggingFaceTB/SmolLM2-135M

negatives by another program, such as ours:
  python -m scorers.train books.jsonl.gz --generate 1000 --prompts prompts.jsonl
  python -m decoding --input prompts.jsonl --output made.jsonl --method sample --top-p 0.9 --top-k 0
  python -m scorers.train books.jsonl.gz --output ranker --generated made.jsonl

DIR gets ranker.safetensors (the heads), ranker.json (the settings, and accuracies on held-out documents before and
after), with --full the encoder, with --generate generated.jsonl. `scorers.Ranker.from_pretrained(DIR)` loads it.
Started again after it was stopped or killed, a call goes on where it ended.
"""

COMMAND = Command("scorers.train", Options, EXAMPLES, speaker="scorers.train")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return the status that it exits with: 2 for a call that cannot work."""
    call = sys.argv[1:] if arguments is None else arguments
    begun: list[Path] = []

    def work(options: Options) -> None:
        check_options(options)
        from .ranker_training.job import run

        begun.extend([] if options.output is None else [options.output / RUN])
        run(options, shlex.join(["python", "-m", "scorers.train", *call]))

    def stopped() -> str:
        return "run it again to go on" if any(file.exists() for file in begun) else "nothing was saved"

    return COMMAND.serve(arguments, work, stopped)


if __name__ == "__main__":
    sys.exit(main())
