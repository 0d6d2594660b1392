"""Are synthetic texts like the real ones, and varied? The measures of STEER, O'Neill et al. 2023, sections 4 and 5.

All depend on size. Cut the sets to one size first: `match_characters` for what counts n-grams, equal numbers of texts
for what compares embeddings. `similarity.cross_similarity` and `mauve.mauve`, on embeddings of both, are the others.
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
    """Each set cut, in its order, to as many characters as the shortest one has in a row, spaces between counted.

    Put them in random order first, where the order means something.

    Example:
        >>> match_characters(["abc", "def"], ["xy", "z", "longer"], ["12345678"])
        [['abc', 'def'], ['xy', 'z', 'lo'], ['1234567']]
    """
    size = min(len(" ".join(texts)) for texts in sets)
    return [cut(texts, size) for texts in sets]


def cut(texts: Sequence[str], size: int) -> list[str]:
    """The texts whose row, spaces between, is the first `size` characters of the row of all."""
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
    """Unique n-grams / n-grams of all texts in a row, a space between; [0, 1]. STEER has n = 3 and its model's tokens.

    Args:
        texts: N texts, matched in size with what they are compared with.
        n: of tokens.
        tokenize: such as a tokenizer's `tokenize`, which is called on the row.
        prompts, blocks: see `uncertainty.jackknife`.

    Example:
        >>> normalised_n_grams(["a b c", "a b c"]).value
        0.75
    """
    check(texts, n)
    return in_a_row(texts, [n], tokenize, prompts, blocks)


def diversity_in_a_row(
    texts: Sequence[str], *, tokenize: Tokenize = str.split, prompts: Prompts = None, blocks: int = 20
) -> Jackknifed:
    """prod_{n=2..4} unique n-grams / n-grams of all texts in a row; [0, 1]. Not SimCTG's, which stays within texts.

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
    """The part of the texts that stand in `sources`, word for word, or before in `texts`; [0, 1].

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
    """The AUROC of boosted trees on embeddings, over 5 folds: real against made; 0.5 is ideal, 1 is told apart.

    STEER's classifier is `xgboost.XGBClassifier()`, which may be given; scikit-learn's boosted trees stand in for it.
    Row i of both sets is in one fold.

    Args:
        real, made: (N, D) embeddings, of one size.
        classifier: of scikit-learn's kind; None: HistGradientBoostingClassifier.
        seed: of the folds.

    Raises:
        ValueError: as `distances.classifier_auroc`.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> authenticity(rng.normal(0, 1, (100, 2)), rng.normal(3, 1, (100, 2))).value > 0.9
        True
    """
    machine = HistGradientBoostingClassifier(random_state=seed) if classifier is None else classifier
    return classifier_auroc(real, made, machine, seed=seed)
