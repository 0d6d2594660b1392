"""What a scorer is: how good is a continuation after its prefix?"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


class Scorer(ABC):
    """Scores (prefix, continuation) pairs: higher is better, the same pair gets the same score in any batch.

    Call it on aligned texts. A caller that scores many continuations of the same prefixes, round by round, reads the
    prefixes once instead: `state = scorer.read(prefixes)`, then `scorer.score(state, owners, continuations)`.

    partial: whether a continuation that is not finished may be scored.
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
        """What can be computed from P prefixes alone, once; `score` gets it back as `state`."""
        return list(prefixes)

    @abstractmethod
    def score(self, state: Any, owners: Sequence[int], continuations: Sequence[str]) -> Tensor:
        """(N,) float32 on the CPU: how good `continuations[i]` is after prefix number `owners[i]` of `state`.

        -inf rejects a continuation. Draws nothing from torch's global generator.
        """

    def __call__(self, prefixes: Sequence[str], continuations: Sequence[str]) -> Tensor:
        """(N,) float32: how good each continuation is after the prefix beside it; equal prefixes are read once.

        Raises:
            TypeError: one text where a list of texts is meant; something else than texts.
            ValueError: not as many continuations as prefixes; a text that is no Unicode.
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
    """A function of (prefixes, continuations), aligned lists of texts, as a scorer.

    Args:
        function: gives N numbers, higher is better.
        partial, setwise: see `Scorer`.

    Raises:
        ValueError: when it is called, if the function gives another number of scores than it got texts, or a NaN.

    Example:
        >>> Function(lambda prefixes, continuations: [len(text) for text in continuations])(["a"], ["bc"])
        tensor([2.])
    """

    function: Callable[[list[str], list[str]], Any]
    partial: bool = True
    setwise: bool = False

    def score(self, state: Any, owners: Sequence[int], continuations: Sequence[str]) -> Tensor:
        """What the function says of them."""
        found = self.function([state[owner] for owner in owners], list(continuations))
        scores = torch.as_tensor(found).detach().to("cpu", torch.float32)
        if scores.shape != (len(owners),):
            raise ValueError(f"{self.function!r} gave scores of shape {tuple(scores.shape)} for {len(owners)} texts")
        if scores.isnan().any():
            raise ValueError(f"{self.function!r} gave a score that is not a number")
        return scores


def refuse_no_texts(name: str, texts: Sequence[Any]) -> None:
    """Raise for what no tokenizer reads: TypeError for no text (or tuple of texts), ValueError for half a character.

    What a tuple holds beside texts, such as the weights of `Evidence`, is its scorer's own business.
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
    """What a tuple holds, tuples in it opened, numbers and None left out."""
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
        TypeError: neither.

    Example:
        >>> as_scorer(len)
        Function(function=<built-in function len>, partial=True, setwise=False)
    """
    if isinstance(scorer, Scorer):
        return scorer
    if isinstance(scorer, type) or not callable(scorer):
        raise TypeError(f"{scorer!r} is no scorer: give a scorers.Scorer or a function of (prefixes, continuations)")
    return Function(scorer)
