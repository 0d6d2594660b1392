"""The search that `Rerank` runs in one call: Krishna et al. 2022, RankGen."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from scorers import Scorer

from ..hypotheses import Hypotheses
from ..models.tokenization import read_behind
from ..parts import Search

SENTENCE_ENDS = ".?!;"  # as in the released code


@dataclass(frozen=True)
class Round:
    """One round of scoring. It has N candidates, those of the first prompt first.

    Attributes:
        length: the number of tokens of the longest continuation so far.
        owners: the prompt of each candidate, from 0.
        texts: the continuation of each candidate.
        scores: (N,) float32, the score of each candidate; higher is better.
        finished: whether each candidate has ended.
        kept: the indices of the candidates that went on, best first.
        rows: the row of each candidate among the rows being decoded.
    """

    length: int
    owners: list[int]
    texts: list[str]
    scores: Tensor
    finished: list[bool]
    kept: list[int]
    rows: list[int]


class SegmentSearch(Search):
    """The state of a `Rerank` in one call: what the scorer has read, the scores, and the rounds so far.

    Args:
        scorer, every, samples, beams: see `Rerank`.
        tokenizer: the tokenizer of the model.
        prompts: the tokens of each prompt, without padding.
        state: what the scorer's `read` returned for the prefixes.
        pad: () int64, the token that replaces those cut off at the end; None: nothing is cut off.
    """

    def __init__(
        self,
        scorer: Scorer,
        every: int | None,
        samples: int,
        beams: int,
        *,
        tokenizer: Any,
        prompts: list[list[int]],
        state: Any,
        pad: Tensor | None,
    ) -> None:
        self.scorer, self.every, self.samples, self.beams = scorer, every, samples, beams
        self.tokenizer, self.prompts, self.state, self.pad = tokenizer, prompts, state, pad
        self.known: dict[tuple[int, str], float] = {}
        self.rounds: list[Round] = []
        self.scores: Tensor | None = None

    def __call__(self, hypotheses: Hypotheses) -> Tensor | None:
        """The best rows of each prompt at the end of a segment, else None; a row that goes on comes `samples` times."""
        if self.every is None or hypotheses.continuation.shape[1] % self.every:
            return None
        rows = self.choose_rows(hypotheses, self.beams)
        return rows.repeat_interleave(torch.where(hypotheses.done[rows], 1, self.samples))

    def best(self, hypotheses: Hypotheses) -> Tensor:
        """The best row of each prompt."""
        rows = self.choose_rows(hypotheses, 1)
        if self.pad is not None:
            hypotheses.cut([self.length_of_sentences(row) for row in candidates_of(hypotheses)], self.pad)
        return rows

    def report(self) -> dict[str, Any]:
        """The entries that the search adds to the output object."""
        return {"sequences_scores": self.scores, "rounds": self.rounds}

    def choose_rows(self, hypotheses: Hypotheses, n: int) -> Tensor:
        """The best n different rows of each prompt, best first, prompt by prompt: (R',) int64."""
        rows = candidates_of(hypotheses)
        if not self.scorer.setwise:  # for a set-wise scorer, copies are votes
            rows = drop_repeats(rows)
        owners = [row.owner for row in rows]
        texts = read_behind(self.tokenizer, [self.prompts[owner] for owner in owners], [row.ids for row in rows])
        scores = self.score_texts(owners, texts)
        places = {row.place: i for i, row in enumerate(rows)}
        ordered = sorted(rows, key=lambda row: -scores[places[row.place]])  # stable: of equal scores the first wins
        best = [
            [row for row in drop_repeats(ordered) if row.owner == prompt][:n] for prompt in range(hypotheses.prompts)
        ]
        kept = [places[row.place] for own in best for row in own]
        finished, length = [row.finished for row in rows], hypotheses.continuation.shape[1]
        where = [row.place for row in rows]
        self.rounds.append(Round(length, owners, texts, torch.tensor(scores), finished, kept, where))
        self.scores = torch.tensor([scores[i] for i in kept])
        return torch.tensor([rows[i].place for i in kept], device=hypotheses.tokens.device)

    def score_texts(self, owners: list[int], texts: list[str]) -> list[float]:
        """The score of each text. A text scored before keeps its score, unless the scorer is set-wise."""
        scorer, pairs = self.scorer, list(zip(owners, texts, strict=True))
        new = pairs if scorer.setwise else [pair for pair in dict.fromkeys(pairs) if pair not in self.known]
        if new:
            found = scorer.score(self.state, [owner for owner, _ in new], [text for _, text in new])
            if found.shape != (len(new),) or found.isnan().any():
                raise ValueError(f"{type(scorer).__name__} gave no number for some of {len(new)} texts: {found}")
            if scorer.setwise:
                return found.tolist()
            self.known |= zip(new, found.tolist(), strict=True)
        return [self.known[pair] for pair in pairs]

    def length_of_sentences(self, row: "Candidate") -> int:
        """The number of tokens up to the end of the last whole sentence; all tokens, if no sentence ends."""
        prompt, ids = self.prompts[row.owner], row.ids
        heads = read_behind(self.tokenizer, [prompt] * len(ids), [ids[: i + 1] for i in range(len(ids))])
        end = max(heads[-1].rfind(mark) for mark in SENTENCE_ENDS) + 1
        return next(i for i, head in enumerate(heads, 1) if len(head) >= end) if end else len(ids)


class Candidate(NamedTuple):
    """A row at the end of a segment.

    Attributes:
        place: the number of the row.
        owner: the prompt of the row.
        ids: the tokens of its continuation, without padding.
        finished: whether the row has ended.
    """

    place: int
    owner: int
    ids: list[int]
    finished: bool


def candidates_of(hypotheses: Hypotheses) -> list[Candidate]:
    """Make a candidate of every row."""
    columns = (hypotheses.owners, hypotheses.continuation, hypotheses.lengths, hypotheses.done)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [Candidate(i, owner, ids[:length], done) for i, (owner, ids, length, done) in enumerate(rows)]


def drop_repeats(rows: Sequence[Candidate]) -> list[Candidate]:
    """The rows without those that repeat an earlier one of the same prompt."""
    found: dict[tuple, Candidate] = {}
    for row in rows:
        found.setdefault((row.owner, row.finished, *row.ids), row)
    return list(found.values())
