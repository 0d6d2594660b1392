"""Protocols of the literature for MAUVE, by name: which texts are compared.

Numbers of different protocols do not compare.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple


class Pairs(NamedTuple):
    """What a protocol makes of prompts.

    - `humans` are the human texts.
    - `models` are the model's texts, as many as `humans`.
    - `kept` are the numbers of the prompts that they come from.
    """

    humans: list[str]
    models: list[str]
    kept: list[int]


@dataclass(frozen=True)
class Protocol:
    """How texts are prepared, and the settings that belong to the numbers that come of them.

    Args:
        name: its name in signatures.
        features: the published feature model. Another one gives other numbers, so the signature names the one that was
            used.
        max_length: how many tokens the feature model reads.
        join: None: the continuations alone. A text: prefix + join + continuation.
        length: "free": the texts as they are. "pair": the two texts of a prompt are cut to the number of tokens of the
            shorter one. "common": both are cut to `tokens`. "exact": both are cut to `tokens`, and a prompt is kept
            only if both texts reach that length.
        tokens: see `length`.
        scaling: MAUVE's c.
        drops_empty: whether both texts of a prompt are left out if one of them is only white space after the cut.
        note: what else to know.

    Raises:
        ValueError: there is no such `length`, `tokens` is given and the length needs none, or it is missing.
    """

    name: str
    features: str
    max_length: int
    join: str | None = None
    length: str = "free"
    tokens: int | None = None
    scaling: float = 5.0
    drops_empty: bool = True
    note: str = ""

    def __post_init__(self) -> None:
        if self.length not in ("free", "pair", "common", "exact"):
            raise ValueError(f"length must be free, pair, common or exact, not {self.length!r}")
        if (self.tokens is not None) != (self.length in ("common", "exact")) or (self.tokens or 1) < 1:
            raise ValueError(
                f"tokens, at least 1, go with length common and exact, not {self.tokens} with {self.length}"
            )

    def prepare(
        self, tokenizer: Any, prefixes: Sequence[str], references: Sequence[str], continuations: Sequence[str]
    ) -> Pairs:
        """The texts to take features of, cut in tokens of the feature model's tokenizer and decoded again.

        Raises:
            ValueError: the lists have different lengths, or no prompt is left.

        Example:
            >>> import decoding
            >>> _, tokenizer = decoding.load()
            >>> SU2023.prepare(tokenizer, ["Once", "Now"], [" there was a king", " what"], [" upon a time", ""])
            Pairs(humans=[' there was a'], models=[' upon a time'], kept=[0])
        """
        if not len(prefixes) == len(references) == len(continuations):
            sizes = f"{len(prefixes)}, {len(references)} and {len(continuations)}"
            raise ValueError(f"prefixes, references and continuations must be as many, not {sizes}")
        found = Pairs([], [], [])
        for i, texts in enumerate(zip(references, continuations, strict=True)):
            pair = self.cut(tokenizer, texts)
            if pair is None or (self.drops_empty and not all(text.strip() for text in pair)):
                continue
            human, model = pair if self.join is None else (prefixes[i] + self.join + text for text in pair)
            found.humans.append(human)
            found.models.append(model)
            found.kept.append(i)
        if not found.kept:
            raise ValueError(f"the protocol {self.name} leaves none of {len(prefixes)} prompts")
        return found

    def cut(self, tokenizer: Any, texts: tuple[str, str]) -> tuple[str, str] | None:
        """The two texts of a prompt, cut as `length` says; None if they are too short."""
        if self.length == "free":
            return texts
        first, second = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts)
        shorter = min(len(first), len(second))
        if self.length == "exact" and shorter < (self.tokens or 0):
            return None
        limit = shorter if self.length == "pair" else self.tokens
        first, second = (tokenizer.decode(row[:limit], clean_up_tokenization_spaces=False) for row in (first, second))
        return first, second


SU2023 = Protocol(
    "su2023", "gpt2-large", 200, length="pair", note="Contrastive Search Is What You Need, its released code"
)
SU2022 = Protocol("su2022", "gpt2", 256, length="common", tokens=128, note="SimCTG, as its authors answer in issue 7")
RANKGEN = Protocol("rankgen", "gpt2-large", 768, join=" ", drops_empty=False, note="its scoring script cuts nothing")
PILLUTLA2021 = Protocol(
    "pillutla2021",
    "gpt2-large",
    1024,
    join="",
    drops_empty=False,
    note="5,000 texts; the paper's own code integrates one side of the curve, at other points, without smoothing",
)
LI2022 = Protocol(
    "li2022",
    "gpt2",
    128,
    length="exact",
    tokens=128,
    note="Contrastive Decoding, and others after it: what ends early is dropped, which favours what does not",
)
LAN2023 = Protocol("lan2023", "gpt2-large", 1024, scaling=1.0, note="Copy Is All You Need: c = 1")
