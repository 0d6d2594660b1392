"""Prefixes and continuations of documents, and which is a negative for which. Krishna et al. 2022, section 2.2."""

import json
import random
import re
import zlib
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from .._common.files import is_json_lines, read_lines, read_text

# A sentence ends at a mark, closing quotes and white space, unless lower case follows. It ends with a line too.
BORDER = re.compile(
    r"(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bDr)(?<!\bSt)[.!?]+[\"'\u201d\u2019)\]_]*(\s+)(?![a-z\s])|(\s*\n\s*)"
)


@dataclass(frozen=True)
class Document:
    """A text and its name."""

    name: str
    text: str


@dataclass(frozen=True)
class Window:
    """A prefix and its continuation in a document.

    Args:
        document: the number of the document.
        start: where the prefix begins, in characters of the document's text.
        middle: where the continuation begins.
        end: where the continuation ends.
        prefix: the text of the prefix.
        continuation: the text of the continuation.
        generated: a language model's continuation of the prefix, if there is one.
    """

    document: int
    start: int
    middle: int
    end: int
    prefix: str
    continuation: str
    generated: str | None = None


@dataclass(frozen=True)
class Cut:
    """How documents are cut into windows. The parts of a window begin and end where sentences do.

    Args:
        number: the most windows of a document, at least 1.
        prefix_words: a prefix is the longest run of whole sentences with at most this many words; at least 1.
        shortest: the least words of a continuation, and of a prefix; at least 1.
        longest: the most words of a continuation, at least `shortest`.
        seed: the seed for the choice of places and lengths.

    Raises:
        ValueError: a number is out of range.

    Example:
        >>> text = "One two three. Four five six seven! " * 3
        >>> [window.continuation for window in Cut(1, 8, 3, 4).windows(0, text)]
        ['Four five six seven!']
    """

    number: int = 100
    prefix_words: int = 256
    shortest: int = 10
    longest: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if self.number < 1:
            raise ValueError(f"--windows must be at least 1, not {self.number}")
        if self.prefix_words < 1:
            raise ValueError(f"--prefix-words must be at least 1, not {self.prefix_words}")
        if not 1 <= self.shortest <= self.longest:
            raise ValueError(
                f"--continuation-words must be two numbers, at least 1 and in order, not {self.shortest} {self.longest}"
            )

    def windows(self, document: int, text: str) -> list[Window]:
        """At most `number` windows at random places, in random order.

        They depend on the text alone, not on its document.
        """
        spans = sentences(text)
        counts = [0]  # words before each sentence
        for start, end in spans:
            counts.append(counts[-1] + len(text[start:end].split()))
        draw = random.Random(f"{self.seed}/{zlib.crc32(text.encode())}")
        borders = list(range(1, len(spans)))
        draw.shuffle(borders)
        found: list[Window] = []
        for border in borders:
            if len(found) == self.number:
                break
            wish = draw.randint(self.shortest, self.longest)
            first = bisect_left(counts, counts[border] - self.prefix_words)
            low, high = (bisect_left(counts, counts[border] + words) for words in (self.shortest, self.longest + 1))
            # `low` is the first end that makes the continuation long enough, `high` the first that makes it too long
            if counts[border] - counts[first] < self.shortest or low >= high:
                continue
            last = min(range(low, high), key=lambda i: abs(counts[i] - counts[border] - wish))
            start, middle, end = spans[first][0], spans[border][0], spans[last - 1][1]
            prefix = text[start : spans[border - 1][1]]
            found.append(Window(document, start, middle, end, prefix, text[middle:end]))
        return found


def sentences(text: str) -> list[tuple[int, int]]:
    """(start, end) of every sentence, in characters, without the white space around it.

    Example:
        >>> text = 'She left. "Why?" said he.  Mr. Poe wept.'
        >>> [text[start:end] for start, end in sentences(text)]
        ['She left.', '"Why?" said he.', 'Mr. Poe wept.']
    """
    spans, start = [], len(text) - len(text.lstrip())
    for border in BORDER.finditer(text):
        gap = 1 if border[1] else 2
        if start < border.start(gap):
            spans.append((start, border.start(gap)))
        start = border.end(gap)
    if text[start:].strip():
        spans.append((start, len(text.rstrip())))
    return spans


def read_documents(paths: Sequence[Path], field: str = "text") -> list[Document]:
    """The different documents of the files.

    In .jsonl and .json each line is one, any other file is one; .gz is unpacked.

    Args:
        paths: the files.
        field: where the text stands in JSON lines.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file is not UTF-8 or not gzip, or a line has no text. The message says where.
    """
    found: dict[str, Document] = {}
    for path in paths:
        name = path.name.removesuffix(".gz")
        if is_json_lines(path):
            lines = read_lines(path)
            documents = [Document(f"{name}:{number}", text_of(line, field, place)) for number, place, line in lines]
        else:
            documents = [Document(name, read_text(path))]
        if not any(document.text.strip() for document in documents):
            raise ValueError(f"no text in {path}")
        for document in documents:
            found.setdefault(document.text, document)
    return list(found.values())


