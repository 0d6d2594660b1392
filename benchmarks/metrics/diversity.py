"""Variety of texts: repetition within each (rep-n, diversity) and over all of them (distinct-n, Zipf), and lengths.

Every function takes N texts and these two arguments:

- `tokenize` divides a text into words. The default is by white space. For scripts without white space pass `words` (of
  the module `words`), `list` (characters) or the `tokenize` of a tokenizer.
- `prompts` says what each text continues. Give it if several texts continue the same prompt.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .uncertainty import Bootstrapped, Jackknifed, bootstrap, jackknife, ratio

Tokenize = Callable[[str], Sequence[Hashable]]
Prompts = Sequence[Hashable] | None
ORDERS = (2, 3, 4)
SHARE = (0.0, 1.0)  # the bounds of a share


def rep(texts: Sequence[str], n: int, *, tokenize: Tokenize = str.split, prompts: Prompts = None) -> Bootstrapped:
    """rep-n = 1 - unique n-grams / n-grams within each text, summed over texts; in [0, 1].

    Su et al. 2022 (SimCTG), 4.2.

    Raises:
        ValueError: n is below 1, or there are no texts.

    Example:
        >>> rep(["a b a b", "a b c"], 2).value  # one of 5 pairs of words is a repetition
        0.19999999999999996
    """
    check(texts, n)
    return bootstrap(unique_and_total(texts, [n], tokenize), repeated, prompts=prompts, bounds=SHARE)


def diversity(texts: Sequence[str], *, tokenize: Tokenize = str.split, prompts: Prompts = None) -> Bootstrapped:
    """prod_{n=2..4} (1 - rep-n), by `rep`; in [0, 1], where 1 is no repetition. Su et al. 2022 (SimCTG), 4.2.

    Example:
        >>> diversity(["a b c d e", "a b a b a"]).value
        0.625
    """
    check(texts, 1)
    return bootstrap(unique_and_total(texts, ORDERS, tokenize), product, prompts=prompts, bounds=SHARE)


def diversity_simctg(texts: Sequence[str], *, tokenize: Tokenize = str.split, prompts: Prompts = None) -> Bootstrapped:
    """`diversity` in per cent, as SimCTG's released code counts it, and so as most papers print it.

    The last n-gram of each text is left out, and each rep-n is rounded to two decimals of a per cent.

    Example:
        >>> diversity_simctg(["a b c d e", "a b a b a b"]).value  # 71.43 % of 80 % of 100 %
        57.14399999999999
    """
    check(texts, 1)
    counts = unique_and_total(texts, ORDERS, tokenize, leave=1)
    found = bootstrap(counts, product_in_per_cent, prompts=prompts, bounds=(0.0, 100.0))
    # the interval is that of the unrounded number
    return replace(found, value=float(rounded_product(found.counts.sum(0))))


def diversity_per_text(
    texts: Sequence[str], *, tokenize: Tokenize = str.split, prompts: Prompts = None
) -> Bootstrapped:
    """The mean over texts of prod_{n=2..4} unique / all n-grams, in [0, 1].

    Short texts weigh as much as long ones here, unlike in `diversity`. A text under four words has no value and is left
    out.

    Example:
        >>> diversity_per_text(["a b c d e", "a b a b a", "too short"]).value
        0.6666666666666666
    """
    check(texts, 1)
    return bootstrap(product(unique_and_total(texts, ORDERS, tokenize)), prompts=prompts, bounds=SHARE)


def distinct(
    texts: Sequence[str],
    n: int,
    *,
    tokens: int | None = None,
    tokenize: Tokenize = str.split,
    prompts: Prompts = None,
    blocks: int = 20,
) -> Jackknifed:
    """distinct-n: unique n-grams of the corpus / all of them, in [0, 1]. Li et al. 2016.

    It falls as the corpus grows, so compare only equal sizes. `tokens` measures the first words of a corpus.

    Args:
        texts: N texts. N-grams do not reach from one text into the next.
        n: the length of the n-grams in words.
        tokens: use the texts up to this many words in all, and cut the last one. None: all words.
        tokenize: see the module.
        prompts: see the module.
        blocks: the number of blocks of the jackknife.

    Raises:
        ValueError: n or tokens is below 1, there are no texts, or they have fewer words than `tokens`.

    Example:
        >>> distinct(["a b c", "a b d"], 2).value
        0.75
    """
    check(texts, n)
    words = [tokenize(text) for text in texts]
    limit = sum(map(len, words)) if tokens is None else tokens
    if tokens is not None and (tokens < 1 or sum(map(len, words)) < tokens):
        raise ValueError(f"tokens must be between 1 and the {sum(map(len, words))} that there are, not {tokens}")
    return jackknife(
        lambda rows: distinct_of(words, rows, n, limit), len(texts), prompts=prompts, blocks=blocks, bounds=(0.0, 1.0)
    )


def distinct_of(words: Sequence[Sequence[Hashable]], rows: NDArray, n: int, limit: int) -> float:
    """distinct-n of the texts `rows`, up to `limit` words in all. It is NaN without n-grams."""
    found, total, left = set(), 0, limit
    for row in rows:
        grams = [*n_grams(words[row][:left], n)]
        found.update(grams)
        total, left = total + len(grams), left - len(words[row][:left])
    return len(found) / total if total else float("nan")


def zipf(
    texts: Sequence[str], *, tokenize: Tokenize = str.split, prompts: Prompts = None, blocks: int = 20
) -> Jackknifed:
    """The Zipf coefficient: minus the slope of log frequency over log rank. It is about 1 for human text. Zipf 1949.

    It is computed as in the code of Pillutla et al. 2021 (MAUVE), by least squares over ranks up to 5,000. The last
    rank is left out. Ranks are thinned to one in each 1/15 of a natural log, so that the tail does not dominate the
    fit. The coefficient depends on the size of the corpus.

    Raises:
        ValueError: there are no texts, or fewer than four different words.

    Example:
        >>> round(zipf(["a a a a a a b b b c c d"]).value, 2)
        1.03
    """
    check(texts, 1)
    counts = [Counter(tokenize(text)) for text in texts]
    if len(set().union(*counts)) < 4:
        raise ValueError("a Zipf coefficient needs at least four different words")
    return jackknife(lambda rows: zipf_of(counts, rows), len(texts), prompts=prompts, blocks=blocks)


def zipf_of(counts: Sequence[Counter], rows: NDArray) -> float:
    """The Zipf coefficient of the texts `rows`."""
    together: Counter = Counter()
    for row in rows:
        together.update(counts[row])
    frequencies = np.sort(np.fromiter(together.values(), float))[::-1]
    ranks = np.log(np.arange(1, min(len(together), 5000)))
    x, kept = np.unique(np.round(15 * ranks) / 15, return_index=True)
    return -float(np.polyfit(x, np.log(frequencies[kept]), 1)[0]) if len(x) > 1 else float("nan")


def gen_length(texts: Sequence[str], *, tokenize: Tokenize = str.split, prompts: Prompts = None) -> Bootstrapped:
    """The mean number of words of a text, as papers print it: Su & Collier 2023.

    Example:
        >>> gen_length(["a b c", " d "]).value
        2.0
    """
    check(texts, 1)
    return bootstrap([len(tokenize(text)) for text in texts], prompts=prompts, bounds=(0.0, np.inf))


def share_empty(texts: Sequence[str], *, prompts: Prompts = None) -> Bootstrapped:
    """The share of the texts that are only white space. Most metrics leave those out, so report it beside them.

    Example:
        >>> share_empty(["a", " "]).value
        0.5
    """
    check(texts, 1)
    return bootstrap([float(not text.strip()) for text in texts], prompts=prompts, bounds=SHARE)


def unique_and_total(texts: Sequence[str], orders: Sequence[int], tokenize: Tokenize, leave: int = 0) -> NDArray:
    """(N, 2 len(orders)): the numbers of unique n-grams and of all n-grams of each text, for each order.

    `leave` is the number of n-grams at the end of a text that do not count.
    """
    rows = []
    for text in texts:
        words = tokenize(text)
        grams = [[*n_grams(words, n)] for n in orders]
        grams = [found[: len(found) - leave] for found in grams]
        rows.append([count for found in grams for count in (len(set(found)), len(found))])
    return np.array(rows, dtype=float)


def n_grams(words: Sequence[Hashable], n: int) -> Iterator[tuple[Hashable, ...]]:
    """The runs of n words."""
    return zip(*(words[i:] for i in range(n)), strict=False)


def repeated(sums: NDArray) -> NDArray:
    """(..., 2) unique and total -> 1 - unique / total."""
    return 1 - ratio(sums)


def product(sums: NDArray) -> NDArray:
    """(..., 2 K) unique and total of K orders -> the product of unique / total; NaN where an order has none."""
    return ratio(sums.reshape(*sums.shape[:-1], -1, 2)).prod(-1)


def product_in_per_cent(sums: NDArray) -> NDArray:
    """`product` in per cent, from 0 to 100."""
    return 100 * product(sums)


def rounded_product(sums: NDArray) -> NDArray:
    """`product` in per cent, where each 100 (1 - unique / total) is first rounded to two decimals."""
    percent = np.round(100 * (1 - ratio(sums.reshape(*sums.shape[:-1], -1, 2))), 2)
    return 100 * (1 - percent / 100).prod(-1)


def check(texts: Sequence[str], n: int) -> None:
    """Raise an error for texts that cannot be counted, or n below 1."""
    if isinstance(texts, str):
        raise TypeError(f"a metric takes a list of texts: write [{texts[:20]!r}]")
    if not len(texts):
        raise ValueError("there are no texts")
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}")
