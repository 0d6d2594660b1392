"""What was decided in every step, from what and why: a plain record, which JSON holds and a page shows."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scorers._common.checks import require_count
from scorers._common.files import write_whole

FORMAT = {"format": "decoding.trace", "version": 1}


@dataclass(frozen=True)
class Candidate:
    """A token that might have been chosen.

    Attributes:
        id, text: the token, and the text that it stands for.
        logps: its log-probability, in nats: by the model, then after each guide. None where it is forbidden.
        terms: what the picker says of it by name, see `Hypotheses.explain`; empty for a token that it did not weigh.
        places: the earlier tokens that the picker names, counted from 0 over prompt and continuation; None for one
            outside them.
    """

    id: int
    text: str
    logps: tuple[float | None, ...]
    terms: Mapping[str, float | None] = field(default_factory=dict)
    places: Mapping[str, int | None] = field(default_factory=dict)

    @property
    def shifts(self) -> tuple[float | None, ...]:
        """What each guide added to the log-probability; None where the token is forbidden before it or after."""
        pairs = zip(self.logps, self.logps[1:], strict=False)
        return tuple(None if before is None or after is None else after - before for before, after in pairs)


@dataclass(frozen=True)
class Choice:
    """A token appended to a row.

    Where a picker never asked for the distribution, `rank` and `entropy` are None, and the token is the only candidate,
    without log-probabilities.

    Attributes:
        prompt: the prompt whose row this is, from 0.
        parent: the choice before it in that row, by its place in `Call.choices`; None for the first.
        id: the token.
        text: what it added to the text. Nothing, if it is a special token, or a part of a character that a later token
            completes.
        score: see `Step`.
        rank: of the token by guided probability, from 1.
        entropy: of the guided distribution, in nats.
        candidates: most probable first, by guided probability; the token is one of them.
        weights: of the terms whose weighted sum is the term "score".
    """

    prompt: int
    parent: int | None
    id: int
    text: str
    score: float | None
    rank: int | None
    entropy: float | None
    candidates: tuple[Candidate, ...]
    weights: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def token(self) -> Candidate:
        """The candidate that was chosen."""
        return next(candidate for candidate in self.candidates if candidate.id == self.id)


@dataclass(frozen=True)
class Selection:
    """A moment when a reranker said which rows go on, of N candidates.

    Attributes:
        length: tokens of the longest continuation so far.
        choices: the last choice of each candidate, by its place in `Call.choices`.
        texts: the continuations.
        scores: of each; None where the reranker does not say.
        finished: whether each has ended; None where that is not known.
        kept: the candidates that went on, by their place here, best first.
    """

    length: int
    choices: list[int]
    texts: list[str]
    scores: list[float | None]
    finished: list[bool | None]
    kept: list[int]


@dataclass
class Call:
    """One call of a decoder.

    Attributes:
        decoder: its parts, as they are written.
        model: its name, or its class.
        rule: what the picker takes, in a phrase.
        meanings: what each of the picker's terms means.
        guides: their names in order, the call's own processors last.
        prompts: the tokens of each prompt, as (id, text).
        choices: of all rows, those that were dropped included; each row is a chain of parents.
        rows: the last choice of each present row, by its place in `choices`, None where nothing was chosen. In the end
            these are the sequences returned.
        selections: what a reranker decided, in order.
    """

    decoder: str = ""
    model: str = ""
    rule: str = ""
    meanings: Mapping[str, str] = field(default_factory=dict)
    guides: list[str] = field(default_factory=list)
    prompts: list[list[tuple[int, str]]] = field(default_factory=list)
    choices: list[Choice] = field(default_factory=list)
    rows: list[int | None] = field(default_factory=list)
    selections: list[Selection] = field(default_factory=list)

    def row(self, index: int = 0) -> list[Choice]:
        """The choices of one of the `rows`, first to last."""
        return self.chain(self.rows[index])

    def chain(self, last: int | None) -> list[Choice]:
        """The choices that lead to one, first to last, itself included."""
        found: list[Choice] = []
        while last is not None:
            found.append(self.choices[last])
            last = found[-1].parent
        return found[::-1]


class Trace:
    """Why each token was chosen. Hand it to a call, and it is filled; tokens and draws are the same with it.

    `decoding.generate(model, ..., trace=trace)`, `model.generate(..., custom_generate=decoder, trace=trace)` and
    `decoder.stream(model, ..., trace=trace)` fill it as they go; it can be read at any time, also after a call that was
    interrupted. Each call adds a `Call` to `calls`. In a notebook it shows itself.

    Args:
        tokenizer: for the texts; None: the call's `tokenizer=`, or the one that lies where the model came from, or
            else there are numbers.
        n: how many tokens to keep of each distribution, at least 1: the n most probable after all guides and, where
            there are guides, of the model's own; those that the picker weighed are always kept.

    Raises:
        ValueError: n out of range.

    Example:
        >>> import decoding
        >>> model, tokenizer = decoding.load()
        >>> inputs, trace = tokenizer("The night was", return_tensors="pt"), decoding.Trace(tokenizer)
        >>> search = decoding.ContrastiveSearch(k=3, alpha=0.6)
        >>> _ = decoding.generate(model, **inputs, processors=[search], max_new_tokens=4, trace=trace)
        >>> first = trace.calls[0].row()[0]
        >>> first.text, first.rank, sorted(first.token.terms)
        (' a', 1, ['confidence', 'penalty', 'score'])
        >>> page = trace.to_html()
    """

    def __init__(self, tokenizer: Any = None, n: int = 8) -> None:
        require_count("n", n)
        self.tokenizer, self.n = tokenizer, n
        self.calls: list[Call] = []

    def __repr__(self) -> str:
        tokens = sum(len(call.choices) for call in self.calls)
        return f"<Trace of {len(self.calls)} call{'s'[: len(self.calls) != 1]}, {tokens} tokens chosen>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Trace) and self.calls == other.calls

    __hash__ = None  # type: ignore[assignment]

    def to_dict(self) -> dict[str, Any]:
        """Dicts, lists, strings, booleans, None and finite numbers alone; docs/methods/traces.md describes them."""
        return {**FORMAT, "calls": [pack_call(call) for call in self.calls]}

    def to_json(self) -> str:
        """The same as JSON; `from_json` reads it."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False, separators=(",", ":"))

    @classmethod
    def from_dict(cls, packed: Mapping[str, Any]) -> "Trace":
        """What `to_dict` gave.

        Raises:
            ValueError: it is no trace, or one of another version.
        """
        if not isinstance(packed, Mapping) or packed.get("format") != FORMAT["format"]:
            raise ValueError("this is no trace: give what Trace.to_dict or Trace.to_json made")
        if packed.get("version") != FORMAT["version"]:
            raise ValueError(f"a trace of version {packed.get('version')}, and this reads {FORMAT['version']}")
        trace = cls()
        try:
            trace.calls = [unpack_call(call) for call in packed["calls"]]
        except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
            raise ValueError(f"a damaged trace: {type(error).__name__}: {error}") from error
        return trace

    @classmethod
    def from_json(cls, text: str) -> "Trace":
        """What `to_json` gave.

        Raises:
            ValueError: it is not JSON, no trace, or one of another version.
        """
        return cls.from_dict(json.loads(text))

    def to_html(self, title: str = "Why these tokens?") -> str:
        """A page that shows it: one file, without a network; what models wrote is never read as markup."""
        from .page import make_page

        return make_page(self.to_dict(), title)

    def save(self, file: str | Path) -> Path:
        """Write it, as the file's ending says: .html or .json. In one move: no reader meets half a file.

        Raises:
            ValueError: another ending.
        """
        file = Path(file)
        if file.suffix not in (".html", ".json"):
            raise ValueError(f"a trace is written as .html or .json, not {file.name}")
        text = self.to_html() if file.suffix == ".html" else self.to_json()
        return write_whole(file, text.encode("utf-8", errors="replace"))

    def _repr_html_(self) -> str:
        from .page import make_frame

        return make_frame(self.to_html())


