"""The work of `python -m scorers.train`: generate, read, train, measure and save.

All checks come before any model is loaded, the cheap ones first. A run that was killed goes on where it stopped.
"""

import hashlib
import json
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from .._common.files import to_line, write_json, write_whole
from .._common.terminal import silence
from ..ranker import SETTINGS, Heads, Ranker, Reading, check_window, load_config, load_encoder
from .accuracy import differences, identify, summarise
from .negatives import Generator, choose, generate_into, read_generated
from .options import RUN, Options
from .pairs import Cut, Document, Window, draw_distractors, read_documents, split, with_generated
from .training import FULL, HEADS, Batches, Settings, read_states, train

CHECKPOINTS, VECTORS, GENERATED = "checkpoints", "vectors", "generated.jsonl"


@dataclass(frozen=True)
class Corpus:
    """The texts of a training.

    Args:
        train: the windows to train on, with the texts that were generated for them.
        held_out: the windows to measure on, with the texts that were generated for them.
        documents: the names of the documents on each side.
    """

    train: list[Window]
    held_out: list[Window]
    documents: dict[str, list[str]]


def run(options: Options, call: str) -> None:
    """Check the call, cheap checks first. Then generate, read, train, measure and save."""
    reading, cut, generator = plan(options)
    documents = read_documents(options.files, options.field)
    train_side, held_out_side = split(documents, options.held_out, options.seed)
    train_windows, held_out = (
        [window for i in side for window in cut.windows(i, documents[i].text)] for side in (train_side, held_out_side)
    )
    check_windows(options, train_windows, held_out)
    # in the order of the documents, so that what is generated does not depend on which are held out
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
    begin(
        options,
        documents,
        {
            "reading": asdict(reading),
            "cut": asdict(cut),
            "settings": asdict(settings),
            "generator": generator.origin if generator else None,
            "generated": digest(sorted(made.items())),
        },
    )
    report_file = options.folder / SETTINGS
    if not report_file.exists():
        if generator:
            made = generate_into(options.folder / GENERATED, generator, wanted)
        sides = {"train": train_side, "held_out": held_out_side}
        names = {name: [documents[i].name for i in side] for name, side in sides.items()}
        corpus = Corpus(attach(train_windows, made, cut.shortest), attach(held_out, made, cut.shortest), names)
        make_ranker(options, call, reading, cut, settings, corpus, generator)
    for name in (CHECKPOINTS, VECTORS):
        shutil.rmtree(options.folder / name, ignore_errors=True)
    print(summary(options.folder, json.loads(report_file.read_text(encoding="utf-8"))))


def plan(options: Options) -> tuple[Reading, Cut, Generator | None]:
    """How texts are read and cut, and what generates negatives. Raises ValueError for options that these refuse."""
    make_settings(options, False)
    scale = options.scale if options.scale is not None else {"cosine": 20.0, "dot": 1.0}[options.similarity]
    low, high = options.continuation_words
    reading = Reading(options.prefix_length, options.suffix_length, options.similarity, scale)
    cut = Cut(options.windows, options.prefix_words, low, high, options.seed)
    return reading, cut, make_generator(options)


def make_settings(options: Options, generated: bool) -> Settings:
    """The settings of the training."""
    defaults = FULL if options.full else HEADS
    negatives = options.negatives or ("both" if generated else "book")
    return Settings(**defaults | {"negatives": negatives} | options.training)


def check_windows(options: Options, train_windows: list[Window], held_out: list[Window]) -> None:
    """Raise ValueError if there is too little text to train on or to measure on."""
    low, high = options.continuation_words
    for name, windows in (("train on", train_windows), ("measure on", held_out)):
        if len(windows) < 2:
            raise ValueError(
                f"no texts to {name}: a pair takes a prefix of {low} words or more and a continuation of {low} to "
                f"{high}, both of whole sentences; lower --continuation-words, or give more texts"
            )


def write_prompts(path: Path, prefixes: list[str]) -> None:
    """Write the prefixes as `python -m decoding --input` reads them."""
    write_whole(path, "".join(to_line({"id": i, "prompt": prefix}) for i, prefix in enumerate(prefixes)))
    print(f"{len(prefixes)} prefixes written to {path}", file=sys.stderr)


def make_generator(options: Options) -> Generator | None:
    """The model that makes negatives; None if the call does not ask for one."""
    if not options.generator:
        return None
    return Generator(
        options.generator,
        options.generated_tokens,
        options.generator_context,
        options.top_p,
        seed=options.seed,
        dtype=options.generator_dtype,
        device=str(device_of(options)),
    )


def find_made(options: Options, windows: list[Window]) -> dict[str, str]:
    """The texts in the file of --generated that belong to the windows. Raises ValueError if there are none."""
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
    """The windows with the texts that were made for them. A text of under `shortest` words is not used."""
    return [
        with_generated(window, made[window.prefix]) if len(made.get(window.prefix, "").split()) >= shortest else window
        for window in windows
    ]


def begin(options: Options, documents: list[Document], settings: dict[str, Any]) -> None:
    """Reserve the folder for this call. Raises ValueError if it was begun by another call."""
    output = options.folder
    settings |= {
        "encoder": options.encoder,
        "held_out": options.held_out,
        "rank": options.rank,
        "generate": options.generate,
        "texts": digest([document.text for document in documents]),
    }
    line = json.dumps(settings, indent=1) + "\n"
    if (output / RUN).exists():
        if (output / RUN).read_text(encoding="utf-8") != line:
            raise ValueError(f"--output {output} was begun with other texts or settings: give another")
        return
    output.mkdir(exist_ok=True)
    # written beside the folder first: a call goes on only in a folder that is empty or has this file
    write_whole(output / RUN, line, folder=output.absolute().parent)


def digest(value: Any) -> str:
    """The first 16 digits of the SHA-256 of a JSON value."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def device_of(options: Options) -> torch.device:
    """The device to compute on."""
    if options.device:
        return torch.device(options.device)
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def make_ranker(
    options: Options,
    call: str,
    reading: Reading,
    cut: Cut,
    settings: Settings,
    corpus: Corpus,
    generator: Generator | None,
) -> None:
    """Measure, train, measure again and save."""
    output, vectors = options.folder, options.vectors or options.folder / VECTORS
    encoder, tokenizer = load_encoder(options.encoder)
    ranker = Ranker(encoder, tokenizer, Heads(encoder.config.hidden_size, reading).eval(), reading)
    ranker.to(device_of(options))
    cosine = Heads(encoder.config.hidden_size, Reading(similarity="cosine"))  # how the encoder is meant to be used
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
        "command": call,
        "training": {
            **asdict(settings), "rank": options.rank, **training, **counts,
            "files": [file.name for file in options.files], "cut": asdict(cut), "documents": corpus.documents,
            "generator": generator.origin if generator else None,
        },
        "accuracy": {when: summarise(corpus.held_out, found) for when, found in tasks.items()},
    })  # fmt: skip


def publish(saved: Path, output: Path, notes: dict[str, Any]) -> None:
    """Move a saved ranker into the output.

    The settings get the notes and come last, so that a folder with them is complete.
    """
    settings = json.loads((saved / SETTINGS).read_text(encoding="utf-8"))
    write_json(saved / SETTINGS, settings | notes)
    for place in sorted(saved.iterdir(), key=lambda place: place.name == SETTINGS):
        shutil.rmtree(output / place.name, ignore_errors=True)
        place.replace(output / place.name)


def measure(
    ranker: Ranker, heads: Heads, windows: list[Window], vectors: Path, seed: int
) -> dict[str, dict[int, float]]:
    """The result of every held-out window in every task."""
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
