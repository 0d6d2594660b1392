"""The command that makes synthetic examples: `python -m decoding.steer FILE --expert DIR --output OUT.jsonl`."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scorers._common.checks import check_ranges
from scorers._common.commands import Parser, serve
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

RANGES = {
    "number": (lambda value: value >= 1, "be at least 1"),
    "gamma": (lambda value: 0 <= value < float("inf"), "be at least 0"),
    "eta": (lambda value: 0 <= value < float("inf"), "be at least 0"),
    "beta": (lambda value: 0 <= value <= 1, "lie in [0, 1]"),
    "negatives": (lambda value: value >= 1, "be at least 1"),
    "max_new_tokens": (lambda value: value >= 1, "be at least 1"),
    "temperature": (lambda value: 0 < value < float("inf"), "be above 0"),
    "top_k": (lambda value: value >= 0, "be at least 0"),
    "top_p": (lambda value: 0 < value <= 1, "be above 0 and at most 1"),
    "batch_size": (lambda value: value >= 1, "be at least 1"),
    "seed": (lambda value: 0 <= value <= 2**40, "be between 0 and 2**40"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return the status that it exits with: 2 for a call that cannot work."""
    opened: list[Results] = []

    def work() -> None:
        options = make_parser().parse_args(arguments)
        check_options(options)
        job = make_job(options)
        opened.append(Results(options.output, job))
        run(options, job, opened[0])

    return serve("decoding", work, lambda: opened[0].state if opened else "nothing was saved")


def make_parser() -> Parser:
    """The options."""
    parser = Parser(
        prog="python -m decoding.steer", description="Make synthetic examples like those of a file (STEER).",
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    add = parser.add_argument
    add("examples", type=Path, metavar="FILE", help="real examples: a text a line, or JSON lines; .gz is unpacked")
    add("--expert", required=True, metavar="NAME", help="a model or adapter fine-tuned on such examples: folder or id")
    add("--output", required=True, type=Path, metavar="FILE", help="append JSON lines to FILE, but for those there")
    add("--number", "-n", type=int, default=100, metavar="N", help="examples to make (default: 100)")
    add("--prompt", metavar="TEXT", help="what each follows (default: what the expert was trained with, else nothing)")
    add("--gamma", type=float, default=0.2, help="away from the base model, towards the expert (default: 0.2)")
    add("--eta", type=float, default=0.2, help="away from examples that are there (default: 0.2)")
    add("--beta", type=float, default=0.1, help="mask of what the expert finds implausible; 0: none, as published "
        "(default: 0.1)")  # fmt: skip
    add("--negatives", type=int, default=10, metavar="K", help="examples to a negative prompt (default: 10)")
    add("--max-new-tokens", type=int, default=100, metavar="N", help="default: 100")
    add("--temperature", type=float, default=1.0, metavar="T", help="default: 1")
    add("--top-k", type=int, default=10, metavar="N", help="of the steered distribution; 0: all (default: 10)")
    add("--top-p", type=float, default=1.0, metavar="P", help="of the steered distribution (default: 1)")
    add("--batch-size", type=int, default=16, metavar="N", help="examples a round (default: 16)")
    add("--seed", type=int, default=0, help="of draws and sampling (default: 0)")
    add("--model", metavar="NAME", help="the base: a hub id or a folder (default: the embedded SmolLM2-135M-Instruct)")
    add("--field", default="text", help="of JSON lines, where the text stands (default: text)")
    add("--device", metavar="D", help="cpu, cuda:0, ... (default: the accelerator if there is one)")
    add("--dtype", choices=["float64", "float32", "bfloat16", "float16"], help="of the weights (default: the model's)")
    return parser


def check_options(options: argparse.Namespace) -> None:
    """Raise ValueError for what is out of range, or cannot be written."""
    check_ranges(vars(options), RANGES)
    if not options.beta and options.eta >= 1:
        raise ValueError(f"--eta {options.eta} without a mask turns the distribution around: lower it, or give --beta")
    options.json, options.input = False, options.examples
    check_output(options, options.output)


def make_job(options: argparse.Namespace) -> Synthesis:
    """The examples, and everything that what is made depends on."""
    from .models import default_model

    names = ("gamma", "eta", "beta", "max_new_tokens", "temperature", "top_k", "top_p", "batch_size", "dtype")
    examples = read_examples(options.examples, options.field)
    prompt = trained_prompt(options.expert) if options.prompt is None else options.prompt
    return Synthesis(
        examples, options.number, prompt, options.expert, options.model or default_model.NAME, options.seed,
        options.negatives, {name: getattr(options, name) for name in names},
    )  # fmt: skip


def trained_prompt(expert: str) -> str:
    """What `decoding.finetune` put before every example."""
    record = Path(expert) / "finetune.json"
    return json.loads(record.read_text()).get("prompt", "") if record.is_file() else ""


def run(options: argparse.Namespace, job: Synthesis, results: Results) -> None:
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