def pack_call(call: Call) -> dict[str, Any]:
    """A call as plain data; the text of each token stands once, in "vocabulary"."""
    texts = {token.id: token.text for choice in call.choices for token in choice.candidates}
    return {
        "decoder": call.decoder,
        "model": call.model,
        "rule": call.rule,
        "meanings": dict(call.meanings),
        "guides": list(call.guides),
        "vocabulary": {str(token): texts[token] for token in sorted(texts)},
        "prompts": [[list(token) for token in prompt] for prompt in call.prompts],
        "choices": [pack_choice(choice) for choice in call.choices],
        "rows": list(call.rows),
        "selections": [dict(vars(selection)) for selection in call.selections],
    }


def pack_choice(choice: Choice) -> dict[str, Any]:
    """A choice as plain data: a list of numbers, one a candidate, for each stage, term and place."""
    some = choice.candidates
    columns = {
        kind: {name: [getattr(token, kind).get(name) for token in some] for name in names_of(choice, kind)}
        for kind in ("terms", "places")
    }
    return {
        "prompt": choice.prompt, "parent": choice.parent, "id": choice.id, "text": choice.text, "score": choice.score,
        "rank": choice.rank, "entropy": choice.entropy, "weights": dict(choice.weights),
        "candidates": [token.id for token in some], "logps": [list(token.logps) for token in some],
        "weighed": [bool(token.terms or token.places) for token in some], **columns,
    }  # fmt: skip


def names_of(choice: Choice, kind: str) -> list[str]:
    """The names of the terms, or of the places, that any candidate has."""
    return list(dict.fromkeys(name for token in choice.candidates for name in getattr(token, kind)))


def unpack_call(packed: Mapping[str, Any]) -> Call:
    """The call that `pack_call` made plain data of."""
    texts = packed["vocabulary"]
    choices = []
    for choice in packed["choices"]:
        rest = {
            name: choice[name] for name in ("prompt", "parent", "id", "text", "score", "rank", "entropy", "weights")
        }
        columns = {
            kind: [
                {name: column[i] for name, column in choice[kind].items()} if weighed else {}
                for i, weighed in enumerate(choice["weighed"])
            ]
            for kind in ("terms", "places")
        }
        each = zip(choice["candidates"], choice["logps"], columns["terms"], columns["places"], strict=True)
        tokens = [Candidate(token, texts[str(token)], tuple(logps), *more) for token, logps, *more in each]
        choices.append(Choice(**rest, candidates=tuple(tokens)))
    return Call(
        **{name: packed[name] for name in ("decoder", "model", "rule", "meanings", "guides", "rows")},
        prompts=[[(token, text) for token, text in prompt] for prompt in packed["prompts"]],
        choices=choices,
        selections=[Selection(**selection) for selection in packed["selections"]],
    )
