"""How much of a text is copied, from its own prompt or from the training data of the model."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from .diversity import SHARE, Prompts, Tokenize, check, n_grams
from .uncertainty import Bootstrapped, bootstrap, ratio


def copied_from_prompt(
    prefixes: Sequence[str],
    continuations: Sequence[str],
    n: int = 4,
    *,
    tokenize: Tokenize = str.split,
    prompts: Prompts = None,
) -> Bootstrapped:
    """The share of the continuations' n-grams that also occur in their own prefix, summed over texts; in [0, 1].

    With n = 1 it is RankGen's token overlap (Krishna et al. 2022), except for its stop words, which `tokenize` may
    leave out.

    Args:
        prefixes: N texts.
        continuations: N texts.
        n: the length of the n-grams in words.
        tokenize: see `diversity`.
        prompts: see `diversity`.

    Raises:
        ValueError: the numbers of prefixes and continuations differ, there are none, or n is below 1.

    Example:
        >>> copied_from_prompt(["a b c", "x y"], ["a b d", "z z"], 2).value
        0.3333333333333333
    """
    check(continuations, n)
    if len(prefixes) != len(continuations):
        raise ValueError(f"{len(prefixes)} prefixes and {len(continuations)} continuations: give one to each")
    rows = []
    for prefix, text in zip(prefixes, continuations, strict=True):
        known, grams = set(n_grams(tokenize(prefix), n)), [*n_grams(tokenize(text), n)]
        rows.append((sum(gram in known for gram in grams), len(grams)))
    return bootstrap(rows, ratio, prompts=prompts, bounds=SHARE)


def copied_from(
    texts: Sequence[str],
    sources: Iterable[str] | Path,
    n: int = 8,
    *,
    tokenize: Tokenize = str.split,
    prompts: Prompts = None,
) -> Bootstrapped:
    """The share of the texts' n-grams that also occur in `sources`, summed over texts; in [0, 1].

    One minus this share is what McCoy et al. 2021 call novelty. The sources are read once, one after the other. Only
    n-grams of `texts` are held in memory.

    Args:
        texts: N texts.
        sources: texts, such as those of a training set, or a file of them, one a line.
        n: the length of the n-grams in words. N-grams shorter than 5 or so are found in any large file.
        tokenize: see `diversity`.
        prompts: see `diversity`.

    Raises:
        TypeError: `sources` is one text.
        ValueError: there are no texts, n is below 1, or there is no such file.

    Example:
        >>> copied_from(["a b c d", "x"], ["z a b c"], 2).value
        0.6666666666666666
    """
    check(texts, n)
    if isinstance(sources, str):
        raise TypeError(f"sources must be texts or a Path, not one text: write Path({sources[:20]!r}) or a list")
    if isinstance(sources, Path) and not sources.is_file():
        raise ValueError(f"no file {str(sources)!r} to look for copies in")
    grams = [[*n_grams(tokenize(text), n)] for text in texts]
    wanted = {gram for found in grams for gram in found}
    known = set()
    for source in lines(sources) if isinstance(sources, Path) else sources:
        known.update(wanted.intersection(n_grams(tokenize(source), n)))
    counts = [(sum(gram in known for gram in found), len(found)) for found in grams]
    return bootstrap(counts, ratio, prompts=prompts, bounds=SHARE)


def lines(file: Path) -> Iterable[str]:
    """The lines of a file, one at a time."""
    with file.open(encoding="utf-8") as stream:
        yield from stream
