"""What texts are before MAUVE reads them, by protocol."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.metrics.features import Featurizer
from benchmarks.metrics.mauve import mauve, mauve_of_texts
from benchmarks.metrics.protocols import LAN2023, LI2022, PILLUTLA2021, RANKGEN, SU2022, SU2023, Protocol
from tests.support import tiny

SMALL = pytest.mark.filterwarnings("ignore:MAUVE of")


PREFIXES, HUMANS, MODELS = ["P ", "Q", "R"], ["abcdef", "ab", "abc"], ["xyz", "uvwx", " "]


@pytest.mark.parametrize(
    ("protocol", "humans", "models", "kept"),
    [
        (SU2023, ["abc", "ab"], ["xyz", "uv"], [0, 1]),
        (replace(SU2022, tokens=3), ["abc", "ab"], ["xyz", "uvw"], [0, 1]),
        (RANKGEN, ["P  abcdef", "Q ab", "R abc"], ["P  xyz", "Q uvwx", "R  "], [0, 1, 2]),
        (PILLUTLA2021, ["P abcdef", "Qab", "Rabc"], ["P xyz", "Quvwx", "R "], [0, 1, 2]),
        (replace(LI2022, tokens=3), ["abc"], ["xyz"], [0]),
        (replace(LI2022, tokens=2), ["ab", "ab"], ["xy", "uv"], [0, 1]),
        (LAN2023, ["abcdef", "ab"], ["xyz", "uvwx"], [0, 1]),
    ],
    ids=lambda value: value.name if isinstance(value, Protocol) else "",
)
def test_protocols_by_hand(protocol, humans, models, kept):
    assert protocol.prepare(tiny.tokenizer(), PREFIXES, HUMANS, MODELS) == (humans, models, kept)


def test_protocols_are_named_apart():
    protocols = [SU2023, SU2022, RANKGEN, PILLUTLA2021, LI2022, LAN2023]
    assert len({protocol.name for protocol in protocols}) == len(set(protocols)) == 6


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Protocol("x", "gpt2", 9, length="long"), "length must be"),
        (lambda: Protocol("x", "gpt2", 9, length="exact"), "tokens, at least 1, go with"),
        (lambda: Protocol("x", "gpt2", 9, tokens=4), "tokens, at least 1, go with"),
        (lambda: SU2023.prepare(tiny.tokenizer(), ["a"], ["b"], []), "must be as many, not 1, 1 and 0"),
        (lambda: SU2023.prepare(tiny.tokenizer(), ["a"], ["b"], [""]), "leaves none of 1 prompts"),
    ],
)
def test_protocols_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@SMALL
def test_mauve_of_texts_is_mauve_of_what_the_protocol_prepares():
    rng = np.random.default_rng(9)
    reader = Featurizer(tiny.llama().float(), tiny.tokenizer(), max_length=99)
    humans, models = (
        ["".join(rng.choice(letters, size=rng.integers(1, 9))) for _ in range(30)]
        for letters in (list("abc"), list("cde"))
    )
    models[4] = " "
    short = replace(LAN2023, max_length=3)
    found = mauve_of_texts(reader, [""] * 30, humans, models, protocol=short, ceiling=False)
    kept = [i for i in range(30) if i != 4]
    p, q = (replace(reader, max_length=3)([texts[i] for i in kept]) for texts in (humans, models))
    assert found.value == mauve(p, q, scaling=1.0, ceiling=False).value
    assert found.signature.startswith("mauve|lan2023|feat:LlamaForCausalLM@")
    assert "|max:3|len:free|of:30|n:29|" in found.signature
