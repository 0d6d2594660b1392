"""A scorer by the words that a continuation shares with its prefix. It needs no model and no training."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ._common.files import write_whole
from .encoding import distinct
from .scorer import Scorer

WORD = re.compile(r"\w+(?:'\w+)*")
ENGLISH = """
a an the this that these those some any no every each either neither all both few many much more most other another
such same own i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his himself she
her hers herself it its itself they them their theirs themselves one who whom whose which what and or but nor so if
then than because as until while although though whether of at by for with about against between into through during
before after above below to from up down in out on off over under upon again further once here there when where why how
not only too very just also even still now ever never am is are was were be been being have has had having do does did
doing can could will would shall should may might must isn't aren't wasn't weren't haven't hasn't hadn't don't doesn't
didn't can't couldn't won't wouldn't shouldn't i'm i've i'll i'd you're you've you'll he's she's it's we're we've
they're they've that's there's
"""
STOP_WORDS = frozenset(ENGLISH.split())


@dataclass(frozen=True)
class Overlap(Scorer):
    """The share of a continuation's words that also occur in its prefix: unigram precision, in [0, 1].

    s(x, c) = Σ_w min(n_w(c), n_w(x)) i_w / Σ_w n_w(c) i_w, where n_w counts the word w and i_w is its weight.

    Words are runs of letters and digits in lower case, without stop words. Without `fit`, i_w is 1: this is the overlap
    that RankGen's authors report, with another list of stop words. After `fit`, i_w is the inverse document frequency 1
    + log((1 + D) / (1 + D_w)), where D_w of D texts have the word. If the continuation or the prefix has no such words,
    the score is 0.

    Args:
        documents: D.
        frequencies: D_w of each word, as `fit` counts them.
        stop_words: the words that are left out, in upper or lower case. The default is a list of English ones.

    Example:
        >>> scorer = Overlap()
        >>> scorer(["A dog saw a cat."] * 2, ["The cat and the dog ran home.", "Rain fell."])
        tensor([0.5000, 0.0000])
        >>> fitted = Overlap.fit(["the cat sat", "the dog ran", "a cat"])
        >>> fitted(["A dog saw a cat."], ["The cat and the dog ran home."])
        tensor([0.4222])
    """

    documents: int = 0
    frequencies: Mapping[str, int] = field(default_factory=dict, repr=False)
    stop_words: frozenset[str] = field(default=STOP_WORDS, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "stop_words", frozenset(map(fold, self.stop_words)))

    @classmethod
    def fit(cls, texts: Iterable[str], stop_words: Iterable[str] = STOP_WORDS) -> "Overlap":
        """Count the weights of words in D texts, such as the prefixes and continuations of a training set.

        Raises:
            TypeError: the argument is one text instead of several.
            ValueError: there are no texts.
        """
        if isinstance(texts, str):
            raise TypeError(f"fit takes many texts: write [{texts[:20]!r}]")
        found: Counter[str] = Counter()
        number = 0
        for text in texts:
            number += 1
            found.update(set(WORD.findall(fold(text))))
        if not number:
            raise ValueError("there are no texts to count words in: give at least one")
        return cls(number, dict(found), frozenset(stop_words))

    @classmethod
    def load(cls, file: str | Path) -> "Overlap":
        """Load a scorer that `save` has written.

        Raises:
            OSError: the file cannot be read.
            ValueError: the file holds something else.
        """
        try:
            found = json.loads(Path(file).read_text(encoding="utf-8"))
            return cls(int(found["documents"]), dict(found["frequencies"]), frozenset(found["stop_words"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file} holds no word frequencies: write them by Overlap.save") from error

    def save(self, file: str | Path) -> None:
        """Write the frequencies and stop words as JSON. The file is written whole or not at all."""
        file = Path(file)
        content = {"documents": self.documents, "stop_words": sorted(self.stop_words)}
        write_whole(file, json.dumps(content | {"frequencies": dict(self.frequencies)}))

    def words(self, text: str) -> Counter[str]:
        """The number of occurrences of each word in a text, without stop words."""
        return Counter(word for word in WORD.findall(fold(text)) if word not in self.stop_words)

    def weight(self, word: str) -> float:
        """The weight i_w of a word."""
        if not self.documents:
            return 1.0
        return 1 + math.log((1 + self.documents) / (1 + self.frequencies.get(word, 0)))

    def read(self, prefixes: Sequence[str]) -> Any:
        """The words of each prefix, counted."""
        return [self.words(prefix) for prefix in prefixes]

    def score(self, state: Any, owners: Sequence[int], continuations: Sequence[str]) -> Tensor:
        """(N,) in [0, 1]: the overlap of each continuation."""
        texts, places = distinct(continuations)
        words = [self.words(text) for text in texts]
        weights = [{word: n * self.weight(word) for word, n in counts.items()} for counts in words]
        scores = []
        for owner, place in zip(owners, places, strict=True):
            total = sum(weights[place].values())
            shared = (words[place] & state[owner]).items()
            scores.append(sum(n * self.weight(word) for word, n in shared) / total if total else 0.0)
        return torch.tensor(scores, dtype=torch.float32)


def fold(text: str) -> str:
    """The text in lower case, with one kind of apostrophe."""
    return text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
