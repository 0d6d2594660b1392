"""What fills a trace: it watches the loop, and changes nothing."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..hypotheses import SOURCE, Explanation, Hypotheses, Seen, State
from ..models.tokenization import Pieces, tokenizer_of, without_padding
from ..parts import Picker, Search
from .records import Call, Candidate, Choice, Selection, Trace

NODE = State[Tensor]("trace.choice")  # (R,) int64, the last choice of each row, -1 behind the prompt
WINDOW = 16  # tokens that say how the next one reads


class Witness:
    """Adds a call to a trace, choice by choice.

    Args:
        trace: to be filled. hypotheses: with a row for each prompt. mask: (P, T) of the prompts, 0 for padding.
        search: of the call's reranker, if it has one. tokenizer: the call's.
    """

    def __init__(
        self, trace: Trace, hypotheses: Hypotheses, mask: Tensor, search: Search | None, tokenizer: Any
    ) -> None:
        model = hypotheses.contexts[0].model
        self.n, self.search = trace.n, search
        self.pieces = Pieces(find_tokenizer(model, trace.tokenizer, tokenizer))
        tokens = hypotheses.tokens
        mask = mask[:, mask.shape[1] - tokens.shape[1] :]  # a prompt of embeddings has no tokens
        self.prompts = without_padding(tokens, mask)
        self.padding = [tokens.shape[1] - len(prompt) for prompt in self.prompts]
        self.picked: list[int] = []  # the last choice of each row, before a reranker says which go on
        self.call = Call(
            model=Path(model.config.name_or_path).name or type(model).__name__,  # a folder's place is the machine's
            guides=[name_of(guide) for guide, _ in hypotheses.guides],
            prompts=[self._read(prompt) for prompt in self.prompts],
        )
        trace.calls.append(self.call)
        hypotheses.state[NODE] = torch.full_like(hypotheses.owners, -1)

    def introduce(self, parts: Sequence[Any], picker: Picker) -> None:
        """Say what decides."""
        self.call.decoder = ", ".join(map(name_of, parts))
        self.call.rule, self.call.meanings = picker.rule, picker.terms

    def see(self, hypotheses: Hypotheses) -> None:
        """After a picker: what each row took, and what it chose from."""
        nodes = hypotheses.state[NODE].tolist()
        rows = (~hypotheses.done).nonzero().flatten()
        tokens = hypotheses.tokens[rows, -1]
        source = hypotheses.state.remove(SOURCE)
        views: Sequence[View | None] = [None] * len(rows)
        if source is not None:
            views = views_of_rows(hypotheses.seen, source[rows], tokens, self.n)
        owners, scores = hypotheses.owners[rows].tolist(), hypotheses.scores[rows].tolist()
        contexts = [self._recent(owner, nodes[row]) for owner, row in zip(owners, rows.tolist(), strict=True)]
        texts = self.pieces.behind(contexts, tokens.tolist())
        each = zip(rows.tolist(), tokens.tolist(), owners, scores, texts, views, strict=True)
        for row, token, owner, score, text, view in each:
            parent = None if nodes[row] < 0 else nodes[row]
            seen = View() if view is None else view
            self.call.choices.append(
                Choice(owner, parent, token, text, number(score), seen.rank, seen.entropy,
                       self._candidates(token, owner, seen), seen.weights)
            )  # fmt: skip
            nodes[row] = len(self.call.choices) - 1
        self.picked = nodes
        hypotheses.state[NODE] = torch.tensor(nodes, device=hypotheses.owners.device)

    def follow(self, hypotheses: Hypotheses) -> None:
        """After a reranker, or where there is none: the rows that go on."""
        nodes, lengths = hypotheses.state[NODE].tolist(), hypotheses.lengths.tolist()
        self.call.rows = [self._cut(node, length) for node, length in zip(nodes, lengths, strict=True)]
        rounds = (self.search.report().get("rounds") or []) if self.search else []
        if len(rounds) > len(self.call.selections):
            last = rounds[-1]
            self.call.selections.append(
                Selection(last.length, [self.picked[row] for row in last.rows], last.texts,
                          [number(score) for score in last.scores.tolist()], last.finished, last.kept)
            )  # fmt: skip
        elif not rounds and nodes != self.picked:
            self._select(nodes, hypotheses)

    def _select(self, nodes: list[int], hypotheses: Hypotheses) -> None:
        """A reranker that tells no scores: what went on is seen by the rows that are left."""
        candidates = list(dict.fromkeys(self.picked))
        finished = dict(zip(nodes, hypotheses.done.tolist(), strict=True))
        texts = ["".join(choice.text for choice in self.call.chain(node)) for node in candidates]
        kept = [candidates.index(node) for node in dict.fromkeys(nodes)]
        self.call.selections.append(
            Selection(hypotheses.continuation.shape[1], candidates, texts, [None] * len(candidates),
                      [finished.get(node) for node in candidates], kept)
        )  # fmt: skip

    def _candidates(self, token: int, owner: int, view: "View") -> tuple[Candidate, ...]:
        if not view.logps:
            return (Candidate(token, self.pieces[token], ()),)
        return tuple(
            Candidate(id, self.pieces[id], logps, view.terms.get(id, {}), {
                name: place - self.padding[owner] if place >= self.padding[owner] else None
                for name, place in view.places.get(id, {}).items()
            })
            for id, logps in view.logps.items()
        )  # fmt: skip

    def _read(self, ids: list[int]) -> list[tuple[int, str]]:
        contexts = [ids[max(0, i - WINDOW) : i] for i in range(len(ids))]
        texts = self.pieces.behind(contexts, ids)
        return [(id, text or self.pieces[id]) for id, text in zip(ids, texts, strict=True)]

    def _recent(self, owner: int, node: int) -> list[int]:
        """The last tokens of a row."""
        found: list[int] = []
        last = None if node < 0 else node
        while last is not None and len(found) < WINDOW:
            found.append(self.call.choices[last].id)
            last = self.call.choices[last].parent
        return [*self.prompts[owner], *found[::-1]][-WINDOW:]

    def _cut(self, node: int, length: int) -> int | None:
        """The choice that a row of `length` tokens ends with: a reranker may cut texts at a sentence's end."""
        chain = []
        last = None if node < 0 else node
        while last is not None:
            chain.append(last)
            last = self.call.choices[last].parent
        return chain[len(chain) - length] if length else None


