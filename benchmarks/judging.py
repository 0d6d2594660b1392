"""How good are scorers? `python -m benchmarks.judging`: do they find the true continuation, do they agree with readers.

Documents are split in two: one half gives `Overlap` its word weights, the other asks. Texts that a language model made,
for "generated", come from `python -m scorers.train --generate` or any JSON lines with `prompt` and `continuation`.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import decoding
import scorers
from scorers.pairs import Cut, Window, draw_distractors, read_documents, split, with_generated
from scorers.train_accuracy import mean_with_interval

from .corpora import read_text

TASKS = ["document", "document 11-way", "random", "random 11-way", "generated"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a Markdown row for each scorer."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.judging", description=__doc__)
    parser.add_argument("documents", type=Path, nargs="+", help="text, or JSON lines with a document each; .gz or not")
    parser.add_argument("--votes", type=Path, help="JSON lines: prefix, first, second, votes_first, votes_second")
    parser.add_argument("--generated", type=Path, help="JSON lines: prompt, continuation, of windows cut as here")
    parser.add_argument("--windows", type=int, default=8, help="of each held-out document (default: 8)")
    parser.add_argument("--held-out", type=float, default=0.2, help="part of the documents (default: 0.2)")
    parser.add_argument("--seed", type=int, default=0, help="of the split (default: 0)")
    parser.add_argument("--model", help="for likelihoods: a hub id or a folder (default: the embedded one)")
    parser.add_argument("--rankgen", action="append", default=[], help="a RankGen checkpoint as well; may repeat")
    parser.add_argument("--without-likelihood", action="store_true", help="leave out what reads a language model")
    options = parser.parse_args(arguments)
    documents = read_documents(options.documents)
    train, held_out = split(documents, options.held_out, options.seed)
    windows = [window for i in held_out for window in Cut(options.windows).windows(i, documents[i].text)]
    if options.generated:
        made = {row["prompt"]: row["continuation"] for row in rows_of(options.generated)}
        windows = [with_generated(w, made[w.prefix]) if made.get(w.prefix) else w for w in windows]
    votes = rows_of(options.votes) if options.votes else []
    print(f"{len(windows)} windows of {len(held_out)} documents, {len(votes)} voted pairs\n")
    names = ["scorer", *TASKS, "readers, pairs", "readers, votes"]
    print("| " + " | ".join(names) + " |\n|" + "---|" * len(names))
    print("| chance | 50 | 9 | 50 | 9 | 50 | 50 | 50 |", flush=True)
    for name, scorer in candidates(options, [documents[i].text for i in train]).items():
        found = identify(scorer, windows)
        cells = [show(found.get(task)) for task in TASKS] + [show(one) for one in agree(scorer, votes)]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    return 0


def candidates(options: argparse.Namespace, texts: Iterable[str]) -> dict[str, scorers.Scorer]:
    """The scorers, cheap ones first."""
    found: dict[str, scorers.Scorer] = {
        "length": scorers.Function(lambda prefixes, continuations: [len(text) for text in continuations]),
        "Overlap": scorers.Overlap(),
        "Overlap, weighted by IDF": scorers.Overlap.fit(texts),
        "Embedding, MiniLM": scorers.Embedding.from_pretrained(scorers.Ranker.from_pretrained().encoder.name_or_path),
        "Ranker, as shipped": scorers.Ranker.from_pretrained(),
        **{f"RankGen, {name}": scorers.RankGen.from_pretrained(name) for name in options.rankgen},
    }
    if options.without_likelihood:
        return found
    model, tokenizer = decoding.load(options.model)
    likelihood = scorers.Likelihood(model, tokenizer, prefix_tokens=256)
    return found | {
        "Likelihood, mean": likelihood,
        "Likelihood, PMI": scorers.Likelihood.pmi(model, tokenizer, length="mean", prefix_tokens=256),
    }


def identify(scorer: scorers.Scorer, windows: Sequence[Window]) -> dict[str, Mapping[str, Any]]:
    """Per cent of windows whose true continuation scores above others, by kind of others; ties lose."""
    distractors = draw_distractors(windows)
    tasks: dict[str, dict[int, float]] = {task: {} for task in TASKS}
    state = scorer.read([window.prefix for window in windows])
    for i, window in enumerate(windows):
        rivals = {
            "document": [windows[j].continuation for j in distractors.document[i]],
            "random": [windows[j].continuation for j in distractors.random[i]],
            "generated": [window.generated] if window.generated else [],
        }
        texts = [window.continuation, *(text for own in rivals.values() for text in own)]
        scores = scorer.score(state, [i] * len(texts), texts).tolist()
        gold, rest = scores[0], scores[1:]
        for kind, own in rivals.items():
            wins, rest = [gold > score for score in rest[: len(own)]], rest[len(own) :]
            if wins:
                tasks[kind][i] = float(np.mean(wins))
            if len(wins) == 10:
                tasks[f"{kind} 11-way"][i] = float(all(wins))
    return {
        task: mean_with_interval(list(found.values()), [windows[i].document for i in found])
        for task, found in tasks.items() if found
    }  # fmt: skip


def agree(scorer: scorers.Scorer, votes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any] | None]:
    """How often the scorer prefers the text that most readers do, and how many of their votes are for its choice."""
    if not votes:
        return [None, None]
    prefixes = [row["prefix"] for row in votes]
    first, second = (scorer(prefixes, [row[side] for row in votes]) for side in ("first", "second"))
    majority, share = [], []
    for row, choice in zip(votes, (first - second).sign().tolist(), strict=True):
        ours, all_votes = row["votes_first"] - row["votes_second"], row["votes_first"] + row["votes_second"]
        if ours:
            majority.append(0.5 + 0.5 * np.sign(ours) * choice)
        share.append(0.5 + 0.5 * ours / all_votes * choice)
    return [mean_with_interval(values, list(range(len(values)))) for values in (majority, share)]


def show(found: Mapping[str, Any] | None) -> str:
    """In per cent, with its interval."""
    if found is None:
        return ""
    value, low, high = (found[name] for name in ("mean", "low", "high"))
    return f"{100 * value:.0f}" + ("" if low is None else f" ({100 * low:.0f}-{100 * high:.0f})")


def rows_of(file: Path) -> list[dict[str, Any]]:
    """The lines of a file."""
    return [json.loads(line) for line in read_text(file).split("\n") if line.strip()]


if __name__ == "__main__":
    sys.exit(main())
