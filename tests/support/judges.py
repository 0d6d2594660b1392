"""A scorer that depends on every character it reads, and the tokenizer that makes its texts."""

from tests.support import tiny

TOKENIZER = tiny.tokenizer()


def judge(prefix, text):
    """A number that depends on every character of both, and not on how long the text is."""
    return ((sum(map(ord, prefix)) * 31 + sum(i * ord(c) for i, c in enumerate(text, 1))) * 2654435761 % 1000) / 7


def judges(prefixes, texts):
    return [judge(prefix, text) for prefix, text in zip(prefixes, texts, strict=True)]


def as_text(ids):
    return TOKENIZER.decode(ids, skip_special_tokens=True)
