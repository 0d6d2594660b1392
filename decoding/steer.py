"""The command that makes synthetic examples: `python -m decoding.steer FILE --expert DIR --output OUT.jsonl`."""

if __name__ == "__main__":  # Ctrl-C is answered from here on, while the rest is imported, too
    from scorers._common.interrupts import answer_interrupts

    answer_interrupts()

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from scorers._common.commands import Command
from scorers._common.options import DTYPES, Declared, option, options_of_parts
from scorers._common.part_options import read_part
from scorers._common.ranges import SEED, SHARE, above, at_least
from scorers._common.terminal import silence

from .__main__ import check_output
from .jobs.examples import read_examples
from .jobs.results import Results
from .jobs.synthesis import Synthesis, read_made, start_of

EXAMPLES = """\
examples:
  python -m decoding.finetune questions.txt --output expert --prompt "A question: "
  python -m decoding.steer questions.txt --expert expert --output new.jsonl -n 500
  python -m decoding.steer questions.txt --expert expert --output new.jsonl -n 500 --gamma 0.5 --eta 0.4 --beta 0.1

For each new example, ten others are drawn from the file and from what was made before, and steered away from. Started
again after it was stopped or killed, it goes on where it ended.
"""

WEIGHTS = {"gamma": 0.2, "eta": 0.2, "beta": 0.1}  # of the guide, and what the command takes where none is given


@cache
def guide_options() -> Declared:
    """The numbers of `decoding.Steer`."""
    help = {
        "gamma": "away from the base model, towards the expert, at least 0",
        "eta": "away from examples that are there, at least 0",
        "beta": "mask of what the expert finds implausible, 0 to 1; 0: none, as published",
    }
    fields = read_part("decoding.guides.steer", "Steer")
    return {
        name: fields[name].option(metavar="X", help=help[name], default=f"{default}")
        for name, default in WEIGHTS.items()
    }


@dataclass
class Options:
    """Make synthetic examples like those of a file (STEER)."""

    examples: Path = option(
        "real examples: a text a line, or JSON lines; .gz is unpacked", "FILE", positional=True, required=True
    )
    expert: str = option("a model or adapter fine-tuned on such examples: a folder or a hub id", "NAME", required=True)
    output: Path = option(
        "append a JSON line for each new example to FILE, until it has as many as asked for", "FILE", required=True
    )
    number: int = option("examples to make", "N", short="-n", value=100, range=at_least(1))
    prompt: str | None = option("what each follows", "TEXT", default="what the expert was trained with, else nothing")
    guide: dict[str, Any] = options_of_parts(guide_options)
    negatives: int = option("examples to a negative prompt", "K", value=10, range=at_least(1))
    max_new_tokens: int = option("tokens of an example, at most", "N", value=100, range=at_least(1))
    temperature: float = option("of sampling, above 0", "T", value=1.0, range=above(0))
    top_k: int = option("of the steered distribution; 0: all", "N", value=10, range=at_least(0))
    top_p: float = option("of the steered distribution", "P", value=1.0, range=SHARE)
    batch_size: int = option("examples a round", "N", value=16, range=at_least(1))
    seed: int = option("of draws and sampling", "N", value=0, range=SEED)
    model: str | None = option("the base: a hub id or a folder", "NAME", default="the embedded SmolLM2-135M-Instruct")
    field: str = option("of JSON lines, where the text stands", "NAME", value="text")
    device: str | None = option("cpu, cuda:0, ...", "D", default="the accelerator if there is one")
    dtype: str | None = option("of the weights", choices=DTYPES, default="the model's")

    @property
    def weights(self) -> dict[str, float]:
        """The numbers of the guide, given or not."""
        return WEIGHTS | self.guide


COMMAND = Command("decoding.steer", Options, EXAMPLES)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return the status that it exits with: 2 for a call that cannot work."""
    opened: list[Results] = []

    def work(options: Options) -> None:
        check_options(options)
        job = make_job(options)
        opened.append(Results(options.output, job))
        run(options, job, opened[0])

    return COMMAND.serve(arguments, work, lambda: opened[0].state if opened else "nothing was saved")


def check_options(options: Options) -> None:
    """Raise ValueError for what does not go together, or cannot be written."""
    if not options.weights["beta"] and options.weights["eta"] >= 1:
        eta = options.weights["eta"]
        raise ValueError(f"--eta {eta} without a mask turns the distribution around: lower it, or give --beta")
    check_output(options.output, options.examples)


def make_job(options: Options) -> Synthesis:
    """The examples, and everything that what is made depends on."""
    from .models import default_model

    names = ("max_new_tokens", "temperature", "top_k", "top_p", "batch_size", "dtype")
    examples = read_examples(options.examples, options.field)
    prompt = trained_prompt(options.expert) if options.prompt is None else options.prompt
    return Synthesis(
        examples,
        options.number,
        prompt,
        options.expert,
        options.model or default_model.NAME,
        options.seed,
        options.negatives,
        options.weights | {name: getattr(options, name) for name in names},
    )


def trained_prompt(expert: str) -> str:
    """What `decoding.finetune` put before every example."""
    record = Path(expert) / "finetune.json"
    return json.loads(record.read_text()).get("prompt", "") if record.is_file() else ""


def run(options: Options, job: Synthesis, results: Results) -> None:
    """Load what is needed, and write each round as it is made."""
    from tqdm import tqdm

    from .guides.second_models import is_adapter
    from .models import loading as models

    silence()
    there = len(results.done)
    if there < job.number:
        source = models.locate(options.model)
        config = models.load_config(source)
        own = None if is_adapter(options.expert) else models.load_config(options.expert)
        tokenizer = models.load_tokenizer(source, config)
        check_room(job, config, tokenizer)
        model = models.load_model(source, config, device=options.device, dtype=options.dtype)
        expert: Any = options.expert
        if own is not None:
            expert = models.load_model(options.expert, own, device=options.device, dtype=options.dtype)
        with tqdm(total=job.number, initial=there, unit="example", disable=not sys.stderr.isatty()) as bar:
            for records in job.run(model, tokenizer, expert, read_made(options.output)):
                bar.update(results.append(records))
    print(f"{len(results.done) - there} written to {results.path} ({there} were there already)", file=sys.stderr)


def check_room(job: Synthesis, config: Any, tokenizer: Any) -> None:
    """Raise ValueError where a negative prompt may outgrow the model's context window."""
    room = getattr(config.get_text_config(decoder=True), "max_position_embeddings", None) or 0
    new, head = job.settings["max_new_tokens"], len(start_of(job.prompt, tokenizer))
    longest = sorted(map(len, tokenizer(list(job.examples))["input_ids"]), reverse=True)[: job.k]
    longest += [new] * (job.k - len(longest))  # drawn from what was made
    needed = max(sum(max(length, new) for length in longest) if job.settings["eta"] else 0, head) + new
    if 0 < room < needed:
        raise ValueError(
            f"{job.k} negative examples may take {needed} tokens, over the model's context window of {room}: "
            "lower --negatives or --max-new-tokens"
        )


if __name__ == "__main__":
    sys.exit(main())
