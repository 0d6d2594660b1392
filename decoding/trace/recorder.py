"""The recorder, which fills a trace. It watches the decoding loop and changes nothing in it."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..hypotheses import SOURCE, Explanation, Hypotheses, Seen
from ..models.tokenization import Pieces, tokenizer_of, without_padding
from ..parts import Picker, Search
from ..row_states import State
from .records import Call, Candidate, Choice, Selection, Trace

NODE = State[Tensor]("trace.choice")  # (R,) int64, the last choice of each row; -1 before its first choice
WINDOW = 16  # the text of a token is decoded after this many tokens before it


class TraceRecorder:
    """Adds a call to a trace, choice by choice.

    Args:
        trace: the trace to fill.
        hypotheses: the hypotheses at the start of the call, with a row for each prompt.
        mask: (P, T) mask of the prompts, 0 for padding.
        search: the search of the call's reranker, if it has one.
        tokenizer: the tokenizer of the call; None: see `Trace`.
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
        self.picked: list[int] = []  # the last choice of each row, before a reranker selects rows
        self.call = Call(
            model=Path(model.config.name_or_path).name or type(model).__name__,  # the name only, not its path
            guides=[describe_part(guide) for guide, _ in hypotheses.guides],
            prompts=[self._pieces_of_prompt(prompt) for prompt in self.prompts],
        )
        trace.calls.append(self.call)
        hypotheses.state[NODE] = torch.full_like(hypotheses.owners, -1)

    def name_parts(self, parts: Sequence[Any], picker: Picker) -> None:
        """Record the names of the parts, and what the picker's terms mean."""
        self.call.decoder = ", ".join(map(describe_part, parts))
        self.call.rule, self.call.meanings = picker.rule, picker.terms

    def add_choices(self, hypotheses: Hypotheses) -> None:
        """Record what each row took and what it chose from. Called after each picker step."""
        nodes = hypotheses.state[NODE].tolist()
        rows = (~hypotheses.done).nonzero().flatten()
        tokens = hypotheses.tokens[rows, -1]
        source = hypotheses.state.remove(SOURCE)
        views: Sequence[View | None] = [None] * len(rows)
        if source is not None:
            views = views_of_rows(hypotheses.seen, source[rows], tokens, self.n)
        owners, scores = hypotheses.owners[rows].tolist(), hypotheses.scores[rows].tolist()
        contexts = [self._recent_tokens(owner, nodes[row]) for owner, row in zip(owners, rows.tolist(), strict=True)]
        texts = self.pieces.behind(contexts, tokens.tolist())
        each = zip(rows.tolist(), tokens.tolist(), owners, scores, texts, views, strict=True)
        for row, token, owner, score, text, view in each:
            parent = None if nodes[row] < 0 else nodes[row]
            seen = View() if view is None else view
            self.call.choices.append(
                Choice(
                    prompt=owner,
                    parent=parent,
                    id=token,
                    text=text,
                    score=round_number(score),
                    rank=seen.rank,
                    entropy=seen.entropy,
                    candidates=self._candidates(token, owner, seen),
                    weights=seen.weights,
                )
            )
            nodes[row] = len(self.call.choices) - 1
        self.picked = nodes
        hypotheses.state[NODE] = torch.tensor(nodes, device=hypotheses.owners.device)

    def add_rows(self, hypotheses: Hypotheses) -> None:
        """Record the rows that go on. Called at the end of each step, after the reranker if there is one."""
        nodes, lengths = hypotheses.state[NODE].tolist(), hypotheses.lengths.tolist()
        self.call.rows = [self._last_choice(node, length) for node, length in zip(nodes, lengths, strict=True)]
        rounds = (self.search.report().get("rounds") or []) if self.search else []
        if len(rounds) > len(self.call.selections):
            last = rounds[-1]
            self.call.selections.append(
                Selection(
                    length=last.length,
                    choices=[self.picked[row] for row in last.rows],
                    texts=last.texts,
                    scores=[round_number(score) for score in last.scores.tolist()],
                    finished=last.finished,
                    kept=last.kept,
                )
            )
        elif not rounds and nodes != self.picked:
            self._add_selection_without_scores(nodes, hypotheses)

    def _add_selection_without_scores(self, nodes: list[int], hypotheses: Hypotheses) -> None:
        """Record a selection of a reranker that reports no scores, from the rows that are left."""
        candidates = list(dict.fromkeys(self.picked))
        finished = dict(zip(nodes, hypotheses.done.tolist(), strict=True))
        texts = ["".join(choice.text for choice in self.call.chain(node)) for node in candidates]
        kept = [candidates.index(node) for node in dict.fromkeys(nodes)]
        self.call.selections.append(
            Selection(
                length=hypotheses.continuation.shape[1],
                choices=candidates,
                texts=texts,
                scores=[None] * len(candidates),
                finished=[finished.get(node) for node in candidates],
                kept=kept,
            )
        )

    def _candidates(self, token: int, owner: int, view: "View") -> tuple[Candidate, ...]:
        """The tokens that a row chose from. Only the chosen token, if the picker did not ask for the distribution."""
        if not view.logps:
            return (Candidate(token, self.pieces[token], ()),)
        padding = self.padding[owner]
        found = []
        for id, logps in view.logps.items():
            columns = view.places.get(id, {})
            places = {name: column - padding if column >= padding else None for name, column in columns.items()}
            found.append(Candidate(id, self.pieces[id], logps, view.terms.get(id, {}), places))
        return tuple(found)

    def _pieces_of_prompt(self, ids: list[int]) -> list[tuple[int, str]]:
        """The tokens of a prompt, each with the text that it adds."""
        contexts = [ids[max(0, i - WINDOW) : i] for i in range(len(ids))]
        texts = self.pieces.behind(contexts, ids)
        return [(id, text or self.pieces[id]) for id, text in zip(ids, texts, strict=True)]

    def _recent_tokens(self, owner: int, node: int) -> list[int]:
        """The last `WINDOW` tokens of a row, prompt included."""
        found: list[int] = []
        last = None if node < 0 else node
        while last is not None and len(found) < WINDOW:
            found.append(self.call.choices[last].id)
            last = self.call.choices[last].parent
        return [*self.prompts[owner], *found[::-1]][-WINDOW:]

    def _last_choice(self, node: int, length: int) -> int | None:
        """The last choice of a row cut to `length` tokens: a reranker may cut texts at the end of a sentence."""
        chain = []
        last = None if node < 0 else node
        while last is not None:
            chain.append(last)
            last = self.call.choices[last].parent
        return chain[len(chain) - length] if length else None


