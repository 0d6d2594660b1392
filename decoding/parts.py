"""The kinds of part that compose into a decoder."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self, cast

from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel

from .engine.context import Context
from .hypotheses import Hypotheses


class Part:
    """What every part can do: refuse a call that it cannot serve, before any work is spent."""

    def check(self, model: PreTrainedModel, generation_config: GenerationConfig) -> None:
        """Raise ValueError, in one line that says what to do, where this part cannot serve this call."""


class Guide(Part, ABC):
    """What should the next-token distribution be? Pure: its state is the contexts it declares, owned by the loop.

    Every `transformers.LogitsProcessor` is a guide too, and so is a plain function (tokens, logits) -> logits.

    Example:
        >>> class Cooler(Guide):
        ...     def __call__(self, tokens, logits, *auxiliary):
        ...         return logits / 0.5
        >>> import decoding
        >>> decoder = decoding.Decoder(Cooler(), decoding.Sample())
    """

    def contexts(self, main: Context) -> Sequence[Context]:
        """The contexts this guide reads, made once per call; their logits follow `logits` in the call below.

        `main` may be among them: its logits are the model's own, whatever other guides have made of `logits`.
        """
        return ()

    @abstractmethod
    def __call__(self, tokens: Tensor, logits: Tensor, *auxiliary: Tensor) -> Tensor:
        """The guided logits, (R, V) float.

        Args:
            tokens: (R, T) int64, the texts so far.
            logits: (R, V) float32, as the guides before this one left them; may be written into.
            auxiliary: (R, V') float32, the logits of each context.
        """

    def relaxed(self, tokens: Tensor, logits: Tensor, *auxiliary: Tensor) -> Tensor:
        """The same without a mask. Asked for in a row where masks and the call's own constraints leave no token."""
        return self(tokens, logits, *auxiliary)


class Picker(Part, ABC):
    """Which token does each row take?

    Attributes of the class, which a picker of your own may set:
        draws: whether it takes tokens at random. A call with such a picker is a sampling one: `decoding.generate`,
            the commands and the benchmarks set `do_sample=True`, so that `temperature`, `top_k`, `top_p` and the like
            shape what it draws from; `do_sample=False` is refused; a benchmark runs it once for each seed.
        warped: whether those options may shape what it reads when the call says `do_sample=True`. False for a picker
            to which they make no difference, such as `Greedy`: `decoding.generate` then refuses `do_sample=True`.
        keep_states: whether it reads `Context.states`, the hidden states of the whole text.
        rule: what it takes, in a phrase; for traces.
        method: its short name, which `python -m decoding --method` takes. Empty: the first word of the class's name.
        terms: what the names mean that it explains itself by; for traces, see `Hypotheses.explain`.

    Example:
        >>> class SecondBest(Picker):
        ...     def __call__(self, hypotheses):
        ...         hypotheses.append(hypotheses.logits().topk(2).indices[:, 1])
        >>> import decoding
        >>> decoder = decoding.Decoder(SecondBest())
    """

    draws: ClassVar[bool] = False
    warped: ClassVar[bool] = True
    keep_states: ClassVar[bool] = False
    rule: ClassVar[str] = ""
    method: ClassVar[str] = ""
    terms: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def __call__(self, hypotheses: Hypotheses) -> None:
        """Append exactly one token a row, and leave as many rows as it found."""


class Search(ABC):
    """A reranker at work on one call: says after each token which rows go on, and at the end which are returned.

    `Reranker.start` makes it. It may keep what belongs to the call, such as scores or texts that it has read; the
    reranker itself may not, for one object serves any number of calls. A class with these three methods is a `Search`
    whether it names this one as its base or not.

    Example:
        >>> import torch
        >>> class Patient(Search):
        ...     def __init__(self, hypotheses):
        ...         self.calls = 0
        ...     def __call__(self, hypotheses):
        ...         self.calls += 1
        ...     def best(self, hypotheses):
        ...         return torch.arange(hypotheses.prompts)
        >>> class AnyOne(Reranker):
        ...     def start(self, hypotheses, tokenizer=None):
        ...         return Patient(hypotheses)
        >>> import decoding
        >>> decoder = decoding.Decoder(decoding.Greedy(), AnyOne())
    """

    @abstractmethod
    def __call__(self, hypotheses: Hypotheses) -> Tensor | None:
        """After each token: the rows to go on with, (R',) int64, prompt by prompt, at least one of each; None: all."""

    @abstractmethod
    def best(self, hypotheses: Hypotheses) -> Tensor:
        """At the end: one row of each prompt, (P,) int64."""

    def report(self) -> dict[str, Any]:
        """After the end: `sequences_scores` and `rounds` of `decoding.outputs.Reranked`, or nothing."""
        return {}

    @classmethod
    def __subclasshook__(cls, other: type) -> bool:
        if cls is not Search:
            return NotImplemented
        # not by getattr: every class has a __call__, which makes its objects
        return all(any(name in vars(base) for base in other.__mro__) for name in ("__call__", "best", "report"))


class Reranker(Part, ABC):
    """Which rows go on?

    There are two ways to write one:
        * One that keeps nothing between tokens is its own search: it has `__call__`, `best` and, if it wants, `report`,
          as `Search` describes them; see the example.
        * One that keeps something of a call has `start`, which makes a `Search` for each call, as `Rerank` does.
    Neither needs a method that it cannot serve: this class demands one of the two when an object is made.

    Attributes, which a reranker of your own may set:
        width: rows of each prompt, before the first token; at least 1.
        needs_draws: whether its rows must differ by lot. Where the call has no picker, `decoding.generate` then samples
            (`do_sample=True`), and a benchmark runs it once for each seed.
        streams: whether the tokens that a streamer gets are those of the text returned. False for a reranker that cuts
            texts at the end: `decoding.generate` then refuses `streamer=`.

    Raises:
        TypeError: a class with neither `start` nor both of `__call__` and `best`.

    Example:
        >>> import torch
        >>> class Longest(Reranker):
        ...     width = 4
        ...     def __call__(self, hypotheses):
        ...         return None
        ...     def best(self, hypotheses):
        ...         lengths = (hypotheses.continuation != hypotheses.pad).sum(1).view(-1, self.width)
        ...         return lengths.argmax(1) + torch.arange(len(lengths)) * self.width
        >>> import decoding
        >>> decoder = decoding.Decoder(decoding.Sample(), Longest())
    """

    width: int = 1
    needs_draws: ClassVar[bool] = False
    streams: bool = True

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Refuse an object that could not serve a call."""
        if cls.start is Reranker.start and not issubclass(cls, Search):
            raise TypeError(
                f"{cls.__name__} needs both __call__(hypotheses) and best(hypotheses), or start(hypotheses, tokenizer) "
                "that returns a decoding.Search"
            )
        return super().__new__(cls)

    @property
    def options(self) -> Mapping[str, Any]:
        """Options of `generate` that `decoding.generate` sets where the call does not say."""
        return {}

    def start(self, hypotheses: Hypotheses, tokenizer: Any = None) -> Search:
        """The search of one call, made before anything is read; this object, if it is its own.

        Args:
            hypotheses: a row for each prompt.
            tokenizer: the call's `tokenizer=`, if it had one.
        """
        return cast(Search, self)  # `__new__` has seen to it

    def report(self) -> dict[str, Any]:
        """After the end, of a reranker that is its own search: see `Search.report`."""
        return {}
