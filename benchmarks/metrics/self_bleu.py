"""Self-BLEU (Zhu et al. 2018, Texygen): how much each text is like the others, exactly, in time linear in all words.

BLEU clips a text's counts of n-grams by the largest count in any other text. For this, three numbers of each n-gram
suffice: its largest count, the text that has it, and the largest count elsewhere. So all other texts are references of
each text, and no pair is looked at.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .diversity import Prompts, Tokenize, check, n_grams
from .uncertainty import Jackknifed, jackknife

SMOOTHINGS = ("epsilon", "exp", "none")


def self_bleu(
    texts: Sequence[str],
    n: int = 4,
    *,
    smoothing: str = "epsilon",
    tokenize: Tokenize = str.split,
    prompts: Prompts = None,
    blocks: int = 20,
) -> Jackknifed:
    """The mean over texts of the BLEU-n of each, with all the others as references; in [0, 1]. Lower is more varied.

    It grows with the number of texts, so compare only sets of equal size. It sees what rep-n cannot: the same phrase in
    answer to different prompts. The function has six parameters beside the texts because BLEU has that many.

    Args:
        texts: N texts, at least 2.
        n: the length of the longest n-grams.
        smoothing: what is done for an order without matches. "epsilon": it counts as 0.1 matches; this is nltk's
            `method1`, as in Texygen and MAUVE's code. "exp": sacreBLEU's sentence BLEU with effective order. "none":
            BLEU is 0.
        tokenize: see `diversity`.
        prompts: see `diversity`.
        blocks: the number of blocks of the jackknife, each of which takes milliseconds.

    Raises:
        ValueError: there are fewer than 2 texts, n is below 1, or there is no such smoothing.

    Example:
        >>> round(self_bleu(["a b c d e", "a b c d f", "g h i j k"]).value, 3)
        0.446
    """
    check(texts, n)
    if smoothing not in SMOOTHINGS:
        raise ValueError(f"smoothing must be one of {', '.join(SMOOTHINGS)}, not {smoothing!r}")
    if len(texts) < 2:
        raise ValueError("self-BLEU compares texts with each other: give at least 2")
    words = [tokenize(text) for text in texts]
    counted, lengths = [Grams.of(words, order) for order in range(1, n + 1)], np.array([*map(len, words)])
    return jackknife(
        lambda rows: float(bleus(counted, lengths, rows, smoothing).mean()),
        len(texts),
        prompts=prompts,
        blocks=blocks,
        bounds=(0.0, 1.0),
    )


@dataclass(frozen=True)
class Grams:
    """How often each n-gram occurs in each text. Rows are sorted by n-gram, and within one from the largest count down.

    Args:
        gram: (M,) int64, the number of the n-gram.
        text: (M,) int64, the number of the text.
        count: (M,) int64, how often the n-gram occurs in the text.
    """

    gram: NDArray
    text: NDArray
    count: NDArray

    @classmethod
    def of(cls, words: Sequence[Sequence[Hashable]], n: int) -> "Grams":
        """Count the n-grams of the texts."""
        places: dict[tuple, int] = {}
        found = [
            (places.setdefault(gram, len(places)), text, count)
            for text, tokens in enumerate(words)
            for gram, count in Counter(n_grams(tokens, n)).items()
        ]
        gram, text, count = np.array(found, dtype=np.int64).reshape(-1, 3).T
        order = np.lexsort((text, -count, gram))
        return cls(gram[order], text[order], count[order])

    def matches(self, kept: NDArray) -> NDArray:
        """(N,) clipped matches of each kept text: an n-gram counts at most as often as in one other kept text."""
        rows = np.flatnonzero(kept[self.text])
        gram, text, count = self.gram[rows], self.text[rows], self.count[rows]
        if not len(rows):
            return np.zeros(len(kept))
        owner = np.r_[True, gram[1:] != gram[:-1]]  # rows of the text that has the n-gram most often
        runner_up = np.r_[np.where(owner[1:], 0, count[1:]), 0]
        largest = count[np.maximum.accumulate(np.where(owner, np.arange(len(rows)), 0))]
        return np.bincount(text, np.minimum(count, np.where(owner, runner_up, largest)), minlength=len(kept))


def bleus(counted: Sequence[Grams], lengths: NDArray, rows: NDArray, smoothing: str) -> NDArray:
    """(k,) the BLEU of each text of `rows` against the others of `rows`."""
    kept = np.zeros(len(lengths), dtype=bool)
    kept[rows] = True
    length = lengths[rows]
    matches = np.stack([grams.matches(kept)[rows] for grams in counted])  # (n, k)
    totals = np.maximum(length - np.arange(len(counted))[:, None], 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        brevity = np.exp(np.minimum(0, 1 - closest(length) / length))
        if smoothing == "epsilon":
            precision = np.where(matches > 0, matches, 0.1) / np.maximum(totals, 1)
            score = brevity * np.exp(np.log(precision).mean(0))
        elif smoothing == "exp":
            missed = 2.0 ** ((matches == 0) & (totals > 0)).cumsum(0)
            logs = np.log(np.where(matches > 0, matches, 1 / missed) / totals)
            score = brevity * np.exp(np.where(totals > 0, logs, 0).sum(0) / (totals > 0).sum(0))
        else:
            score = brevity * np.exp(np.log(matches / totals).mean(0))
    lost = (matches[0] == 0) | (length == 0)  # no word in common with another text
    return np.where(lost | np.isnan(score), 0, score)


def closest(lengths: NDArray) -> NDArray:
    """(k,) for each of k lengths the closest of the others. If two are as close, it is the shorter."""
    values, counts = np.unique(lengths, return_counts=True)
    place = np.searchsorted(values, lengths)
    below = np.where(place > 0, values[np.maximum(place - 1, 0)], -np.inf)
    above = np.where(place + 1 < len(values), values[np.minimum(place + 1, len(values) - 1)], np.inf)
    other = np.where(lengths - below <= above - lengths, below, above)
    return np.where(counts[place] > 1, lengths, other)