class View(NamedTuple):
    """What one row chose from.

    Attributes:
        rank: the rank of the chosen token by guided probability, from 1.
        entropy: the entropy of the guided distribution, in nats.
        logps: for each token, most probable first, its log-probability by the model, then after each guide.
        terms: for each token, the picker's terms by name; empty for a token that it did not weigh.
        places: for each token, the columns of the text that the picker names.
        weights: the weights of the terms whose weighted sum is "score".
    """

    rank: int | None = None
    entropy: float | None = None
    logps: Mapping[int, tuple[float | None, ...]] = {}
    terms: Mapping[int, Mapping[str, float | None]] = {}
    places: Mapping[int, Mapping[str, int]] = {}
    weights: Mapping[str, float | None] = {}


def views_of_rows(seen: Seen, source: Tensor, tokens: Tensor, n: int) -> list[View]:
    """The view of each of R rows.

    Args:
        seen: what the picker saw in this step.
        source: (R,) int64, the row of `seen` from which each row chose.
        tokens: (R,) int64, the token that each row took.
        n: how many tokens of a distribution to keep.
    """
    logps = [stage[source].float().log_softmax(-1) for stage in (seen.logits, *seen.stages)]  # (R, V) each
    model, guided = logps[0], logps[-1]
    n = min(n, model.shape[-1])
    own = model.topk(n).indices
    best = own if len(logps) == 1 else guided.topk(n).indices
    said = seen.explanation or Explanation(tokens[:, None][:, :0], {}, {})
    weighed = () if said.tokens is None else (said.tokens[source],)
    ids = torch.cat([tokens[:, None], own, best, *weighed], dim=1)  # (R, m)
    values = torch.stack([logp.gather(-1, ids.clamp(min=0)) for logp in logps], dim=-1).tolist()  # R lists of m lists
    ranks = (1 + (guided > guided.gather(-1, tokens[:, None])).sum(-1)).tolist()
    entropies = torch.special.entr(guided.exp()).sum(-1).tolist()
    terms = terms_of_rows(said, source, ids, guided.shape[-1])
    always = 1 + own.shape[1]  # the chosen token and the model's best ones are kept even if they are forbidden
    views = []
    for row, some in enumerate(ids.tolist()):
        kept = kept_tokens(some, values[row], always)
        by_token = {id: each for id, each in terms[row].items() if id in kept}
        numbers, places = split_terms(by_token)
        weights = {name: round_number(weight_of(weight, source, row)) for name, weight in said.weights.items()}
        views.append(View(ranks[row], round_number(entropies[row]), kept, numbers, places, weights))
    return views


