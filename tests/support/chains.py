"""Texts in which a word says which one comes in the next sentence; how they are cut, and what a training says."""

import json
import random

from scorers.ranker_training.pairs import (
    Window,
)
from tests.support.rankers import WORDS

CHAIN = random.Random(7).sample(WORDS, 18)


def chain_text(start, length=18):
    """A sentence a line: a word thrice, and one by chance. The word says which one is in the next sentence."""
    draw = random.Random(start)
    walk = [CHAIN[(start + i) % len(CHAIN)] for i in range(length)]
    return "\n".join(f"{word} {word} {draw.choice(WORDS)} {word} ." for word in walk)


def chain_file(folder, number=18):
    file = folder / "chains.jsonl"
    file.write_text("".join(json.dumps({"text": chain_text(i)}) + "\n" for i in range(number)))
    return file


CUT = ("--prefix-words", 5, "--continuation-words", 5, 5)


def report_of(folder):
    return json.loads((folder / "ranker.json").read_text())


def window_at(document, start, middle, end, generated=None):
    return Window(document, start, middle, end, f"{document}/{start}", f"{document}/{middle}", generated)
