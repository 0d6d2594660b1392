"""The quality of scorers: `python -m benchmarks.judging`. Do they find the true continuation and agree with readers?

Documents are split in two. One half gives `Overlap` its word weights and `Embedding` its whitening; the other half
gives the questions. Some windows of a held-out document are questions. All windows give wrong answers: 10 of the same
document, 10 of others. A scorer that is no better than chance is in italics: the lower end of its 95 % interval is not
above chance.
"""

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import decoding
import scorers
from decoding.models import loading as models
from scorers._common.files import JsonLines, read_lines
from scorers._common.terminal import silence, table
from scorers.ranker import PACKAGED, SETTINGS, find_encoder
from scorers.ranker_training.accuracy import WAYS, mean_with_interval
from scorers.ranker_training.negatives import Generator, generate_into, read_generated
from scorers.ranker_training.pairs import Cut, Document, Window, draw_distractors, read_documents, split, with_generated

from .options import Judging as Options

TASKS = ("document", "document 11-way", "random", "random 11-way", "generated")
READERS = ("readers, pairs", "readers, votes")
CHANCE = {name: 1 / (WAYS + 1) if name.endswith("11-way") else 0.5 for name in (*TASKS, *READERS)}
Found = dict[str, Mapping[str, Any]]


def judge(options: Options) -> None:
    """Measure every scorer that is not in the output yet, and print the table."""
    votes = read_votes(options.votes) if options.votes else []
    documents = read_documents(options.documents)
    train, held_out = split(documents, options.held_out, options.seed)
    cut = Cut(options.windows, longest=options.longest, seed=options.seed)
    windows = [window for i in held_out for window in cut.windows(i, documents[i].text)]
    passages = [f"{w.prefix} {w.continuation}" for i in train for w in cut.windows(i, documents[i].text)]
    asked = choose(windows, options.questions)
    if len(asked) < 2:
        raise ValueError("too little text: a window takes 10 words and 10 more, both of whole sentences")
    silence()
    made = find_made(options, windows, asked)
    about = {
        "windows": len(windows),
        "questions": len(asked),
        "documents": len(held_out),
        "pairs": len(votes),
        "generated": len(made),
        "seen": seen([documents[i] for i in held_out]),
    }
    key = digest(
        [
            [vars(w) for w in windows],
            asked,
            list(map(vars, made.values())),
            passages,
            votes,
            options.model,
            options.seed,
        ]
    )
    lines = open_rows(options.output) if options.output else None
    known = {row["scorer"]: row["found"] for row in lines.rows if row["key"] == key} if lines else {}
    rows = {}
    makers = candidates(options, passages)
    with contextlib.ExitStack() as stack:
        add_row: Callable[[Sequence[Any]], None] = lambda cells: None  # noqa: E731
        if not options.json:
            print(f"{title(about)}\n", flush=True)
            add_row = stack.enter_context(table(["scorer", *TASKS, *READERS], ["chance", *makers]))
            add_row(["chance", *(f"{100 * CHANCE[name]:.0f}" for name in (*TASKS, *READERS))])
        for name, make in makers.items():
            found = known.get(name)
            if found is None:
                scorer = make()
                found = identify(scorer, windows, asked, made, options.seed) | agree(scorer, votes)
                if lines:
                    lines.append([{"key": key, "scorer": name, "found": found}])
            rows[name] = found
            add_row(line(name, found))
    if options.json:
        print(json.dumps({"about": about, "chance": CHANCE, "scorers": rows}, indent=1))


def choose(windows: Sequence[Window], number: int) -> list[int]:
    """The numbers of the first `number` windows of each document."""
    count: Counter[int] = Counter()
    chosen = []
    for i, window in enumerate(windows):
        count[window.document] += 1
        chosen += [i] if count[window.document] <= number else []
    return chosen


def find_made(options: Options, windows: Sequence[Window], asked: Sequence[int]) -> dict[int, Window]:
    """A language model's continuation for each question, beside the true continuation.

    Both are cut to the same number of words.
    """
    if not options.generated:
        return {}
    wanted = list(dict.fromkeys(windows[i].prefix for i in asked))
    if options.generate:
        generator = Generator(models.locate(options.model), options.new_tokens, seed=options.seed)
        generator.check()
        made = generate_into(options.generated, generator, wanted)
    else:
        made = read_generated(options.generated)
    found = {i: with_generated(windows[i], made[windows[i].prefix]) for i in asked if windows[i].prefix in made}
    if not found:
        raise ValueError(f"no prompt in {options.generated} is a prefix of these documents' windows: use --generate")
    return {i: window for i, window in found.items() if window.continuation and window.generated}


