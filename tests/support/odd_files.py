"""Odd files for the commands, and what each command makes of them."""

import gzip
import json
from dataclasses import dataclass


@dataclass(frozen=True)
class File:
    """A file's content, and what the command makes of it: its status, and a part of what it says."""

    name: str
    command: str
    content: bytes
    says: str
    status: int = 2


def line(**entries) -> bytes:
    return (json.dumps(entries) + "\n").encode()


GOOD = line(prefix="a b", reference="c d e", continuations=["c e"])
DEEP = b"[" * 100_000
FILES = [
    File("empty.txt", "decoding", b"", "no prompts in"),
    File("blank.txt", "decoding", b"\n \n\t\n", "no prompts in"),
    File("bytes.txt", "decoding", b"one\n\xff\xfe\n", "line 2: not valid UTF-8"),
    File("not.jsonl", "decoding", b"{\n", "line 1: not JSON"),
    File("deep.jsonl", "decoding", DEEP, "line 1: not JSON"),
    File("list.jsonl", "decoding", b"[1, 2]\n", 'line 1: needs a "prompt"'),
    File("number.jsonl", "decoding", b"NaN\n", 'line 1: needs a "prompt"'),
    File("empty-prompt.jsonl", "decoding", line(prompt=""), 'line 1: needs a "prompt"'),
    File("number-prompt.jsonl", "decoding", line(prompt=3), 'line 1: needs a "prompt"'),
    File("list-id.jsonl", "decoding", line(prompt="a", id=[1]), "the id must be a number or a text"),
    File("true-id.jsonl", "decoding", line(prompt="a", id=True), "the id must be a number or a text"),
    File("twice.jsonl", "decoding", line(prompt="a", id=1) * 2, "line 2: the id 1 comes twice"),
    File("half.jsonl", "decoding", b'{"prompt": "\\ud800"}\n', "line 1: not valid UTF-8"),
    File("utf-16.txt", "decoding", "one\n".encode("utf-16"), "line 1: not valid UTF-8"),
    File("empty.jsonl", "benchmarks", b"", "no texts in"),
    File("blank.jsonl", "benchmarks", b"\n\n", "no texts in"),
    File("bytes.jsonl", "benchmarks", b"\xff\xfe", "UTF-8"),
    File("not.jsonl", "benchmarks", GOOD + b"{", "line 2: not JSON"),
    File("deep.jsonl", "benchmarks", DEEP, "line 1: not JSON"),
    File("list.jsonl", "benchmarks", b"[]\n", "line 1: needs"),
    File("missing.jsonl", "benchmarks", line(prefix="a"), "line 1: needs"),
    File("one-text.jsonl", "benchmarks", line(prefix="a", reference="b", continuations="c"), "at least one text"),
    File("no-runs.jsonl", "benchmarks", line(prefix="a", reference="b", continuations=[]), "at least one text"),
    File("null.jsonl", "benchmarks", line(prefix="a", reference=None, continuations=["c"]), "are texts"),
    File("runs.jsonl", "benchmarks", GOOD + line(prefix="a", reference="b", continuations=["c", "d"]), "line 2: 2"),
    File("torn.jsonl.gz", "benchmarks", gzip.compress(GOOD * 50)[:-20], "torn.jsonl.gz"),
    File("plain.jsonl.gz", "benchmarks", GOOD, "plain.jsonl.gz"),
    File("mark.jsonl", "benchmarks", b"\xef\xbb\xbf" + GOOD * 2, "", 0),
    File("lines.jsonl", "benchmarks", GOOD.replace(b"\n", b"\r\n") * 2, "", 0),
    File("separator.jsonl", "benchmarks", line(prefix="a\u2028b", reference="c\x85", continuations=["e f"]) * 2, "", 0),
    File("empty-texts.jsonl", "benchmarks", line(prefix="", reference="a b", continuations=[""]) * 2, "", 0),
]  # fmt: skip
