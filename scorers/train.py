"""Train a ranker on text files, after RankGen: `python -m scorers.train FILES --output DIR`.

What is wrong with a call is said in one line, before any model is loaded. What was killed goes on where it was.
"""

import argparse
import hashlib
import json
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ._common.commands import Parser, serve
from ._common.files import to_line, write_json, write_whole
from ._common.terminal import silence
from .ranker import PACKAGED, SETTINGS, Heads, Ranker, Reading, check_window, load_config, load_encoder
from .ranker_training.accuracy import differences, identify, summarise
from .ranker_training.negatives import Generator, choose, generate_into, read_generated
from .ranker_training.pairs import Cut, Document, Window, draw_distractors, read_documents, split, with_generated
from .ranker_training.training import FULL, HEADS, Batches, Settings, read_states, train

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

RUN = "run.json"  # what a folder was begun with
CHECKPOINTS, VECTORS, GENERATED = "checkpoints", "vectors", "generated.jsonl"


@dataclass(frozen=True)
class Corpus:
    """The windows of both sides of the split, with what was generated for them, and the documents they are from."""

    train: list[Window]
    held_out: list[Window]
    documents: dict[str, list[str]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return the status that it exits with: 2 for a call that cannot work."""
    arguments = sys.argv[1:] if arguments is None else arguments
    begun: list[Path] = []

    def work() -> None:
        options = make_parser().parse_args(arguments)
        options.command = shlex.join(["python", "-m", "scorers.train", *arguments])
        begun.extend([] if options.output is None else [options.output / RUN])
        run(options)

    def stopped() -> str:
        return "run it again to go on" if any(file.exists() for file in begun) else "nothing was saved"

    return serve("scorers.train", work, stopped)


def make_parser() -> Parser:
    """The options."""
    parser = Parser(
        prog="python -m scorers.train", description="Train a ranker: a sentence encoder with two heads, after RankGen.",
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    add = parser.add_argument
    add("files", nargs="+", type=Path, metavar="FILE",
        help="texts, a document a file; of .jsonl a document a line; .gz is unpacked")  # fmt: skip
    add("--output", type=Path, metavar="DIR", help="a folder that is empty, not there yet, or begun by this call")
    add("--field", default="text", help="of JSON lines, where the text stands (default: text)")
    add("--held-out", type=float, default=0.2, metavar="FRACTION", help="of documents, to measure on (default: 0.2)")
    add("--windows", type=int, default=100, metavar="N", help="pairs of a document, at most (default: 100)")
    add("--prefix-words", type=int, default=256, metavar="N", help="of whole sentences, at most (default: 256)")
    add("--continuation-words", type=int, nargs=2, default=[10, 128], metavar="N",
        help="at least and at most (default: 10 128)")  # fmt: skip
    add("--encoder", default=PACKAGED, metavar="NAME", help=f"a hub id or a folder (default: that of {PACKAGED})")
    add("--prefix-length", type=int, default=64, metavar="N", help="last tokens of a prefix to read (default: 64)")
    add("--suffix-length", type=int, default=128, metavar="N", help="first tokens of what follows (default: 128)")
    add("--similarity", choices=["cosine", "dot"], default="cosine", help="default: cosine; dot is the paper's")
    add("--scale", type=float, help="of the similarity (default: 20; with dot 1)")
    add("--negatives", choices=["book", "generated", "both"], help="default: both, or book if none are generated")
    add("--generate", type=int, metavar="N", help="continuations to make for as many pairs")
    add("--generator", metavar="NAME", help="the causal model that makes them: a hub id or a folder")
    add("--generator-context", type=int, default=128, metavar="N", help="tokens it reads of a prefix (default: 128)")
    add("--generated-tokens", type=int, default=48, metavar="N", help="it makes at most (default: 48)")
    add("--top-p", type=float, default=0.9, metavar="P", help="the nucleus it draws from (default: 0.9)")
    add("--generator-dtype", choices=["float32", "bfloat16"], default="float32", help="default: float32")
    add("--generated", type=Path, metavar="FILE", help='made ones: JSON lines with "prompt" and "continuation"')
    add("--prompts", type=Path, metavar="FILE", help="only write the prefixes for --generate N to FILE, as JSON lines")
    add("--full", action="store_true", help="train the encoder's layers too")
    add("--epochs", type=int, metavar="N", help="passes over the pairs (default: 10; with --full 1)")
    add("--batch-size", type=int, metavar="N", help="pairs of a document at a time (default: 128; with --full 32)")
    add("--learning-rate", type=float, metavar="R", help="at the start (default: 3e-4; with --full 1e-4)")
    add("--weight-decay", type=float, default=0.01, metavar="R", help="default: 0.01")
    add("--dropout", type=float, metavar="P", help="of what the heads read (default: 0.4; with --full 0.1)")
    add("--rank", type=int, metavar="N", help="with --full: save the change of the encoder as matrices of this rank, "
        "and not all of it")  # fmt: skip
    add("--bf16", action="store_true", help="with --full: compute in bfloat16, faster where the processor can")
    add("--seed", type=int, default=0, help="of split, pairs, generating and training (default: 0)")
    add("--save-every", type=int, metavar="N", help="steps between checkpoints (default: 200; with --full 25)")
    add("--vectors", type=Path, metavar="DIR", help="keep the encoder's vectors there, for other trainings to use")
    add("--device", help="cpu, cuda, ... (default: the accelerator if there is one)")
    return parser


def run(options: argparse.Namespace) -> None:
    """Check the call, from what is cheap to what is not; then generate, read, train, measure and save."""
    reading, cut, generator = check_options(options)
    documents = read_documents(options.files, options.field)
    train_side, held_out_side = split(documents, options.held_out, options.seed)
    train_windows, held_out = (
        [window for i in side for window in cut.windows(i, documents[i].text)] for side in (train_side, held_out_side)
    )
    check_windows(options, train_windows, held_out)
    # in the order of the documents: what is generated does not depend on which are held out
    wanted = choose(sorted(train_windows + held_out, key=lambda window: window.document), options.generate or 0)
    if options.prompts:
        write_prompts(options.prompts, wanted)
        return
    silence()
    check_window(load_config(options.encoder), reading)
    if generator:
        generator.check()
    made = find_made(options, train_windows + held_out)
    settings = make_settings(options, bool(made or generator))
    begin(options, documents, {"reading": asdict(reading), "cut": asdict(cut), "settings": asdict(settings),
                               "generator": generator.origin if generator else None,
                               "generated": digest(sorted(made.items()))})  # fmt: skip
    report_file = options.output / SETTINGS
    if not report_file.exists():
        if generator:
            made = generate_into(options.output / GENERATED, generator, wanted)
        sides = {"train": train_side, "held_out": held_out_side}
        names = {name: [documents[i].name for i in side] for name, side in sides.items()}
        corpus = Corpus(attach(train_windows, made, cut.shortest), attach(held_out, made, cut.shortest), names)
        make_ranker(options, reading, cut, settings, corpus, generator)
    for name in (CHECKPOINTS, VECTORS):
        shutil.rmtree(options.output / name, ignore_errors=True)
    print(summary(options.output, json.loads(report_file.read_text(encoding="utf-8"))))


def check_options(options: argparse.Namespace) -> tuple[Reading, Cut, Generator | None]:
    """How to read, how to cut and what generates, of a call that can work as far as options tell; else ValueError."""
    for name, least in (("generate", 1), ("save_every", 1), ("rank", 1)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise ValueError(f"--{name.replace('_', '-')} must be at least {least}, not {value}")
    if not 0 < options.held_out < 1:
        raise ValueError(f"--held-out must lie between 0 and 1, not {options.held_out}")
    for name in ("bf16", "rank"):
        if getattr(options, name) and not options.full:
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
    make_settings(options, False)
    scale = options.scale if options.scale is not None else {"cosine": 20.0, "dot": 1.0}[options.similarity]
    low, high = options.continuation_words
    reading = Reading(options.prefix_length, options.suffix_length, options.similarity, scale)
    cut = Cut(options.windows, options.prefix_words, low, high, options.seed)
    return reading, cut, make_generator(options)


def check_output(output: Path) -> None:
    """Raise ValueError for a place that no training was begun in, and none can be."""
    if not output.absolute().parent.is_dir():
        raise ValueError(f"--output {output}: there is no folder {output.parent}")
    if output.exists() and not (output / RUN).is_file() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"--output {output} is there already, and no empty folder: give another")


def make_settings(options: argparse.Namespace, generated: bool) -> Settings:
    """Of the training."""
    given = {name: value for name in HEADS if (value := getattr(options, name)) is not None}
    return Settings(
        options.full, options.negatives or ("both" if generated else "book"),
        **(FULL if options.full else HEADS) | given,
        weight_decay=options.weight_decay, bf16=options.bf16, seed=options.seed,
    )  # fmt: skip


def check_windows(options: argparse.Namespace, train_windows: list[Window], held_out: list[Window]) -> None:
    """Raise ValueError if there is too little text."""
    low, high = options.continuation_words
    for name, windows in (("train on", train_windows), ("measure on", held_out)):
        if len(windows) < 2:
            raise ValueError(
                f"no texts to {name}: a pair takes a prefix of {low} words or more and a continuation of {low} to "
                f"{high}, both of whole sentences; lower --continuation-words, or give more texts"
            )


def write_prompts(path: Path, prefixes: list[str]) -> None:
    """What `python -m decoding --input` reads."""
    write_whole(path, "".join(to_line({"id": i, "prompt": prefix}) for i, prefix in enumerate(prefixes)))
    print(f"{len(prefixes)} prefixes written to {path}", file=sys.stderr)


def make_generator(options: argparse.Namespace) -> Generator | None:
    """The model that makes negatives, if the call wants one."""
    if not options.generator:
        return None
    return Generator(
        options.generator, options.generated_tokens, options.generator_context, options.top_p, seed=options.seed,
        dtype=options.generator_dtype, device=str(device_of(options)),
    )  # fmt: skip


def find_made(options: argparse.Namespace, windows: list[Window]) -> dict[str, str]:
    """What the file of --generated has for the windows; ValueError if that is nothing."""
    if not options.generated:
        return {}
    prefixes = {window.prefix for window in windows}
    found = {prompt: text for prompt, text in read_generated(options.generated).items() if prompt in prefixes}
    if not found:
        raise ValueError(
            f"no prompt in {options.generated} is a prefix of these texts: write them by --prompts, with the same "
            "--seed, --windows, --prefix-words and --continuation-words"
        )
    return found


def attach(windows: list[Window], made: dict[str, str], shortest: int) -> list[Window]:
    """The windows with what was made for them, where that has `shortest` words or more."""
    return [
        with_generated(window, made[window.prefix]) if len(made.get(window.prefix, "").split()) >= shortest else window
        for window in windows
    ]


def begin(options: argparse.Namespace, documents: list[Document], settings: dict[str, Any]) -> None:
    """Claim the folder for this call; ValueError if it is another's."""
    output = options.output
    settings |= {"encoder": options.encoder, "held_out": options.held_out, "rank": options.rank,
                 "generate": options.generate,
                 "texts": digest([document.text for document in documents])}  # fmt: skip
    line = json.dumps(settings, indent=1) + "\n"
    if (output / RUN).exists():
        if (output / RUN).read_text(encoding="utf-8") != line:
            raise ValueError(f"--output {output} was begun with other texts or settings: give another")
        return
    output.mkdir(exist_ok=True)
    # first beside the folder: one with anything but this file in it is not taken up again
    write_whole(output / RUN, line, folder=output.absolute().parent)


def digest(value: Any) -> str:
    """SHA-256 of a JSON value, its first 16 digits."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def device_of(options: argparse.Namespace) -> torch.device:
    """Where to compute."""
    if options.device:
        return torch.device(options.device)
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def make_ranker(
    options: argparse.Namespace, reading: Reading, cut: Cut, settings: Settings, corpus: Corpus,
    generator: Generator | None,
) -> None:  # fmt: skip
    """Measure, train, measure again and save."""
    output, vectors = options.output, options.vectors or options.output / VECTORS
    encoder, tokenizer = load_encoder(options.encoder)
    ranker = Ranker(encoder, tokenizer, Heads(encoder.config.hidden_size, reading).eval(), reading)
    ranker.to(device_of(options))
    cosine = Heads(encoder.config.hidden_size, Reading(similarity="cosine"))  # the encoder's own use, whatever we train
    before = measure(ranker, cosine.to(encoder.device), corpus.held_out, vectors, options.seed)
    batches = Batches(ranker, corpus.train, settings, None if settings.full else vectors)
    if not len(batches):
        raise ValueError("no negatives: give more texts, or longer ones")
    training = train(
        ranker, batches, settings, output / CHECKPOINTS, options.save_every or (25 if settings.full else 200)
    )
    whole, saved = settings.full and options.rank is None, output / CHECKPOINTS / "saved"
    ranker.save_pretrained(saved, None if whole else options.encoder, options.rank)
    ranker = Ranker.from_pretrained(saved, device=device_of(options))  # what is measured is what was saved
    after = measure(ranker, ranker.heads, corpus.held_out, vectors, options.seed)
    counts = {
        name: {"train": count(corpus.train), "held_out": count(corpus.held_out)}
        for name, count in {
            "windows": len,
            "generated": lambda side: sum(w.generated is not None for w in side),
        }.items()
    }
    tasks = {"before": before, "after": after, "gain": differences(after, before)}
    publish(saved, output, {
        "command": options.command,
        "training": {
            **asdict(settings), "rank": options.rank, **training, **counts,
            "files": [file.name for file in options.files], "cut": asdict(cut), "documents": corpus.documents,
            "generator": generator.origin if generator else None,
        },
        "accuracy": {when: summarise(corpus.held_out, found) for when, found in tasks.items()},
    })  # fmt: skip


def publish(saved: Path, output: Path, notes: dict[str, Any]) -> None:
    """Put a saved ranker into the output, the settings last and with the notes: a folder that has them is whole."""
    settings = json.loads((saved / SETTINGS).read_text(encoding="utf-8"))
    write_json(saved / SETTINGS, settings | notes)
    for place in sorted(saved.iterdir(), key=lambda place: place.name == SETTINGS):
        shutil.rmtree(output / place.name, ignore_errors=True)
        place.replace(output / place.name)


def measure(
    ranker: Ranker, heads: Heads, windows: list[Window], vectors: Path, seed: int
) -> dict[str, dict[int, float]]:
    """What every held-out window scores in every task."""
    continuations = [text for window in windows for text in (window.continuation, window.generated) if text]
    texts = {"prefix": [window.prefix for window in windows], "suffix": continuations}
    found = {}
    for side, wanted in texts.items():
        states = read_states(ranker, side, wanted, vectors)
        with torch.inference_mode():
            rows = heads(side, torch.stack(list(states.values())).to(ranker.encoder.device)).cpu()
        found[side] = dict(zip(states, rows, strict=True))
    return identify(windows, draw_distractors(windows, seed=seed), found["prefix"], found["suffix"])


def summary(output: Path, report: dict[str, Any]) -> str:
    """The accuracies in one line."""
    before, after = report["accuracy"]["before"], report["accuracy"]["after"]
    parts = [f"{task} {100 * before[task]['mean']:.1f} -> {100 * after[task]['mean']:.1f}" for task in after]
    seconds = report["training"]["seconds"]
    return f"{output}: held-out accuracy in %, {', '.join(parts)}; {seconds:.0f} s of training"


if __name__ == "__main__":
    sys.exit(main())
