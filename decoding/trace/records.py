"""The records of a trace: what was chosen in every step, from which candidates, and why."""

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
    """A token that could have been chosen.

    Attributes:
        id: the token.
        text: the text that it stands for.
        logps: its log-probability in nats, by the model, then after each guide. None where it is forbidden.
        terms: the picker's terms by name, see `Hypotheses.explain`; empty for a token that it did not weigh.
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
        """What each guide added to the log-probability. None where the token is forbidden before or after the guide."""
        pairs = zip(self.logps, self.logps[1:], strict=False)
        return tuple(None if before is None or after is None else after - before for before, after in pairs)


@dataclass(frozen=True)
class Choice:
    """A token appended to a row.

    If the picker did not ask for the distribution, `rank` and `entropy` are None, and the token is the only candidate,
    without log-probabilities.

    Attributes:
        prompt: the prompt whose row this is, from 0.
        parent: the index in `Call.choices` of the choice before it in that row; None for the first.
        id: the token.
        text: the text that it added. This is empty for a special token, and for a part of a character that a later
            token completes.
        score: the step score, see `Step`.
        rank: the rank of the token by guided probability, from 1.
        entropy: the entropy of the guided distribution, in nats.
        candidates: the candidates, most probable first by guided probability; the token is one of them.
        weights: the weights of the terms whose weighted sum is the term "score".
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
    """A decision of a reranker: which of N candidate rows go on.

    Attributes:
        length: the number of tokens of the longest continuation so far.
        choices: the index in `Call.choices` of the last choice of each candidate.
        texts: the continuation of each candidate.
        scores: the score of each candidate; None if the reranker does not report it.
        finished: whether each candidate has ended; None if that is not known.
        kept: the indices of the candidates that went on, best first.
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
        decoder: the parts of the decoder, as they are written in code.
        model: the name of the model, or its class.
        rule: a phrase that says which token the picker takes.
        meanings: the meaning of each of the picker's terms.
        guides: the names of the guides in order, the call's own processors last.
        prompts: the tokens of each prompt, as (id, text).
        choices: the choices of all rows, also of rows that were dropped; each row is a chain of parents.
        rows: the index in `choices` of the last choice of each present row; None if nothing was chosen. At the end of
            the call, these are the sequences returned.
        selections: the decisions of the reranker, in order.
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
        """The choices of one of the `rows`, from first to last."""
        return self.chain(self.rows[index])

    def chain(self, last: int | None) -> list[Choice]:
        """The choices up to and including the choice `last`, from first to last."""
        found: list[Choice] = []
        while last is not None:
            found.append(self.choices[last])
            last = found[-1].parent
        return found[::-1]


class Trace:
    """A record of why each token was chosen. Pass it to a call, which fills it and still returns the same tokens.

    These calls fill it step by step:

    - `decoding.generate(model, ..., trace=trace)`;
    - `model.generate(..., custom_generate=decoder, trace=trace)`;
    - `decoder.stream(model, ..., trace=trace)`.

    Each call adds a `Call` to `calls`. You can read the trace at any time, also after a call that was interrupted. A
    notebook shows it as a page.

    Args:
        tokenizer: used to show tokens as text. None: the call's `tokenizer=`, else the one saved with the model; if
            there is none, tokens are shown as numbers.
        n: how many tokens to keep of each distribution, at least 1. These are the n most probable after all guides and,
            if there are guides, the n most probable by the model. Tokens that the picker weighed are always kept.

    Raises:
        ValueError: n is out of range.

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
        """The trace as plain data that JSON can hold. docs/methods/traces.md describes the format."""
        return {**FORMAT, "calls": [pack_call(call) for call in self.calls]}

    def to_json(self) -> str:
        """The trace as JSON, which `from_json` reads."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False, separators=(",", ":"))

    @classmethod
    def from_dict(cls, packed: Mapping[str, Any]) -> "Trace":
        """The trace that `to_dict` made plain data of.

        Raises:
            ValueError: this is not a trace, or it has another version.
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
        """The trace that `to_json` wrote.

        Raises:
            ValueError: this is not JSON or not a trace, or it has another version.
        """
        return cls.from_dict(json.loads(text))

    def to_html(self, title: str = "Why these tokens?") -> str:
        """An HTML page that shows the trace: one file that needs no network. A model's text is never read as markup."""
        from .page import make_page

        return make_page(self.to_dict(), title)

    def save(self, file: str | Path) -> Path:
        """Write the trace to a file that ends in .html or .json. The file appears whole, never in part.

        Raises:
            ValueError: the file has another ending.
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
    """A call as plain data. The text of each token is stored only once, in "vocabulary"."""
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
    """A choice as plain data. Each term and place is a list with an entry for each candidate."""
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
    """The names of all terms, or of all places, that the candidates have."""
    return list(dict.fromkeys(name for token in choice.candidates for name in getattr(token, kind)))


def unpack_call(packed: Mapping[str, Any]) -> Call:
    """The call that `pack_call` turned into plain data."""
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