class View(NamedTuple):
    """What one row chose from, by token: log-probabilities at every stage, terms, and places in the text."""

    rank: int | None = None
    entropy: float | None = None
    logps: Mapping[int, tuple[float | None, ...]] = {}
    terms: Mapping[int, Mapping[str, float | None]] = {}
    places: Mapping[int, Mapping[str, int]] = {}
    weights: Mapping[str, float | None] = {}


def views_of_rows(seen: Seen, source: Tensor, tokens: Tensor, n: int) -> list[View]:
    """The view of each of R rows.

    Args:
        seen: what they were chosen from.
        source: (R,) int64, the row of `seen` that each was chosen from.
        tokens: (R,) int64, what each took.
        n: how many tokens of a distribution to keep.
    """
    stages = [seen.logits, *seen.stages]
    logps = [stage[source].float().log_softmax(-1) for stage in stages]  # (R, V) each
    model, guided = logps[0], logps[-1]
    own = model.topk(min(n, model.shape[-1])).indices
    best = own if len(stages) == 1 else guided.topk(min(n, guided.shape[-1])).indices
    said = seen.explanation or Explanation(tokens[:, None][:, :0], {}, {})
    weighed, weights, terms = said.tokens, said.weights, said.terms
    rows = source[:, None]
    ids = torch.cat([tokens[:, None], own, best, *([] if weighed is None else [weighed[source]])], dim=1)  # (R, m)
    columns = {}  # of each term, R lists of m numbers
    for name, term in terms.items():
        wide = term.expand(-1, guided.shape[-1] if weighed is None else weighed.shape[1])
        columns[name] = (wide[rows, ids] if weighed is None else wide[source]).tolist()
    values = torch.stack([logp.gather(-1, ids.clamp(min=0)) for logp in logps], dim=-1).tolist()  # R lists of m lists
    ranks = (1 + (guided > guided.gather(-1, tokens[:, None])).sum(-1)).tolist()
    entropies = torch.special.entr(guided.exp()).sum(-1).tolist()
    whole = {name for name, term in terms.items() if not term.is_floating_point()}
    favourites = 1 + own.shape[1]  # the token taken and the model's own are kept even where they are forbidden
    found = []
    for row, some in enumerate(ids.tolist()):
        stays: dict[int, tuple[float | None, ...]] = {}
        for i, (id, stage) in enumerate(zip(some, values[row], strict=True)):
            if id >= 0 and id not in stays and (i < favourites or stage[-1] != -math.inf):
                stays[id] = tuple(number(value) for value in stage)
        order = sorted(stays, key=lambda id: -math.inf if (logp := stays[id][-1]) is None else logp, reverse=True)
        explained = some if weighed is None else some[len(some) - weighed.shape[1] :]
        of = {
            id: {name: column[row][i] for name, column in columns.items()}
            for i, id in enumerate(explained)
            if id in stays
        }
        found.append(
            View(
                ranks[row], number(entropies[row]), {id: stays[id] for id in order},
                {id: {name: number(v) for name, v in each.items() if name not in whole} for id, each in of.items()},
                {id: {name: v for name, v in each.items() if name in whole} for id, each in of.items()},
                {name: number(weight_of(weight, source, row)) for name, weight in weights.items()},
            )
        )  # fmt: skip
    return found


def weight_of(weight: float | Tensor, source: Tensor, row: int) -> float:
    """Of one row; a tensor has one for each row of the logits."""
    return float(weight.flatten()[source[row]]) if isinstance(weight, Tensor) else float(weight)


def number(value: float) -> float | None:
    """Six digits of a finite number; None for what JSON does not have."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def find_tokenizer(model: Any, *given: Any) -> Any:
    """The first that is given, or the model's own, or None."""
    for tokenizer in given:
        if tokenizer is not None:
            return tokenizer
    try:
        return tokenizer_of(model)
    except ValueError:
        return None


def name_of(part: Any) -> str:
    """A part as it was written, or nearly: without addresses in memory, and without whole models."""
    text = repr(part)
    if " at 0x" not in text and "\n" not in text and len(text) <= 160:
        return text
    kind = getattr(part, "__qualname__", None)
    if kind:
        return str(kind).rpartition("<locals>.")[2]
    plain = {name: value for name, value in vars(part).items() if isinstance(value, (bool, int, float, str))}
    return f"{type(part).__name__}({', '.join(f'{name}={value!r}' for name, value in plain.items())})"