def terms_of_rows(said: Explanation, source: Tensor, ids: Tensor, vocabulary: int) -> list[dict[int, dict[str, Any]]]:
    """The picker's terms for each token in each of R rows, by token and name.

    Args:
        said: the picker's explanation, for the rows of the logits.
        source: (R,) int64, see `views_of_rows`.
        ids: (R, m) int64, the tokens to look up, if the picker weighed the whole vocabulary.
        vocabulary: V, the number of tokens.
    """
    if said.tokens is None:
        rows = source[:, None]
        columns = {name: term.expand(-1, vocabulary)[rows, ids].tolist() for name, term in said.terms.items()}
    else:
        ids = said.tokens[source]
        columns = {name: term.expand(-1, ids.shape[1])[source].tolist() for name, term in said.terms.items()}
    return [
        {id: {name: column[row][i] for name, column in columns.items()} for i, id in enumerate(some)}
        for row, some in enumerate(ids.tolist())
    ]


def split_terms(
    by_token: Mapping[int, Mapping[str, Any]],
) -> tuple[dict[int, dict[str, float | None]], dict[int, dict[str, int]]]:
    """Split terms by token into numbers (floats) and places in the text (integers)."""
    numbers: dict[int, dict[str, float | None]] = {}
    places: dict[int, dict[str, int]] = {}
    for id, terms in by_token.items():
        numbers[id] = {name: round_number(value) for name, value in terms.items() if isinstance(value, float)}
        places[id] = {name: value for name, value in terms.items() if not isinstance(value, float)}
    return numbers, places


def kept_tokens(ids: list[int], values: list[list[float]], always: int) -> dict[int, tuple[float | None, ...]]:
    """The log-probabilities of the tokens that a trace shows for one row, most probable first.

    Args:
        ids: m tokens, perhaps with repeats; -1 stands for no token.
        values: m lists with the log-probability of each token at each stage.
        always: how many of the first tokens are kept even if they are forbidden.
    """
    found: dict[int, tuple[float | None, ...]] = {}
    for i, (id, stages) in enumerate(zip(ids, values, strict=True)):
        if id >= 0 and id not in found and (i < always or stages[-1] != -math.inf):
            found[id] = tuple(round_number(value) for value in stages)
    order = sorted(found, key=lambda id: -math.inf if (logp := found[id][-1]) is None else logp, reverse=True)
    return {id: found[id] for id in order}


def weight_of(weight: float | Tensor, source: Tensor, row: int) -> float:
    """The weight in one row. A tensor has a weight for each row of the logits."""
    return float(weight.flatten()[source[row]]) if isinstance(weight, Tensor) else float(weight)


def round_number(value: float) -> float | None:
    """Round a finite number to six digits. None for nan and infinity, which JSON does not have."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def find_tokenizer(model: Any, *given: Any) -> Any:
    """The first given tokenizer that is not None, else the model's own, else None."""
    for tokenizer in given:
        if tokenizer is not None:
            return tokenizer
    try:
        return tokenizer_of(model)
    except ValueError:
        return None


def describe_part(part: Any) -> str:
    """Describe a part as it was written, but without addresses in memory and without whole models."""
    text = repr(part)
    if " at 0x" not in text and "\n" not in text and len(text) <= 160:
        return text
    kind = getattr(part, "__qualname__", None)
    if kind:
        return str(kind).rpartition("<locals>.")[2]
    plain = {name: value for name, value in vars(part).items() if isinstance(value, (bool, int, float, str))}
    return f"{type(part).__name__}({', '.join(f'{name}={value!r}' for name, value in plain.items())})"
