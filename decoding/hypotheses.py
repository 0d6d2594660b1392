"""The rows being decoded. Everything shaped (R, ...) is here, so that one `select` moves all of it.

The file is long for that reason: rows, their guided logits, and what was seen of them stand together.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from .engine.row_reader import RowReader
from .row_states import RowStates, State

PADDING = "prompt_ignore_length"  # in transformers' repetition penalty: (P,) int64


@dataclass(frozen=True)
class Step:
    """One column of tokens.

    Attributes:
        parents: (R,) int64, the row of the previous step that each row continues; in the first step, the prompt.
        tokens: (R,) int64.
        scores: (R,) float, what the picker maximised; for greedy search and sampling, log p of the token.

    Example:
        >>> import decoding
        >>> model, tokenizer = decoding.load()
        >>> steps = decoding.Decoder().stream(model, **tokenizer("Once upon a", return_tensors="pt"), max_new_tokens=2)
        >>> [tokenizer.decode(step.tokens) for step in steps]
        [' time', ',']
    """

    parents: Tensor
    tokens: Tensor
    scores: Tensor


SOURCE = State[Tensor]("trace.source")  # (R,) int64, for a trace: the row of the last logits that each was chosen from


@dataclass(frozen=True)
class Explanation:
    """What a picker says that its choice goes by; see `Hypotheses.explain` for the shapes.

    Attributes:
        tokens: the candidates; None for the whole vocabulary.
        weights: of the terms that "score" is the weighted sum of.
        terms: by name, what each candidate has of what.
    """

    tokens: Tensor | None
    weights: Mapping[str, float | Tensor]
    terms: Mapping[str, Tensor]


@dataclass(frozen=True)
class Seen:
    """What the last choice was made from.

    Attributes:
        logits: (R, V) float32, the model's own.
        scores: (R, V) float, after all guides and processors.
        stages: (R, V) each, what each guide left; for traces alone, else empty.
        explanation: what the picker says of its choice; for traces alone, else None.
        outputs: what the call asked to see of the forward, `attentions` and `hidden_states`, by transformers' names.
    """

    logits: Tensor
    scores: Tensor
    stages: Sequence[Tensor] = ()
    explanation: Explanation | None = None
    outputs: Mapping[str, Any] = field(default_factory=dict)


class Hypotheses:
    """R rows, prompt by prompt; `append` grows them, `select` gathers them.

    Attributes:
        tokens: (R, T) int64, prompts and continuations.
        done: (R,) bool, whether the row has ended.
        lengths: (R,) int64, the tokens appended before it ended.
        owners: (R,) int64, the prompt of each row, from 0.
        ranks: (R,) int64, which of the copies of one row this is, from 0; all 0 once a token is appended. A picker that
            does not draw takes the best token for the first copy, the second best for the second.
        state: what pickers keep of each row, see `State`.
        prompts: how many prompts there are.
        prompt_length: tokens of each prompt, padding included.

    Args:
        context: the model reading the prompts.
        tokens: (R, T0) int64, the prompts.
        guides: callables `(tokens, logits, *auxiliary logits) -> logits`, each with the contexts it reads.
        pad: () int64, what finished rows get; None where nothing ends a row before the others.
        generator: the randomness of pickers that draw, for all rows or for each prompt; None: torch's global one.
        traced: whether somebody asks why: then `seen` also has what each guide made of the logits, and what a picker
            explains.
    """

    def __init__(
        self,
        context: RowReader,
        tokens: Tensor,
        guides: Sequence[tuple[Callable[..., Tensor], Sequence[RowReader]]] = (),
        *,
        pad: Tensor | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        traced: bool = False,
    ) -> None:
        self.tokens, self.generator, self.traced = tokens, generator, traced
        self.guides = [(own_copy(guide), contexts) for guide, contexts in guides]
        every_guide = [member for guide, _ in self.guides for member in members_of(guide)]
        padded = [(guide, getattr(guide, PADDING, None)) for guide in every_guide]
        self.padded = [(guide, lengths) for guide, lengths in padded if isinstance(lengths, Tensor)]
        self.pad = None if pad is None else pad.to(tokens.device)
        every = [context, *(auxiliary for _, contexts in guides for auxiliary in contexts)]
        self.contexts = list(dict.fromkeys(every))  # guides may read the main one, or share one
        self.prompts, self.prompt_length = tokens.shape
        if not (generator is None or isinstance(generator, torch.Generator) or len(generator) == self.prompts):
            raise ValueError(f"{len(generator)} generators for {self.prompts} prompts: give one, or one for each")
        self.done = torch.zeros_like(tokens[:, 0] if self.prompt_length else tokens.sum(1), dtype=torch.bool)
        self._scores = torch.zeros(self.prompts, device=tokens.device)
        self.owners = self.parents = self._rows()
        self.lengths = self.ranks = torch.zeros_like(self.parents)
        self._seen: Seen | None = None
        self.state = RowStates()

    @property
    def continuation(self) -> Tensor:
        """(R, n) int64, what was appended to the prompts."""
        return self.tokens[:, self.prompt_length :]

    @property
    def scores(self) -> Tensor:
        """(R,) float, of the last token; see `Step`. Set by `append` alone."""
        return self._scores

    @property
    def seen(self) -> Seen:
        """What the last `logits()` gave, and from what.

        Raises:
            RuntimeError: nobody has asked for logits yet.
        """
        if self._seen is None:
            raise RuntimeError("nothing was seen yet: call hypotheses.logits() first")
        return self._seen

    def read(self) -> RowReader:
        """The main context, brought up to date with one forward if it is behind."""
        self.contexts[0].read(self.continuation)
        return self.contexts[0]

    def logits(self) -> Tensor:
        """(R, V) float32 next-token logits: the model's, then through every guide in order.

        A row where masks and constraints forbid every token is guided again, with masks relaxed (see `Guide.relaxed`).

        Raises:
            ValueError: a row that goes on has NaN or infinity, or no token left; it says whose doing that is.
        """
        context = self.read()
        logits, stages = self._apply_guides(context.logits)
        if not logits.amax(-1).isfinite().all():  # -inf: nothing is left; NaN or inf: something is broken
            logits, stages = self._mend_logits(context.logits, logits, stages)
        self._seen = Seen(context.logits, logits, stages if self.traced else (), outputs=context.outputs)
        if self.traced:
            self.state[SOURCE] = self._rows()
        return logits

    def draw(self, probs: Tensor) -> Tensor:
        """A token for each row, (R,) int64, drawn from (R, V) float probabilities.

        By the call's `generator=`: one for all rows, or each prompt's own; then a text does not depend on its batch.
        """
        if self.generator is None or isinstance(self.generator, torch.Generator):
            return torch.multinomial(probs, 1, generator=self.generator).squeeze(-1)
        counts = torch.bincount(self.owners, minlength=self.prompts).tolist()
        own = zip(probs.split(counts), self.generator, strict=True)  # rows are prompt by prompt
        return torch.cat([torch.multinomial(rows, 1, generator=generator) for rows, generator in own]).squeeze(-1)

    def explain(
        self,
        tokens: Tensor | None,
        weights: Mapping[str, float | Tensor] | None = None,
        **terms: Tensor | Callable[[], Tensor],
    ) -> None:
        """Say what a picker's choice among candidates goes by, for a trace; without one this does nothing.

        Args:
            tokens: (R, k) int64, the candidates, R the rows of the last `logits()`; -1 where a row has fewer. None: the
                whole vocabulary, k = V.
            weights: of the terms that "score" is the weighted sum of, a number or (R,) or (R, 1) each.
            terms: by name, what each candidate has of what, (R, k) or (R, 1) float; int64: a place in the text, as a
                column of `self.tokens`. Where one costs something, a function that makes it. `Picker.terms` says what
                the names mean.
        """
        if self.traced and self._seen is not None:
            made = {name: term() if callable(term) else term for name, term in terms.items()}
            self._seen = replace(self._seen, explanation=Explanation(tokens, weights or {}, made))

    def append(self, tokens: Tensor, scores: Tensor | Callable[[], Tensor] | None = None) -> None:
        """Grow every row by one token; rows that have ended get padding.

        Args:
            tokens: (R,) int64.
            scores: (R,) float, see `Step`; or a function that gives them, called when the tokens are there: a
                look-ahead reads them first. None: the scores stay as they were.

        Raises:
            ValueError: another shape or type of tokens.
        """
        if tokens.shape != self.done.shape or tokens.dtype != torch.int64:
            found = f"{tokens.dtype} {tuple(tokens.shape)}"
            raise ValueError(f"append takes one int64 token for each of {len(self.done)} rows, not {found}")
        if self.pad is not None:
            tokens = torch.where(self.done, self.pad, tokens)
        self.tokens = torch.cat([self.tokens, tokens[:, None]], dim=1)
        self.lengths = self.lengths + (~self.done).long()
        self.ranks = torch.zeros_like(self.owners)
        if scores is not None:
            self._scores = scores() if callable(scores) else scores

    def select(self, rows: Tensor) -> None:
        """Go on with `rows` (R',) int64: repeats fork, omissions prune."""
        for name in ("tokens", "done", "lengths", "owners", "_scores", "parents"):
            setattr(self, name, getattr(self, name)[rows])
        self.ranks = (rows[:, None] == rows).tril(-1).sum(1)
        self.state.select(rows)
        for context in self.contexts:
            context.select(rows)
        for processor, lengths in self.padded:
            processor.prompt_ignore_length = lengths.to(self.owners.device)[self.owners]

    def fork(self, n: int) -> None:
        """Every row n times, copies side by side."""
        if n > 1:
            self.select(self._rows().repeat_interleave(n))

    def cut(self, lengths: Sequence[int], pad: Tensor) -> None:
        """End every row after so many tokens of its continuation; `pad` () int64 takes the place of the others."""
        self.lengths = self.lengths.minimum(torch.tensor(lengths, device=self.tokens.device))
        place = torch.arange(self.continuation.shape[1], device=self.tokens.device)
        kept = torch.where(place < self.lengths[:, None], self.continuation, pad.to(self.tokens.device))
        self.tokens = torch.cat([self.tokens[:, : self.prompt_length], kept], dim=1)

    def stop(self, criteria: Callable[..., Any], scores: Any = None) -> None:
        """Mark the rows that transformers' stopping `criteria` end."""
        self.done = self.done | criteria(self.tokens, scores)

    def step(self) -> Step:
        """What happened since the last call."""
        step = Step(self.parents, self.tokens[:, -1], self.scores)
        self.parents = self._rows()
        return step

    def _apply_guides(self, logits: Tensor, relaxed: bool = False) -> tuple[Tensor, list[Tensor]]:
        """What the guides make of (R, V) logits; and, for a trace, what each of them left."""
        shape, logits, stages = logits.shape, logits.clone(), []  # a guide may write into what it is given
        for guide, contexts in self.guides:
            logits = self._call_guide(guide, contexts, logits, relaxed)
            if not (isinstance(logits, Tensor) and logits.shape == shape and logits.is_floating_point()):
                found = f"{logits.dtype} {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
                raise TypeError(f"{name_of(guide)} must give logits of shape {tuple(shape)}, not {found}")
            if self.traced:
                stages.append(logits.clone())
        return logits, stages

    def _call_guide(self, guide: Any, contexts: Sequence[RowReader], logits: Tensor, relaxed: bool = False) -> Any:
        guide = getattr(guide, "relaxed", guide) if relaxed else guide
        return guide(self.tokens, logits, *(auxiliary(self.continuation) for auxiliary in contexts))

    def _mend_logits(self, model: Tensor, logits: Tensor, stages: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Logits that a token can be taken from: rows without one are guided again, with masks relaxed.

        Rows that have ended are set to 0 where they are broken: nobody needs them. For others that is an error.
        """
        if (empty := (logits == -torch.inf).all(-1)).any():
            free, freed = self._apply_guides(model, relaxed=True)
            logits = torch.where(empty[:, None], free, logits)
            stages = [torch.where(empty[:, None], *pair) for pair in zip(freed, stages, strict=True)]
        broken = ~logits.amax(-1).isfinite()
        if rows := (broken & ~self.done).nonzero().flatten().tolist():
            raise ValueError(self._find_fault(model, rows[0]))
        return logits.masked_fill(broken[:, None], 0), stages

    def _find_fault(self, logits: Tensor, row: int) -> str:
        """Which of model, guides and processors is at fault where no token of a row can be taken, in a sentence."""
        place = f"for prompt {int(self.owners[row])} after {self.continuation.shape[1]} tokens"
        if not (best := logits[row].amax()).isfinite():
            return (
                f"the model gave {best} logits {place}: are its weights whole, and is its dtype wide enough? "
                "remove_invalid_values=True goes on with finite ones"
            )
        logits = logits.clone()
        for guide, contexts in self.guides:
            logits = self._call_guide(guide, contexts, logits)
            if (best := logits[row].amax()).isnan() or best == torch.inf:
                return f"{name_of(guide)} gave {best} {place}: logits are numbers, or -inf for what is forbidden"
        return f"no token is left {place}: guides and processors forbid all of them, so drop one of them"

    def _rows(self) -> Tensor:
        return torch.arange(len(self.tokens), device=self.tokens.device)


def name_of(guide: Any) -> str:
    """How an error names a guide: a function by its name, a list by its members."""
    if isinstance(guide, list):
        return f"[{', '.join(map(name_of, guide))}]"
    return str(getattr(guide, "__name__", type(guide).__name__))


def members_of(guide: Any) -> Iterator[Any]:
    """The guides in a list of them, at any depth; or the one guide."""
    if isinstance(guide, list):
        for member in guide:
            yield from members_of(member)
    else:
        yield guide


def own_copy(guide: Any) -> Any:
    """A copy of a processor that holds how long the padding of each prompt is (repetition penalty); else the guide."""
    if isinstance(guide, list):
        return type(guide)(map(own_copy, guide))
    return copy(guide) if isinstance(getattr(guide, PADDING, None), Tensor) else guide
