"""Fine-tune a model on a file of examples, as an expert for STEER: `python -m decoding.finetune FILE --output DIR`.

What is wrong with a call is said in one line, before the weights are loaded. A call that was stopped or killed goes on
at its last checkpoint when it is started again; its output is written at the end, and whole.
"""

if __name__ == "__main__":  # Ctrl-C is answered from here on, while the rest is imported, too
    from scorers._common.interrupts import answer_interrupts

    answer_interrupts()

import hashlib
import json
import math
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from scorers._common.commands import Command
from scorers._common.options import Declared, option, options_of_parts
from scorers._common.part_options import read_part
from scorers._common.ranges import FRACTION
from scorers._common.terminal import silence

from .jobs.examples import Example, key_of, read_training_examples, split
from .jobs.fine_tuning.folder import REPORT, SAVED, check_output, claimed, publish, save, work_folder
from .jobs.fine_tuning.labels import IGNORED, encode
from .jobs.fine_tuning.settings import RANGES, REPORTERS, Run, Settings
from .jobs.fine_tuning.training import Expert, finetune, require_peft, require_trl

__all__ = ["REPORT", "Expert", "Run", "Settings", "finetune", "main"]

EXAMPLES = """\
examples:
  python -m decoding.finetune hypotheses.jsonl.gz --output expert        a LoRA adapter of the embedded model
  python -m decoding.finetune comments.txt --output expert --model gpt2 --prompt "Comment:" --epochs 1 --full
  python -m decoding.finetune chats.jsonl --output expert --report-to tensorboard

FILE has a text on each line, or JSON lines of one of these forms:
  {"text": "..."}                             another field: --field
  {"prompt": "...", "completion": "..."}      the completion is learnt
  {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}
                                              what the assistant says is learnt
  {"prompt": [...], "completion": [...]}      chats; what the assistant says in the completion is learnt

DIR gets the adapter or the model, its card (README.md), the tokenizer, the examples as they were split (train.jsonl,
held_out.jsonl), and finetune.json: the settings, the numbers of examples and of tokens with a loss, and the mean loss
of the held-out ones, in nats a token, before and after. Until then checkpoints are kept in a hidden folder beside DIR:
started again after it was stopped or killed, a call goes on at the last one.
"""


@cache
def training_options() -> Declared:
    """The fields of `Settings`, and how often there are checkpoints."""
    fields = {
        name: (part, field)
        for part, names in (("Settings", Settings.__annotations__), ("Run", ["save_every"]))
        for name, field in read_part("decoding.jobs.fine_tuning.settings", part).items()
        if name in names
    }
    said = {"learning_rate": "2e-4; with --full 2e-5", "full": ""}
    return {
        name: field.option(
            metavar=None if field.kind is bool else "R" if name == "learning_rate" else "N",
            range=RANGES.get(name),
            default=said.get(name, f"{field.default}"),
        )
        for name, (_, field) in fields.items()
    }


@dataclass
class Options:
    """Fine-tune a language model as an expert for STEER."""

    file: Path = option(
        "examples: a text a line, or JSON lines; .gz is unpacked", "FILE", positional=True, required=True
    )
    output: Path = option("a folder that is empty, or not there yet", "DIR", required=True)
    field: str = option("of JSON lines, where the text stands", "NAME", value="text")
    model: str | None = option("a hub id or a folder", "NAME", default="the embedded SmolLM2-135M-Instruct")
    held_out: float = option("of the texts, not trained on", "FRACTION", value=0.1, range=FRACTION)
    prompt: str = option("put directly before every example, and not trained on", "TEXT", value="", default="")
    training: dict[str, Any] = options_of_parts(training_options)
    report_to: list[str] = option(
        "who is told the losses; may be given more than once",
        value=[],
        repeat=True,
        choices=tuple(REPORTERS),
        default="none",
    )

    @property
    def save_every(self) -> int:
        """Steps between checkpoints."""
        return self.training.get("save_every", Run.save_every)


COMMAND = Command("decoding.finetune", Options, EXAMPLES)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return the status that it exits with: 2 for a call that cannot work."""
    begun: list[Path] = []

    def work(options: Options) -> None:
        settings = check_options(options)
        examples = read_training_examples(options.file, options.field)
        train, held_out = split(examples, options.held_out, settings.seed)
        begun.append(work_folder(options.output))
        run(options, settings, {"train": train, "held_out": held_out})

    def stopped() -> str:
        return "run it again to go on" if any(folder.exists() for folder in begun) else "nothing was saved"

    return COMMAND.serve(arguments, work, stopped)


def check_options(options: Options) -> Settings:
    """The settings of a call that can work, as far as options tell; else ValueError, or ImportError for a library."""
    given = {name: value for name, value in options.training.items() if name in Settings.__annotations__}
    if given.get("full") and "rank" in given:
        raise ValueError("--rank belongs to an adapter, and --full trains none: drop one of them")
    check_output(options.output)
    require_trl()
    if not given.get("full"):
        require_peft()
    Run(report_to=tuple(options.report_to))
    return Settings(**given)


def run(options: Options, settings: Settings, parts: dict[str, list[Example]]) -> None:
    """Check the examples against the model's configuration and tokenizer; then load the weights, train and save."""
    from .models import default_model
    from .models import loading as models

    silence()
    source = models.locate(options.model)
    config = models.load_config(source)
    tokenizer = models.load_tokenizer(source, config)
    counts: dict[str, dict[str, int]] = {"examples": {}, "cut": {}, "tokens": {}}
    for name, examples in parts.items():
        rows, counts["cut"][name] = encode(config, tokenizer, examples, options.prompt, settings.max_length)
        counts["examples"][name] = len(rows)
        counts["tokens"][name] = sum(label != IGNORED for row in rows for label in row["labels"])
    if cut := sum(counts["cut"].values()):
        total = sum(counts["examples"].values())
        print(f"{cut} of {total} examples were cut to {settings.max_length} tokens", file=sys.stderr)
    output = options.output
    call = {
        "model": options.model or default_model.NAME,
        "prompt": options.prompt,
        **asdict(settings),
        "learning_rate": settings.rate,
    }
    keys = [[key_of(example) for example in examples] for examples in parts.values()]
    digest = hashlib.sha256(json.dumps(keys).encode()).hexdigest()
    # first of all: a place where nothing can be written is refused before the work
    with claimed(output, {**call, "examples": digest}) as folder:
        model = models.load_model(source, config, dtype="float32")
        saved = folder / SAVED
        shutil.rmtree(saved, ignore_errors=True)
        saved.mkdir()
        if settings.full:
            model.generation_config.save_pretrained(saved)  # transformers refuses some: not after the work
        expert = finetune(
            model,
            tokenizer,
            *parts.values(),
            prompt=options.prompt,
            settings=settings,
            run=Run(folder, options.save_every, tuple(options.report_to), output.name),
        )
        loss = {"before": expert.before, "after": expert.after}
        perplexity = {when: math.exp(value) for when, value in loss.items()}
        report = call | {
            "file": str(options.file),
            "field": options.field,
            "held_out": options.held_out,
            **counts,
            "loss": loss,
            "perplexity": perplexity,
        }
        save(expert.model, tokenizer, parts, report, saved)
        publish(saved, output)
        shutil.rmtree(folder)
    print(
        f"{output}: held-out loss {expert.before:.4f} -> {expert.after:.4f} nats a token, perplexity "
        f"{perplexity['before']:.2f} -> {perplexity['after']:.2f}, after {expert.seconds:.0f} s of training"
    )


if __name__ == "__main__":
    sys.exit(main())
