"""The reference: one text at a time, no cache, no padding, every text read anew. It imports nothing of the toolkit.

What the library makes of any guide, picker and reranker must equal what this loop makes of their oracles, token for
token. It is slow, and so short that it can be checked by reading.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


class Reader:
    """Reads texts with a model, each alone and from its first token. It remembers what it has read.

    Args:
        model: a causal LM of transformers.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self._known: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}
        self._others: dict[int, Reader] = {}

    def __call__(self, tokens: Sequence[int], model: Any = None) -> tuple[Tensor, Tensor]:
        """(V,) float32 logits of the next token, and (T, D) hidden states of the last layer."""
        if model is not None and model is not self.model:
            return self._others.setdefault(id(model), Reader(model))(tokens)
        key = tuple(tokens)
        if key not in self._known:
            with torch.no_grad():
                ids = torch.tensor([key])
                out = self.model(ids, attention_mask=torch.ones_like(ids), use_cache=False, output_hidden_states=True)
            self._known[key] = out.logits[0, -1].float(), out.hidden_states[-1][0]
        logits, states = self._known[key]
        return logits.clone(), states


@dataclass
class Text:
    """One row, as an oracle sees it: a prompt and what was generated after it.

    Attributes:
        reader: reads any text.
        place: which of the kit's prompts it continues, from 0; see `decoding.testing.PROMPTS`.
        prompt: token ids, no padding.
        new: the tokens after the prompt so far, with the end-of-sequence token where it has come.
        rank, copies: where a reranker has just made several equal rows of one, which of how many this is, from 0;
            0 and 1 else.
        memory: what the oracle wants to keep of this row, under any names; each copy of a row gets its own.
        ended: whether it goes on no more.
        history: (V,) logits each, what guides and processors made of the logits at each step.
    """

    reader: Reader
    place: int
    prompt: list[int]
    new: list[int] = field(default_factory=list)
    rank: int = 0
    copies: int = 1
    memory: dict[str, Any] = field(default_factory=dict)
    ended: bool = False
    history: list[Tensor] = field(default_factory=list)

    @property
    def tokens(self) -> list[int]:
        """The prompt and what was generated."""
        return self.prompt + self.new

    @property
    def model(self) -> Any:
        """The model being decoded."""
        return self.reader.model

    def logits(self, tokens: Sequence[int] | None = None, model: Any = None) -> Tensor:
        """(V,) float32 logits of the next token after `tokens`; None: after this text."""
        return self.reader(self.tokens if tokens is None else tokens, model)[0]

    def log_p(self, tokens: Sequence[int] | None = None, model: Any = None) -> Tensor:
        """(V,) float32, the same as log-probabilities."""
        return self.logits(tokens, model).log_softmax(-1)

    def states(self, tokens: Sequence[int] | None = None, model: Any = None) -> Tensor:
        """(T, D) hidden states of the last layer at each of `tokens`; None: of this text."""
        return self.reader(self.tokens if tokens is None else tokens, model)[1]


Guide = Callable[[Text, Tensor], Tensor]  # (text, (V,) logits) -> (V,) logits
Pick = Callable[[Text, Tensor], Tensor | Mapping[int, float] | int]  # (text, (V,) logits) -> scores, or a token
Rerank = Callable[[list[Text], bool], Sequence[int] | None]  # (the rows of one prompt, all ended) -> rows that go on


def continue_texts(
    reader: Reader,
    prompts: Mapping[int, list[int]],
    length: int,
    pick: Pick,
    *,
    eos: int,
    guides: Sequence[Guide] = (),
    processors: Guide | None = None,
    rerank: Rerank | None = None,
    width: int = 1,
    generators: Mapping[int, torch.Generator] | None = None,
) -> list[Text]:
    """The best continuation of each prompt, of at most `length` tokens.

    Args:
        prompts: by their place.
        pick: the oracle of a picker, see `decoding.testing.check_picker`.
        eos: ends a text.
        guides: the oracles of guides, in their order.
        processors: the oracle of what the call's options build. Where guides and processors together leave no token,
            the guides are left out.
        rerank, width: the oracle of a reranker, see `decoding.testing.check_reranker`, and its rows of each prompt.
        generators: of each prompt, where `pick` gives probabilities to draw from.
    """
    rows = [
        Text(reader, place, prompt, rank=rank, copies=width)
        for place, prompt in prompts.items()
        for rank in range(width)
    ]
    while not all(row.ended for row in rows):
        found = [None if row.ended else pick(row, guided(row, guides, processors)) for row in rows]
        if generators:
            tokens = drawn(rows, found, generators)
        else:
            tokens = [chosen(row, one) for row, one in zip(rows, found, strict=True)]
        for row, token in zip(rows, tokens, strict=True):
            if not row.ended:
                row.new.append(token)
                row.ended = token == eos or len(row.new) == length
        if rerank is not None:
            if not all(row.ended for row in rows):
                rows = moved(rows, prompts, rerank, ended=False)
            if all(row.ended for row in rows):
                rows = moved(rows, prompts, rerank, ended=True)
    return rows


def guided(row: Text, guides: Sequence[Guide], processors: Guide | None) -> Tensor:
    """(V,) logits, after every guide and the processors."""
    process = processors or (lambda text, logits: logits)
    logits = row.logits()
    for guide in guides:
        logits = guide(row, logits)
    logits = process(row, logits)
    if logits.max() == -math.inf:
        logits = process(row, row.logits())
    row.history.append(logits.clone())
    return logits


def chosen(row: Text, found: Tensor | Mapping[int, float] | int | None) -> int:
    """The token of the best score; of the copy of rank r, the one r places further on among those not forbidden."""
    if found is None or isinstance(found, int):
        return found or 0
    scores = dict(enumerate(found.tolist())) if isinstance(found, Tensor) else found
    allowed = [token for token in sorted(scores, key=lambda token: -scores[token]) if scores[token] > -math.inf]
    return allowed[row.rank % len(allowed)]


def drawn(rows: list[Text], found: Sequence[Any], generators: Mapping[int, torch.Generator]) -> list[int]:
    """A token for each row: the rows of a prompt are drawn together, by its own generator."""
    if any(isinstance(one, int) for one in found):
        return [one or 0 for one in found]
    size = next(len(one) for one in found if one is not None)
    anything = torch.full((size,), 1 / size)  # of rows that have ended the draw is thrown away
    tokens: list[int] = []
    for place, generator in generators.items():
        own = [anything if one is None else one for row, one in zip(rows, found, strict=True) if row.place == place]
        tokens += torch.multinomial(torch.stack(own), 1, generator=generator).flatten().tolist()
    return tokens


def moved(rows: list[Text], prompts: Mapping[int, list[int]], rerank: Rerank, *, ended: bool) -> list[Text]:
    """The rows that go on, prompt by prompt; at the end, one of each."""
    kept = []
    for place in prompts:
        own = [row for row in rows if row.place == place]
        indices = rerank(own, ended)
        if indices is None:
            indices = range(len(own))
        for i, index in enumerate(indices):
            rank, copies = list(indices[:i]).count(index), list(indices).count(index)
            row = own[index]
            copy = Text(row.reader, place, row.prompt, list(row.new), rank, copies, dict(row.memory), row.ended)
            kept.append(copy)
            copy.history = list(row.history)
    return kept
