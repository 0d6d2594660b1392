"""The measures of STEER (O'Neill et al. 2023, sections 4 and 5): are synthetic texts like the real ones, and varied?

All of them depend on the size of a set, so cut the sets to one size first. Use `match_characters` for measures that
count n-grams, and equal numbers of texts for measures that compare embeddings. STEER's other two measures are
`similarity.cross_similarity` and `mauve.mauve`, on embeddings of both sets.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from .distances import classifier_auroc
from .diversity import ORDERS, Prompts, Tokenize, check, n_grams
from .uncertainty import Estimate, Jackknifed, jackknife


def match_characters(*sets: Sequence[str]) -> list[list[str]]:
    """Cut each set to as many characters as the smallest set has.

    A set's texts are taken in order, joined by spaces, which count. If the order means something, shuffle the texts
    first.

    Example:
        >>> match_characters(["abc", "def"], ["xy", "z", "longer"], ["12345678"])
        [['abc', 'def'], ['xy', 'z', 'lo'], ['1234567']]
    """
    size = min(len(" ".join(texts)) for texts in sets)
    return [cut(texts, size) for texts in sets]


def cut(texts: Sequence[str], size: int) -> list[str]:
    """The texts that make up the first `size` characters of all texts joined by spaces."""
    found, left = [], size
    for text in texts:
        if left < 0:
            break
        found.append(text[:left])
        left -= len(text) + 1
    return found


def normalised_n_grams(
    texts: Sequence[str], n: int = 3, *, tokenize: Tokenize = str.split, prompts: Prompts = None, blocks: int = 20
) -> Jackknifed:
    """Unique n-grams / all n-grams of the texts joined by spaces, in [0, 1].

    STEER has n = 3 and the tokens of its model.

    Args:
        texts: N texts. Match their size with that of the set that they are compared with.
        n: the length of the n-grams in tokens.
        tokenize: it is called on the joined texts. A tokenizer's `tokenize` will do.
        prompts: see `uncertainty.jackknife`.
        blocks: see `uncertainty.jackknife`.

    Example:
        >>> normalised_n_grams(["a b c", "a b c"]).value
        0.75
    """
    check(texts, n)
    return in_a_row(texts, [n], tokenize, prompts, blocks)


def diversity_in_a_row(
    texts: Sequence[str], *, tokenize: Tokenize = str.split, prompts: Prompts = None, blocks: int = 20
) -> Jackknifed:
    """prod_{n=2..4} unique n-grams / all n-grams of the texts joined by spaces, in [0, 1].

    SimCTG's diversity is another one: its n-grams stay within texts.

    Example:
        >>> diversity_in_a_row(["a b", "a b a"]).value
        0.3333333333333333
    """
    check(texts, 1)
    return in_a_row(texts, ORDERS, tokenize, prompts, blocks)


def in_a_row(
    texts: Sequence[str], orders: Sequence[int], tokenize: Tokenize, prompts: Prompts, blocks: int
) -> Jackknifed:
    """The product over orders of unique / all n-grams of the texts joined by spaces."""

    def share(rows: NDArray) -> float:
        tokens = tokenize(" ".join(texts[row] for row in rows))
        grams = [[*n_grams(tokens, n)] for n in orders]
        return float(np.prod([len(set(found)) / len(found) if found else np.nan for found in grams]))

    return jackknife(share, len(texts), prompts=prompts, blocks=blocks, bounds=(0.0, 1.0))


def duplicates(
    texts: Sequence[str], sources: Sequence[str] = (), *, prompts: Prompts = None, blocks: int = 20
) -> Jackknifed:
    """The share of the texts that occur, word for word, in `sources` or earlier in `texts`; in [0, 1].

    Example:
        >>> duplicates(["a", "b", "a", "c"], ["c"]).value
        0.5
    """
    check(texts, 1)
    known = set(sources)

    def share(rows: NDArray) -> float:
        new = {texts[row] for row in rows} - known
        return 1 - len(new) / len(rows)

    return jackknife(share, len(texts), prompts=prompts, blocks=blocks, bounds=(0.0, 1.0))


def authenticity(real: ArrayLike, made: ArrayLike, classifier: Any = None, *, seed: int = 42) -> Estimate:
    """How well boosted trees tell real from made embeddings: the mean AUROC over 5 folds.

    At 0.5, which is ideal, they cannot tell them apart. At 1 they always can. STEER's classifier is
    `xgboost.XGBClassifier()`, which you may pass. By default scikit-learn's boosted trees stand in for it. Row i of
    both sets is in the same fold.

    Args:
        real: (N, D) embeddings.
        made: (N, D) embeddings.
        classifier: a classifier of scikit-learn's kind. None: HistGradientBoostingClassifier.
        seed: the seed of the folds.

    Raises:
        ValueError: see `distances.classifier_auroc`.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> authenticity(rng.normal(0, 1, (100, 2)), rng.normal(3, 1, (100, 2))).value > 0.9
        True
    """
    machine = HistGradientBoostingClassifier(random_state=seed) if classifier is None else classifier
    return classifier_auroc(real, made, machine, seed=seed)