def candidates(options: Options, passages: Sequence[str]) -> dict[str, Callable[[], scorers.Scorer]]:
    """A function that makes each scorer, cheap ones first.

    Scorers that occur in sums are made once, and judge no pair twice.
    """
    weighted = Remembered(lambda: scorers.Overlap.fit(passages))
    ranker = Remembered(scorers.Ranker.from_pretrained)
    encoder = partial(scorers.Embedding.from_pretrained, find_encoder(PACKAGED))
    found: dict[str, Callable[[], scorers.Scorer]] = {
        "number of characters": lambda: scorers.Function(lambda _, texts: [len(text) for text in texts]),
        "Overlap": scorers.Overlap,
        "Overlap, fitted": lambda: weighted,
        "MBR, chrF": scorers.MBR,
        "MBR, MiniLM": lambda: scorers.MBR(encoder()),
        "Embedding, MiniLM": encoder,
        "Embedding, MiniLM, whitened": lambda: encoder().whitened(passages[:1000], min(128, len(passages) // 10)),
        "Ranker": lambda: ranker,
        "Ranker + 10 Overlap, fitted": lambda: scorers.Weighted([(1, ranker), (10, weighted)]),
    }
    for name in options.rankgen:
        found[f"RankGen, {name}"] = partial(scorers.RankGen.from_pretrained, name)
    for name in options.reward:
        found[f"RewardModel, {name}"] = partial(scorers.RewardModel.from_pretrained, name)
    if options.without_model:
        return found
    model = cache(partial(decoding.load, options.model))

    def likelihood(of: str) -> Remembered:
        return Remembered(lambda: scorers.Likelihood(*model(), of, prefix_tokens=256))

    direct, prior = likelihood("direct"), likelihood("prior")
    reads: dict[str, Any] = {"max_length": 256, "batch_size": 8}
    found |= {
        "Likelihood": lambda: direct,
        "Likelihood, PMI": lambda: scorers.Weighted([(1, direct), (-1, prior)]),
        "Ranker + 2 Likelihood": lambda: scorers.Weighted([(1, ranker), (2, direct)]),
        "Embedding, LM, mean": lambda: scorers.Embedding(*model(), **reads),
        "Embedding, LM, prompted": lambda: scorers.Embedding(*model(), "last", scorers.PROMPT_EOL, **reads),
    }
    if options.channel:
        terms = [(1, direct), (1, likelihood("channel")), (1, prior)]
        found["Likelihood, noisy channel"] = lambda: scorers.Weighted(terms)
    return found


@dataclass(eq=False)
class Remembered(scorers.Scorer):
    """A scorer that is made when it is first called, and that never scores a pair twice.

    It is not for set-wise scorers.
    """

    make: Callable[[], scorers.Scorer]
    scorer: scorers.Scorer | None = None
    known: dict[tuple[str, str], float] = field(default_factory=dict)

    def score(self, state: Any, owners: Sequence[int], continuations: Sequence[str]) -> Tensor:
        """The scores, from the scorer or from memory."""
        self.scorer = self.scorer or self.make()
        pairs = [(state[owner], text) for owner, text in zip(owners, continuations, strict=True)]
        new = [pair for pair in dict.fromkeys(pairs) if pair not in self.known]
        if new:
            found = self.scorer([prefix for prefix, _ in new], [text for _, text in new])
            self.known |= zip(new, found.tolist(), strict=True)
        return torch.tensor([self.known[pair] for pair in pairs])


def identify(
    scorer: scorers.Scorer, windows: Sequence[Window], asked: Sequence[int], made: Mapping[int, Window], seed: int = 0
) -> Found:
    """The share of wrong answers that score below the true one, and how often all ten do, for each kind. Ties lose."""
    distractors = draw_distractors(windows, WAYS, seed)
    tasks: dict[str, dict[int, float]] = {}
    for i in asked:
        true = windows[i].continuation
        questions = {
            "document": [true, *(windows[j].continuation for j in distractors.document[i])],
            "random": [true, *(windows[j].continuation for j in distractors.random[i])],
            "generated": [made[i].continuation, str(made[i].generated)] if i in made else [],
        }
        for kind, texts in questions.items():
            if len(texts) < 2:
                continue
            gold, *others = scorer([windows[i].prefix] * len(texts), texts).tolist()
            wins = [float(gold > other) for other in others]
            tasks.setdefault(kind, {})[i] = float(np.mean(wins))
            if len(wins) == WAYS:
                tasks.setdefault(f"{kind} 11-way", {})[i] = min(wins)
    return {
        task: mean_with_interval(list(found.values()), [windows[i].document for i in found])
        for task, found in tasks.items()
    }


def agree(scorer: scorers.Scorer, votes: Sequence[Mapping[str, Any]]) -> Found:
    """How often a scorer prefers the text that most readers prefer, and the share of readers' votes for its choice.

    Equal scores get half a point. Pairs with as many votes for either text count only in the share of votes.
    """
    majority, share = [], []
    for row in votes:
        first, second = scorer([row["prefix"]] * 2, [row["first"], row["second"]]).tolist()
        choice = np.sign(first - second) if first != second else 0.0
        lead, number = row["votes_first"] - row["votes_second"], row["votes_first"] + row["votes_second"]
        if lead:
            majority.append(0.5 + 0.5 * np.sign(lead) * choice)
        share.append(0.5 + 0.5 * lead / number * choice)
    values = dict(zip(READERS, (majority, share), strict=True))
    return {name: mean_with_interval(own, list(range(len(own)))) for name, own in values.items() if own}


def title(about: Mapping[str, Any]) -> str:
    """The line above the table: the numbers of questions, windows, documents and pairs."""
    head = "{questions} of {windows} windows of {documents} documents, {generated} with a generated text; {pairs} pairs"
    note = f"; the ranker that ships was trained on {about['seen']} of these documents" if about["seen"] else ""
    return f"{head.format(**about)}{note}"


def line(name: str, found: Found) -> list[str]:
    """A row of the table in per cent, with intervals. Results that are no better than chance are in italics."""
    cells = [name]
    for task in (*TASKS, *READERS):
        value, low, high = (found.get(task, {}).get(key) for key in ("mean", "low", "high"))
        shown = "" if value is None else f"{100 * value:.0f}"
        if low is not None and high is not None:
            shown += f" ({100 * low:.0f}-{100 * high:.0f})"
            shown = shown if low > CHANCE[task] else f"*{shown}*"
        cells.append(shown)
    return cells


def seen(documents: Sequence[Document]) -> int:
    """How many of the documents the shipped ranker was trained on, judged by their names."""
    settings = json.loads((Path(scorers.__file__).parent / "weights" / SETTINGS).read_text(encoding="utf-8"))
    return len({document.name for document in documents} & set(settings["training"]["documents"]["train"]))


def read_votes(file: Path) -> list[dict[str, Any]]:
    """The pairs of a file.

    Raises:
        ValueError: a line is not a pair with votes. The message says which.
    """
    rows = []
    for _, place, text in read_lines(file):
        try:
            row = json.loads(text)
            if row["votes_first"] + row["votes_second"] < 1 or min(row["votes_first"], row["votes_second"]) < 0:
                raise ValueError
            rows.append({**row, **{name: str(row[name]) for name in ("prefix", "first", "second")}})
        except (ValueError, TypeError, KeyError, RecursionError):
            wanted = "prefix, first, second, votes_first and votes_second, at least one vote"
            raise ValueError(f"{place}: needs a JSON object with {wanted}") from None
    if not rows:
        raise ValueError(f"no pairs in {file}")
    return rows


def open_rows(file: Path) -> JsonLines[dict[str, Any]]:
    """Open the file of rows, with the rows of earlier runs."""

    def check(row: Any, place: str) -> dict[str, Any]:
        return {name: row[name] for name in ("key", "scorer", "found")}

    return JsonLines(file, "key", check, foreign=" holds something else: give another --output")


def digest(value: Any) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of the JSON of a value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]
