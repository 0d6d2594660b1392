"""The interface of scorers. A scorer says how good a continuation is after its prefix."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


class Scorer(ABC):
    """A scorer of pairs (prefix, continuation). Higher is better, and a pair gets the same score in any batch.

    Call a scorer with two aligned lists of texts. A caller that scores many continuations of the same prefixes, round
    by round, reads the prefixes once instead: `state = scorer.read(prefixes)`, then `scorer.score(state, owners,
    continuations)`.

    Attributes:
        partial: whether a continuation that has not ended may be scored.
        setwise: whether a score depends on the other continuations of the same prefix in the same call.

    Example:
        >>> class Short(Scorer):
        ...     def score(self, state, owners, continuations):
        ...         return -torch.tensor([float(len(text)) for text in continuations])
        >>> Short()(["Once"], [" upon a time"])
        tensor([-12.])
    """

    partial: bool = True
    setwise: bool = False

    def read(self, prefixes: Sequence[str]) -> Any:
        """Compute once what depends on the P prefixes alone. `score` receives the result as `state`."""
        return list(prefixes)

    @abstractmethod
    def score(self, state: Any, owners: Sequence[int], continuations: Sequence[str]) -> Tensor:
        """Score each continuation: `continuations[i]` follows prefix number `owners[i]` of `state`.

        A score of -inf rejects a continuation. This method draws nothing from torch's global generator.

        Returns:
            (N,) float32 on the CPU.
        """

    def __call__(self, prefixes: Sequence[str], continuations: Sequence[str]) -> Tensor:
        """Score each continuation after the prefix beside it. Equal prefixes are read once.

        Returns:
            (N,) float32.

        Raises:
            TypeError: an argument is one text instead of a list of texts, or an entry is not a text.
            ValueError: the numbers of prefixes and continuations differ, or a text is not valid Unicode.
        """
        for texts in (prefixes, continuations):
            if isinstance(texts, str):
                raise TypeError(f"a scorer takes lists of texts: write [{texts[:20]!r}]")
        if len(prefixes) != len(continuations):
            raise ValueError(f"{len(prefixes)} prefixes and {len(continuations)} continuations: give one to each")
        for name, texts in (("prefix", prefixes), ("continuation", continuations)):
            refuse_no_texts(name, texts)
        if not len(prefixes):
            return torch.empty(0)
        places = {prefix: i for i, prefix in enumerate(dict.fromkeys(prefixes))}
        return self.score(self.read(list(places)), [places[prefix] for prefix in prefixes], list(continuations))


@dataclass(frozen=True)
class Function(Scorer):
    """A scorer that calls a function of (prefixes, continuations), two aligned lists of texts.

    Args:
        function: returns N numbers; higher is better.
        partial: see `Scorer`.
        setwise: see `Scorer`.

    Raises:
        ValueError: in a call, if the function returns another number of scores than it got texts, or a NaN.

    Example:
        >>> Function(lambda prefixes, continuations: [len(text) for text in continuations])(["a"], ["bc"])
        tensor([2.])
    """

    function: Callable[[list[str], list[str]], Any]
    partial: bool = True
    setwise: bool = False

    def score(self, state: Any, owners: Sequence[int], continuations: Sequence[str]) -> Tensor:
        """(N,) float32: the scores that the function returns."""
        found = self.function([state[owner] for owner in owners], list(continuations))
        scores = torch.as_tensor(found).detach().to("cpu", torch.float32)
        if scores.shape != (len(owners),):
            raise ValueError(f"{self.function!r} gave scores of shape {tuple(scores.shape)} for {len(owners)} texts")
        if scores.isnan().any():
            raise ValueError(f"{self.function!r} gave a score that is not a number")
        return scores


def refuse_no_texts(name: str, texts: Sequence[Any]) -> None:
    """Raise an error for an entry that no tokenizer can read.

    An entry must be a text or a tuple of texts: anything else is a TypeError. A text with half a surrogate pair is a
    ValueError. A tuple may hold other things beside texts, such as the weights of `Evidence`; its scorer checks those.
    """
    for i, text in enumerate(texts):
        for part in flat(text) if isinstance(text, tuple) else (text,):
            if not isinstance(part, str):
                raise TypeError(f"{name} {i} is a {type(part).__name__}, and a scorer reads texts")
            try:
                part.encode()
            except UnicodeEncodeError as error:
                raise ValueError(f"{name} {i} is no Unicode: half a character at place {error.start}") from error


def flat(parts: tuple[Any, ...]) -> list[Any]:
    """The entries of a tuple and of the tuples in it, without numbers and None."""
    found: list[Any] = []
    for part in parts:
        if isinstance(part, tuple):
            found += flat(part)
        elif part is not None and not isinstance(part, (int, float)):
            found.append(part)
    return found


def as_scorer(scorer: Any) -> Scorer:
    """The scorer itself, or a `Function` around a callable.

    Raises:
        TypeError: the argument is neither a scorer nor callable.

    Example:
        >>> as_scorer(len)
        Function(function=<built-in function len>, partial=True, setwise=False)
    """
    if isinstance(scorer, Scorer):
        return scorer
    if isinstance(scorer, type) or not callable(scorer):
        raise TypeError(f"{scorer!r} is no scorer: give a scorers.Scorer or a function of (prefixes, continuations)")
    return Function(scorer)