def text_of(line: str, field: str, place: str) -> str:
    """The `field` of the JSON object on a line. Raises ValueError with the place if it is not a text."""
    try:
        entry = json.loads(line)
        text = entry[field]
        text.encode()
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
        raise ValueError(f'{place}: needs a JSON object with a "{field}" that is a text') from None
    return text


def split(documents: Sequence[Document], fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """(train, held out): the numbers of the documents. `fraction` of them are held out, at least one and not all.

    Raises:
        ValueError: there are fewer than two documents.
    """
    if len(documents) < 2:
        raise ValueError("one document is not enough: there must be one to train on and another to measure on")
    order = list(range(len(documents)))
    random.Random(seed).shuffle(order)
    size = min(max(1, round(fraction * len(documents))), len(documents) - 1)
    return sorted(order[size:]), sorted(order[:size])


def with_generated(window: Window, generated: str) -> Window:
    """The window with a language model's continuation of its prefix.

    Both continuations are cut to the words of the shorter one. A generated text ends where the model was stopped. If it
    were compared with whole sentences of another length, its length and its end would give it away.

    Example:
        >>> window = with_generated(Window(0, 0, 2, 9, "a", "b c. D e."), " x y z")
        >>> window.continuation, window.generated, window.end
        ('b c. D', 'x y z', 8)
    """
    true = window.continuation
    length = min(len(true.split()), len(generated.split()))
    true, generated = first_words(true, length), first_words(generated, length)
    return replace(window, continuation=true, generated=generated, end=window.middle + len(true))


def first_words(text: str, number: int) -> str:
    """The text up to the end of its `number`-th word."""
    ends = [word.end() for word in re.finditer(r"\S+", text)]
    return text[: ends[number - 1]].lstrip() if number else ""


def overlaps(windows: Sequence[Window]) -> Tensor:
    """(B, B) bool: whether the continuations of windows i and j share text. Each one does with itself.

    Such a j is not a negative for i, since it is in part the right answer.
    """
    owners, begins, ends = torch.tensor([(window.document, window.middle, window.end) for window in windows]).T
    same = owners[:, None] == owners
    return same & (begins[:, None] < ends) & (begins < ends[:, None])


def make_batches(windows: Sequence[Window], size: int, epochs: int, seed: int) -> list[list[int]]:
    """The numbers of the windows of each batch, epoch after epoch.

    The windows of a batch, and so its negatives, are of one document. The windows of a document are divided evenly into
    as few batches as possible. Documents with under half a batch share a batch, since alone they would give few
    negatives or none.

    Args:
        windows: all windows to train on.
        size: the most windows of a batch, at least 2.
        epochs: how often each window occurs, at least 1.
        seed: the seed of the shuffles.
    """
    draw, planned = random.Random(seed), []
    owned: dict[int, list[int]] = {}
    for number, window in enumerate(windows):
        owned.setdefault(window.document, []).append(number)
    for _ in range(epochs):
        batches, small = [], []
        for numbers in owned.values():
            order = draw.sample(numbers, len(numbers))
            if 2 * len(order) < size:
                small.append(order)
                continue
            pieces = -(-len(order) // size)
            batches += [order[i::pieces] for i in range(pieces)]
        draw.shuffle(small)
        shared: list[int] = []
        for order in small:
            if len(shared) + len(order) > size:
                batches.append(shared)
                shared = []
            shared = shared + order
        batches += [shared] if shared else []
        draw.shuffle(batches)
        planned += [batch for batch in batches if len(batch) > 1 or windows[batch[0]].generated]
    return planned


@dataclass(frozen=True)
class Distractors:
    """The texts that the continuation of each held-out window is compared with, at most as many as were asked for.

    Args:
        document: for each window, numbers of windows of the same document whose continuations share no text with it.
        random: for each window, numbers of windows of other documents.
    """

    document: list[list[int]]
    random: list[list[int]]


def draw_distractors(windows: Sequence[Window], number: int = 10, seed: int = 0) -> Distractors:
    """Draw `number` of both kinds for every window, or as many as there are."""
    draw = random.Random(seed)
    own, other = [], []
    for window in windows:
        apart = [
            i
            for i, rival in enumerate(windows)
            if rival.document == window.document and (rival.end <= window.start or rival.middle >= window.end)
        ]
        strange = [i for i, rival in enumerate(windows) if rival.document != window.document]
        own.append(draw.sample(apart, min(number, len(apart))))
        other.append(draw.sample(strange, min(number, len(strange))))
    return Distractors(own, other)
