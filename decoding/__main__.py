"""The command: `python -m decoding "The night was"`.

What is wrong with a call is said in one line, and the sooner the cheaper it is to find: options first, then files, then
the model's configuration and tokenizer; the weights are loaded last.
"""

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from .jobs import Prompt, Results, continue_texts, in_batches, read_prompts, seed_of_batch, to_line

EXAMPLES = """\
examples:
  python -m decoding "The night was"                      contrastive search, as it is generated
  python -m decoding "The night was" --method sample --top-p 0.95 --seed 3
  python -m decoding "Once" "The night was" --method greedy --json
  python -m decoding --model gpt2 --max-new-tokens 32 < prompts.txt
  python -m decoding --input prompts.jsonl --output results.jsonl --batch-size 16

The last one, started again after it was stopped or killed, goes on where it ended. With the same seed and batch size it
writes the same file, interrupted or not.
"""

OWNERS = {"k": "contrastive", "alpha": "contrastive", "temperature": "sample", "top_k": "sample", "top_p": "sample"}

RANGES = {
    "k": (lambda value: value >= 1, "at least 1"),
    "alpha": (lambda value: 0 <= value <= 1, "in [0, 1]"),
    "temperature": (lambda value: 0 < value < float("inf"), "over 0"),
    "top_k": (lambda value: value >= 0, "at least 0"),
    "top_p": (lambda value: 0 < value <= 1, "in (0, 1]"),
    "repetition_penalty": (lambda value: 0 < value < float("inf"), "over 0"),
    "max_new_tokens": (lambda value: value >= 1, "at least 1"),
    "batch_size": (lambda value: value >= 1, "at least 1"),
}

# what would be another algorithm, or another shape of output, where a model's own defaults ask for it
PLAIN = {"num_beams": 1, "num_return_sequences": 1, "penalty_alpha": 0.0, "return_dict_in_generate": False}


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Print it and exit with status 2."""
        self.exit(2, f"decoding: error: {' '.join(message.split())}\n")


def make_parser() -> Parser:
    """The options, with their defaults."""
    parser = Parser(
        prog="python -m decoding", description="Continue prompts with a language model.", epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    add = parser.add_argument
    add("prompts", nargs="*", metavar="PROMPT", help='what to continue; "-" or none: a prompt a line of standard input')
    add("--method", action="append", choices=["greedy", "sample", "contrastive"], help="default: contrastive")
    add("--k", type=int, help="contrastive: candidates a step (default: 5)")
    add("--alpha", type=float, help="contrastive: weight of the degeneration penalty, 0 to 1 (default: 0.6)")
    add("--temperature", type=float, metavar="T", help="sample: over 0 (default of this and the next two: the model's)")
    add("--top-k", type=int, metavar="N", help="sample: from the N most probable tokens; 0: from all")
    add("--top-p", type=float, metavar="P", help="sample: from the most probable tokens that make up P")
    add("--repetition-penalty", type=float, metavar="R", help="over 1: tokens that are there already are less probable")
    add("--max-new-tokens", type=int, default=64, metavar="N", help="default: 64")
    add("--seed", type=int, default=0, help="of sampling (default: 0)")
    add("--model", metavar="NAME", help="a hub id or a folder (default: the embedded SmolLM2-135M-Instruct)")
    add("--device", help='such as cpu or cuda:0; "auto": all of them (default: the accelerator if there is one)')
    add("--dtype", choices=["float64", "float32", "bfloat16", "float16"], help="default: the model's own")
    add("--json", action="store_true", help="a JSON object a line instead of text")
    add("--input", type=Path, metavar="FILE", help='prompts: JSON lines with "prompt" and perhaps "id", or plain lines')
    add("--output", type=Path, metavar="FILE", help="append JSON lines to FILE, but for those that are there already")
    add("--batch-size", type=int, default=8, metavar="N", help="prompts at a time (default: 8)")
    return parser


def check_options(options: argparse.Namespace) -> None:
    """Raise ValueError for options that do not go together, or are out of range."""
    if options.prompts and options.input:
        raise ValueError("prompts in the call and --input do not go together: drop one of them")
    if "-" in options.prompts and len(options.prompts) > 1:
        raise ValueError('"-" is standard input, which does not go together with other prompts')
    for name, owner in OWNERS.items():
        if getattr(options, name) is not None and options.method != owner:
            raise ValueError(f"{flag(name)} belongs to --method {owner}, not to {options.method}")
    for name, (fits, wanted) in RANGES.items():
        value = getattr(options, name)
        if value is not None and not fits(value):
            raise ValueError(f"{flag(name)} must be {wanted}, not {value}")
    if (output := options.output) is None:
        return
    if not output.parent.is_dir():
        raise ValueError(f"--output {output}: there is no folder {output.parent}")
    if output.exists() and not output.is_file():
        raise ValueError(f"--output {output} is no plain file")
    if options.input and output.resolve() == options.input.resolve():
        raise ValueError(f"--output and --input are the same file, {output}")


def flag(name: str) -> str:
    """How an option is written in a call."""
    return "--" + name.replace("_", "-")


def find_prompts(options: argparse.Namespace) -> list[Prompt]:
    """The prompts, from wherever the call says."""
    if options.input:
        with options.input.open(encoding="utf-8-sig") as file:
            return read_prompts(file, str(options.input))
    if options.prompts == ["-"] or (not options.prompts and sys.stdin and not sys.stdin.isatty()):
        return read_prompts(sys.stdin, "standard input")
    if not options.prompts:
        raise ValueError("no prompts: give some, or --input FILE, or lines on standard input; see --help")
    prompts = [Prompt(number, text) for number, text in enumerate(options.prompts)]
    for number, prompt in enumerate(prompts, 1):
        prompt.check(f"prompt {number}")
    return prompts
